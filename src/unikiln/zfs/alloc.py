"""Where new blocks go: a metaslab-aware allocator for a pool that is written front to back.

Every copy number has a cursor of its own in a region of its own, so ditto copies of metadata lie
apart, and file data lies in one piece. Regions are 4 MiB; as no block crosses a region's end, none
crosses a metaslab's, however large metaslabs turn out to be once the pool's size is known.
"""

from __future__ import annotations

from dataclasses import dataclass

from unikiln.base.size import format_size, round_up
from unikiln.errors import NoSpaceError

REGION_SHIFT = 22
REGION = 1 << REGION_SHIFT
_GAPS = 64
"""How many unused region ends are remembered to be filled with small blocks."""


def metaslab_shift(asize: int) -> int:
    """log2 of a metaslab's size for a vdev of ``asize`` bytes.

    16 to 200 metaslabs, of 512 MiB where that gives so many (``vdev_metaslab_set_size``, vdev.c), but
    never smaller than a region; OpenZFS stops at 16 MiB, which wastes a fifth of a 64 MiB device.
    """
    count = asize >> 29
    if count < 16:
        shift = (asize // 16).bit_length()
    elif count > 200:
        shift = (asize // 200).bit_length()
    else:
        shift = 29
    return min(max(shift, REGION_SHIFT), 34)


def slop(space: int) -> int:
    """Bytes that OpenZFS keeps back of a pool of ``space`` bytes (``spa_get_slop_space``)."""
    return max(min(space >> 5, 128 << 30), min(space >> 1, 128 << 20))


@dataclass(slots=True)
class _Span:
    """Bytes ``start`` to ``end`` that are free."""

    start: int
    end: int

    def take(self, size: int) -> int | None:
        if self.end - self.start < size:
            return None
        offset = self.start
        self.start += size
        return offset


class Allocator:
    """Hands out DVA offsets; ``limit`` is the vdev's usable size in bytes, None while it can grow."""

    def __init__(self, ashift: int, limit: int | None = None, copies: int = 3) -> None:
        self.ashift = ashift
        self.limit = limit
        self.allocated = 0
        self._next_region = 0
        self._cursors = [_Span(0, 0) for _ in range(copies)]
        self._gaps: list[_Span] = []
        self._extents: list[list[int]] = []
        self._open: list[list[int] | None] = [None] * copies

    @property
    def end(self) -> int:
        """End of the last region in use: the least usable size that holds what is allocated."""
        return self._next_region

    def asize(self, size: int) -> int:
        """What a block of ``size`` bytes takes: whole sectors."""
        return round_up(size, 1 << self.ashift)

    def allocate(self, size: int, copy: int = 0) -> int:
        """The offset of ``size`` new bytes (whole sectors) for copy number ``copy``.

        :raises NoSpaceError: no region and no gap has room
        """
        offset = self._cursors[copy].take(size)
        if offset is None:
            offset = self._elsewhere(size, copy)
        self.allocated += size
        self._record(offset, size, copy)
        return offset

    def _elsewhere(self, size: int, copy: int) -> int:
        """From an old gap, else from a new region, else from what another cursor has left."""
        for span in self._gaps:
            if (offset := span.take(size)) is not None:
                return offset
        if self.limit is None or self._next_region + REGION <= self.limit:
            return self._new_region(size, copy)
        for span in self._cursors:
            if (offset := span.take(size)) is not None:
                return offset
        raise NoSpaceError(
            f"the pool is full: {format_size(self.allocated)} allocated, no room for {format_size(size)}",
            hint="give a larger --size, or none",
        )

    def _new_region(self, size: int, copy: int) -> int:
        old = self._cursors[copy]
        if old.end > old.start:
            self._gaps = [*self._gaps[1 - _GAPS :], old]
        start = self._next_region
        self._next_region += REGION
        self._cursors[copy] = _Span(start + size, start + REGION)
        return start

    def _record(self, offset: int, size: int, copy: int) -> None:
        extent = self._open[copy]
        if extent is not None and extent[1] == offset:
            extent[1] += size
            return
        extent = [offset, offset + size]
        self._open[copy] = extent
        self._extents.append(extent)

    def runs(self, metaslab: int, shift: int) -> list[tuple[int, int]]:
        """(offset, length) of what is allocated in a metaslab of ``1 << shift`` bytes, merged and sorted."""
        start, end = metaslab << shift, metaslab + 1 << shift
        inside = sorted(
            (max(low, start), min(high, end)) for low, high in self._extents if low < end and high > start
        )
        merged: list[list[int]] = []
        for low, high in inside:
            if merged and merged[-1][1] == low:
                merged[-1][1] = high
            else:
                merged.append([low, high])
        return [(low, high - low) for low, high in merged]

    def metaslabs(self, shift: int) -> list[int]:
        """Numbers of the metaslabs of ``1 << shift`` bytes in which anything is allocated."""
        found: set[int] = set()
        for low, high in self._extents:
            found.update(range(low >> shift, (high - 1 >> shift) + 1))
        return sorted(found)
