"""A device that was removed from the pool: a map from its addresses to where its blocks were copied.

The map is an object of the meta object set, in order of addresses, and is condensed by writing a new one
(vdev_indirect.c, vdev_indirect_mapping.c).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import islice, pairwise, product
from typing import NamedTuple

import numpy as np

from unikiln.errors import CorruptError
from unikiln.zfs.vdev.attempt import Attempt, Vdev, Verdict

ENTRY = 24
"""Bytes of an entry: where a segment was, and the DVA it was copied to."""
_SECTOR = 9
_ATTEMPTS_MAX = 1024


class Segment(NamedTuple):
    """``size`` bytes at ``source`` that were copied to ``offset`` of vdev ``vdev``."""

    source: int
    size: int
    vdev: int
    offset: int


def decode_mapping(data: bytes) -> list[Segment]:
    """The segments of a mapping object.

    :raises CorruptError: not in order
    """
    words = np.frombuffer(data, dtype="<u8").reshape(-1, 3)
    source = (words[:, 0] & np.uint64((1 << 63) - 1)) << np.uint64(_SECTOR)
    size = (words[:, 1] & np.uint64(0xFFFFFF)) << np.uint64(_SECTOR)
    vdev = words[:, 1] >> np.uint64(32) & np.uint64(0xFFFFFF)
    offset = (words[:, 2] & np.uint64((1 << 63) - 1)) << np.uint64(_SECTOR)
    columns = (source.tolist(), size.tolist(), vdev.tolist(), offset.tolist())
    segments = [Segment(*row) for row in zip(*columns, strict=True)]
    if any(b.source < a.source + a.size for a, b in pairwise(segments)):
        raise CorruptError("the map of a removed device is out of order")
    return segments


class Indirect:
    """A removed vdev; ``load`` reads its map, ``lookup`` finds the top-level vdevs that it leads to."""

    is_plain = False

    def __init__(
        self, name: str, load: Callable[[], Sequence[Segment]], lookup: Callable[[int], Vdev]
    ) -> None:
        self.name = name
        self._load = load
        self._lookup = lookup

    @cached_property
    def segments(self) -> Sequence[Segment]:
        """The map, read at first use."""
        return self._load()

    @cached_property
    def _sources(self) -> list[int]:
        return [segment.source for segment in self.segments]

    def split(self, offset: int, size: int) -> list[Segment]:
        """The pieces that a range was copied in.

        :raises CorruptError: part of it is not in the map
        """
        found: list[Segment] = []
        end = offset + size
        index = max(0, bisect_right(self._sources, offset) - 1)
        while offset < end:
            segment = self.segments[index] if index < len(self.segments) else Segment(0, 0, 0, 0)
            skip = offset - segment.source
            if not 0 <= skip < segment.size:
                raise CorruptError(
                    f"{self.name}: bytes at {offset:#x} are not in the map of a removed device"
                )
            length = min(end - offset, segment.size - skip)
            found.append(Segment(offset, length, segment.vdev, segment.offset + skip))
            offset, index = offset + length, index + 1
        return found

    def attempts(self, offset: int, size: int, birth: int) -> Iterator[Attempt]:
        """Every combination of ways to read the pieces (``vdev_indirect_reconstruct_io_done``)."""
        pieces = self.split(offset, size)
        ways = [list(self._ways(piece, birth)) for piece in pieces]
        for chosen in islice(product(*ways), _ATTEMPTS_MAX):
            yield _joined(chosen)

    def _ways(self, piece: Segment, birth: int) -> Iterator[Attempt]:
        return islice(self._lookup(piece.vdev).attempts(piece.offset, piece.size, birth), _ATTEMPTS_MAX)

    def problems(self, offset: int, size: int, birth: int, verdict: Verdict) -> Iterator[str]:
        """A block in one piece is judged where it lies; one in several by any combination."""
        pieces = self.split(offset, size)
        if len(pieces) == 1:
            yield from self._lookup(pieces[0].vdev).problems(pieces[0].offset, size, birth, verdict)
            return
        for attempt in self.attempts(offset, size, birth):
            try:
                if verdict(attempt.read()):
                    return
            except CorruptError:
                continue
        yield f"on {self.name} cannot be put together from where it was copied"


def _joined(chosen: Sequence[Attempt]) -> Attempt:
    if len(chosen) == 1:
        return chosen[0]
    names = dict.fromkeys(attempt.name for attempt in chosen)
    without = tuple(dict.fromkeys(name for attempt in chosen for name in attempt.without))
    read = tuple(attempt.read for attempt in chosen)
    return Attempt(" and ".join(names), lambda: b"".join(each() for each in read), without, is_copy=False)
