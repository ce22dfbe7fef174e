"""What was written to an object after its blocks: pieces that lie over them, the newer over the older.

The intent log says such things of files and volumes: bytes at an offset, holes, and ranges cloned from
elsewhere, which are read only when they are asked for.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

Source = Callable[[], bytes]
"""Gives the bytes of a piece."""


class _Piece(NamedTuple):
    """Bytes ``start`` to ``end`` of the object: those of ``source`` from ``skip``; zeros without one."""

    start: int
    end: int
    source: Source | None
    skip: int


class Written:
    """Pieces in order of their place, none over another."""

    def __init__(self) -> None:
        self._pieces: list[_Piece] = []

    def write(self, offset: int, length: int, source: Source | None) -> None:
        """``length`` bytes from ``offset`` are now those of ``source``, or a hole."""
        if length <= 0:
            return
        end = offset + length
        first, last = self._span(offset, end)
        kept: list[_Piece] = []
        for piece in self._pieces[first:last]:
            if piece.start < offset:
                kept.append(piece._replace(end=offset))
            if piece.end > end:
                kept.append(piece._replace(start=end, skip=piece.skip + end - piece.start))
        kept.append(_Piece(offset, end, source, 0))
        self._pieces[first:last] = sorted(kept)

    def _span(self, start: int, end: int) -> tuple[int, int]:
        """Indices of the pieces that reach into ``start`` to ``end``."""
        first = bisect_right(self._pieces, start, key=lambda piece: piece.end)
        last = bisect_left(self._pieces, end, key=lambda piece: piece.start)
        return first, max(first, last)

    def over(self, data: bytes, offset: int) -> bytes:
        """``data``, which is stored from ``offset`` on, with the pieces laid over it."""
        first, last = self._span(offset, offset + len(data))
        if first == last:
            return data
        mixed = bytearray(data)
        for piece in self._pieces[first:last]:
            start, end = max(piece.start, offset), min(piece.end, offset + len(data))
            skip = piece.skip + start - piece.start
            new = piece.source()[skip : skip + end - start] if piece.source else b""
            mixed[start - offset : end - offset] = new.ljust(end - start, b"\0")
        return bytes(mixed)

    def ranges(self, stored: Iterable[tuple[int, int]], size: int) -> Iterator[tuple[int, int]]:
        """(offset, length) of data, joined, in order: what is ``stored``, and pieces that are no holes."""
        runs = [(start, start + length) for start, length in stored]
        for piece in self._pieces:
            runs = [part for run in runs for part in _without(run, piece)]
        runs += [(piece.start, piece.end) for piece in self._pieces if piece.source]
        start = end = 0
        for low, high in sorted(runs):
            if low > end or end == start:
                if end > start:
                    yield start, end - start
                start, end = low, high
            end = min(max(end, high), size)
        if end > start:
            yield start, end - start


def _without(run: tuple[int, int], piece: _Piece) -> Iterator[tuple[int, int]]:
    low, high = run
    if piece.end <= low or high <= piece.start:
        yield run
        return
    if low < piece.start:
        yield low, piece.start
    if piece.end < high:
        yield piece.end, high
