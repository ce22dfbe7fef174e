"""Compare what blocks refer to with what the space maps say: leaks, double use, lost allocations.

Each side is a list of runs; one sort and one sum over all ends of runs give, for every stretch of a
vdev, how often it is referred to and how often it is allocated.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from unikiln.zfs.format.blkptr import BlockPointer, Dva
from unikiln.zfs.pool import Pool

_DEPTH = 8
_SHOWN = 20
_OFFSET_MAX = 1 << 62
"""Offsets above this do not fit the arithmetic, nor any device."""
Ends = npt.NDArray[np.int64]


class Extents:
    """The places that blocks take, collected during a walk."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self._runs: dict[int, array[int]] = {}
        self._cloning = bool(pool.features.get("com.fudosecurity:block_cloning"))
        self._wild: list[str] = []
        self._shared: set[tuple[int, int, int]] = set()

    def add(self, pointer: BlockPointer) -> bool:
        """Note the block's places; False if it is one that several pointers may share and that was seen."""
        if pointer.dedup or (self._cloning and pointer.level == 0):
            first = pointer.dvas[0]
            key = first.vdev, first.offset, pointer.physical_birth or pointer.birth
            if key in self._shared:
                return False
            self._shared.add(key)
        self._add_places(pointer, 0)
        return True

    def _add_places(self, pointer: BlockPointer, depth: int) -> None:
        """A gang takes its header in each place, and what its members take; every header lists the same."""
        for dva in pointer.dvas:
            self._note(dva.vdev, dva.offset, self._header_size(dva) if dva.gang else dva.asize)
        if any(dva.gang for dva in pointer.dvas) and depth < _DEPTH:
            for member in self.pool.reader.locator.members(pointer):
                self._add_places(member, depth + 1)

    def _header_size(self, dva: Dva) -> int:
        top = self.pool.vdevs.get(dva.vdev)
        return top.min_asize if top else 0

    def _note(self, vdev: int, offset: int, length: int) -> None:
        if offset > _OFFSET_MAX:
            self._wild.append(f"a block at {vdev}:{offset:x}:{length:x} lies outside its vdev")
        else:
            self._runs.setdefault(vdev, array("q")).extend((offset, length))

    def findings(self) -> Iterator[str]:
        """One line for each stretch that is not allocated exactly as often as it is referred to.

        :raises CorruptError: a space map that cannot be read
        """
        yield from self._wild
        for vdev, used in self.pool.usage.items():
            yield from used.findings
            runs = np.frombuffer(self._runs.get(vdev, array("q")), dtype=np.int64).reshape(-1, 2)
            end = self.pool.vdevs[vdev].metaslabs << self.pool.vdevs[vdev].metaslab_shift
            outside = runs[(runs[:, 0] < 0) | (runs[:, 0] + runs[:, 1] > end)]
            yield from (
                f"a block at {vdev}:{at:x}:{size:x} lies outside its vdev" for at, size in outside.tolist()
            )
            yield from _compare(vdev, runs, used.runs)
        for vdev in self._runs.keys() - self.pool.usage.keys():
            yield f"blocks lie on vdev {vdev}, which has no space maps"


def _compare(vdev: int, referred: Ends, mapped: Ends) -> Iterator[str]:
    starts, lengths, references, allocations = coverage(referred, mapped)
    cases = (
        (allocations < 0, "is free more than once in the space maps"),
        (allocations > 1, "is allocated more than once in the space maps"),
        (references > 1, "is used by more than one block"),
        ((references > 0) & (allocations == 0), "is used by a block and free in the space maps"),
        ((references == 0) & (allocations == 1), "is allocated and used by nothing: leaked"),
    )
    for bad, what in cases:
        found = np.flatnonzero(bad)
        for at in found[:_SHOWN].tolist():
            yield f"{vdev}:{starts[at]:x}:{lengths[at]:x} {what}"
        if len(found) > _SHOWN:
            yield f"{len(found) - _SHOWN} more stretches of vdev {vdev}: each {what}"


def coverage(referred: Ends, mapped: Ends) -> tuple[Ends, Ends, Ends, Ends]:
    """Start, length, references and allocations of each stretch over which these are the same.

    ``referred`` has rows of (offset, length), ``mapped`` rows of (offset, length, +1 or -1).
    """
    references = _steps(referred[:, 0], referred[:, 1], np.ones(len(referred), dtype=np.int64))
    allocations = _steps(mapped[:, 0], mapped[:, 1], mapped[:, 2])
    places = np.concatenate([references[0], allocations[0]])
    zeros = np.zeros(len(references[0]), dtype=np.int64), np.zeros(len(allocations[0]), dtype=np.int64)
    points, inverse = np.unique(places, return_inverse=True)
    counts = []
    for steps in (np.concatenate([references[1], zeros[1]]), np.concatenate([zeros[0], allocations[1]])):
        sums = np.zeros(len(points), dtype=np.int64)
        np.add.at(sums, inverse, steps)
        counts.append(np.cumsum(sums))
    lengths = np.diff(points, append=points[-1:])
    return points, lengths, counts[0], counts[1]


def _steps(starts: Ends, lengths: Ends, signs: Ends) -> tuple[Ends, Ends]:
    return np.concatenate([starts, starts + lengths]), np.concatenate([signs, -signs])
