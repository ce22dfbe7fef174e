"""A limit in time for what runs in this process."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from unikiln.errors import GuestTimeoutError


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """End the block when ``seconds`` have passed; None: never.

    :raises GuestTimeoutError: it took longer
    """

    def expire(number: int, frame: object) -> NoReturn:
        raise GuestTimeoutError(f"the guest did not end within {seconds:g} s")

    if seconds is None:
        yield
        return
    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-6))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
