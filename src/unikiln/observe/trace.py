"""Tracepoints to a text stream."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from unikiln.base.trace import Tracepoint, select


@contextmanager
def tracing(patterns: list[str], stream: TextIO) -> Iterator[None]:
    """Write what the tracepoints matching ``patterns`` tell, one line each with seconds since the start.

    :raises UsageError: a pattern matches none
    """
    points: dict[str, Tracepoint] = {point.name: point for each in patterns for point in select(each)}
    start = time.perf_counter()

    def sink(name: str, message: str) -> None:
        print(f"{time.perf_counter() - start:12.6f} {name} {message}", file=stream)

    for point in points.values():
        point.attach(sink)
    try:
        yield
    finally:
        for point in points.values():
            point.detach(sink)
