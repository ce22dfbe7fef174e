"""Signals that wait: for work that must not be left half done."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def deferred() -> Iterator[None]:
    """Let Ctrl-C and a request to end take effect after the block, not in the middle of it.

    The block must be short, or limit its own time. Outside of the main thread, which gets no signals, nothing
    is done.
    """
    arrived: list[tuple[int, FrameType | None]] = []
    try:
        before = {number: signal.signal(number, lambda *each: arrived.append(each)) for number in _ENDING}
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if arrived:
            signal.raise_signal(arrived[0][0])
