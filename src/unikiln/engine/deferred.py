"""Signals while Unicorn runs: an exception that a handler raises in a callback from C would be lost there.

Python runs a handler before the next instruction of its own, and while the guest runs those are the
callbacks'. So a handler waits until the guest has been stopped, except where a callback may take long and
passes exceptions on.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)


class DeferredSignals:
    """While the block runs, a signal only calls ``stop``; :meth:`deliver` then calls its handler.

    :ivar at_once: whether handlers run at once, for now
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self.at_once = False
        self._stop = stop
        self._handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._pending: list[int] = []

    def deliver(self) -> None:
        """Call the handlers of the signals that came; they may raise."""
        while self._pending:
            number = self._pending.pop(0)
            self._handlers[number](number, None)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.at_once:
            self._handlers[number](number, frame)
        else:
            self._pending.append(number)
            self._stop()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _NUMBERS:
                handler = signal.getsignal(number)
                if callable(handler):
                    self._handlers[number] = handler
                    signal.signal(number, self._take)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
