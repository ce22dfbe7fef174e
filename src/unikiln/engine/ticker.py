"""A thread that stops the guest at every period, so that the machine gets its turn."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self


class Ticker:
    """Calls ``stop`` every ``period`` seconds while the block that it manages runs."""

    def __init__(self, stop: Callable[[], None], period: float) -> None:
        self._stop = stop
        self._period = period
        self._due = False
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ticker", daemon=True)

    def take(self) -> bool:
        """Whether a period ended since the last call."""
        due, self._due = self._due, False
        return due

    def _run(self) -> None:
        while not self._end.wait(self._period):
            self._due = True
            self._stop()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
