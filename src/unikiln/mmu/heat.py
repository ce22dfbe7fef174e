"""Where memory is touched: accessed and dirty entries, counted over time by regions of virtual addresses.

Nothing is written. What is *newly* accessed or dirty is what was not so in the sample before, or not mapped:
entries that stay accessed say nothing more until the guest itself clears the flag.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from unikiln.errors import MmuError
from unikiln.mmu.bulk import test_and_clear_dirty
from unikiln.mmu.memory import Mask, Words
from unikiln.mmu.space import Space

Counts = npt.NDArray[np.int64]

COLUMNS = ("entries", "accessed", "dirty", "newly_accessed", "newly_dirty")
"""What is counted: the last axis of all counts."""
ENTRIES, ACCESSED, DIRTY, NEWLY_ACCESSED, NEWLY_DIRTY = range(len(COLUMNS))

_TOP = np.uint64((1 << 64) - 1)
_NO_WORDS, _NO_FLAGS = np.zeros(0, np.uint64), np.zeros(0, np.bool_)
_MOST_BUCKETS = 1 << 12


class Sample(NamedTuple):
    """Counts at ``seconds`` after the first sample, by bucket, in order.

    ``first`` and ``last`` are the addresses that the leaves of a bucket map. In the first sample, nothing is
    newly accessed or dirty.
    """

    seconds: float
    bucket: Words
    first: Words
    last: Words
    counts: Counts

    @property
    def total(self) -> dict[str, int]:
        """The counts of all buckets together, by the names in :data:`COLUMNS`."""
        return dict(zip(COLUMNS, self.counts.sum(axis=0).tolist(), strict=True))


class Region(NamedTuple):
    """Addresses, both inclusive."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Heat:
    """``counts[region, sample, column]``, and the regions in order."""

    regions: list[Region]
    seconds: list[float]
    counts: Counts


class _Leaves(NamedTuple):
    first: Words
    last: Words
    accessed: Mask
    dirty: Mask


class Sampler:
    """Takes samples of one address space; ``start`` .. ``end`` and ``user`` (None: both) say of what part.

    Counts are kept by buckets of a size that the first sample decides: some thousands of them.

    :ivar trouble: why not all of the last sample could be read, if so
    """

    def __init__(self, start: int = 0, end: int = 1 << 64, user: bool | None = None) -> None:
        self.samples: list[Sample] = []
        self.trouble: MmuError | None = None
        self._start, self._end, self._user = start, end, user
        self._before: _Leaves | None = None
        self._shift = 0

    def add(self, space: Space, seconds: float) -> Sample:
        """Count what ``space`` has now.

        :raises MmuError: its tables cannot be read
        """
        now = self._leaves(space)
        if not self.samples:
            self._shift = _bucket_shift(now.first)
        buckets, begins = np.unique(now.first >> np.uint64(self._shift), return_index=True)
        columns = (np.ones(len(now.first), np.bool_), now.accessed, now.dirty, *self._new(now))
        counts = [np.add.reduceat(column.astype(np.int64), begins) for column in columns]
        ends = np.append(begins, len(now.last))[1:] - 1
        sample = Sample(seconds, buckets, now.first[begins], now.last[ends], np.stack(counts, axis=1))
        self._before = now
        self.samples.append(sample)
        return sample

    def heat(self, rows: int) -> Heat:
        """All samples, over at most ``rows`` regions: finest where most was touched."""
        buckets = np.unique(np.concatenate([sample.bucket for sample in self.samples]))
        first, last = np.full(len(buckets), _TOP), np.zeros(len(buckets), np.uint64)
        counts = np.zeros((len(buckets), len(self.samples), len(COLUMNS)), dtype=np.int64)
        for index, sample in enumerate(self.samples):
            at = np.searchsorted(buckets, sample.bucket)
            first[at], last[at] = np.minimum(first[at], sample.first), np.maximum(last[at], sample.last)
            counts[at, index] = sample.counts
        touched = counts[:, 1:, NEWLY_ACCESSED:].sum(axis=(1, 2))
        cuts = _cuts(first, last, touched, rows)
        regions = [Region(int(first[begin]), int(last[end - 1])) for begin, end in cuts]
        added = [counts[begin:end].sum(axis=0) for begin, end in cuts]
        seconds = [sample.seconds for sample in self.samples]
        return Heat(regions, seconds, np.array(added).reshape(len(cuts), len(seconds), len(COLUMNS)))

    def _leaves(self, space: Space) -> _Leaves:
        """All leaves of the part, by address."""
        parts = [_Leaves(_NO_WORDS, _NO_WORDS, _NO_FLAGS, _NO_FLAGS)]
        try:
            for layout, group in space.leaves(self._start, self._end):
                part = _Leaves(
                    group.va,
                    group.va + layout.sizes(group.level) - np.uint64(1),
                    (group.entry & np.uint64(layout.accessed)) != 0,
                    test_and_clear_dirty(group.entry.copy(), layout),
                )
                if self._user is not None:
                    wanted = space.user_may(layout, group) == self._user
                    part = _Leaves(*(column[wanted] for column in part))
                parts.append(part)
        except MmuError as error:
            if len(parts) == 1:
                raise
            self.trouble = error
        return _Leaves(*map(np.concatenate, zip(*parts, strict=True)))

    def _new(self, now: _Leaves) -> tuple[Mask, Mask]:
        """What is accessed, and what is dirty, and was not before."""
        before = self._before
        if before is None:
            return np.zeros_like(now.accessed), np.zeros_like(now.dirty)
        if not len(before.first):
            return now.accessed, now.dirty
        at = np.minimum(np.searchsorted(before.first, now.first), len(before.first) - 1)
        same = before.first[at] == now.first
        return now.accessed & ~(same & before.accessed[at]), now.dirty & ~(same & before.dirty[at])


def _bucket_shift(vas: Words) -> int:
    """The smallest buckets, down to 4 KiB, of which few enough have a leaf."""
    shift = 12
    while shift < 63 and np.count_nonzero(np.diff(vas >> np.uint64(shift))) >= _MOST_BUCKETS:
        shift += 1
    return shift


def _cuts(firsts: Words, lasts: Words, touched: Counts, rows: int) -> list[tuple[int, int]]:
    """Ranges of buckets' indices, at most ``rows``: cut at holes first, then where it is hottest.

    Of too many holes, the smallest do not cut.
    """
    gaps = firsts[1:] - lasts[:-1]
    holes = np.flatnonzero(gaps > 1)
    widest = holes[np.argsort(gaps[holes], kind="stable")[::-1][: rows - 1]]
    edges = [0, *(np.sort(widest) + 1).tolist(), len(firsts)]
    total = np.concatenate(([0], np.cumsum(touched)))

    def ranked(first: int, last: int) -> tuple[int, int, int, int]:
        return -int(total[last] - total[first]), first - last, first, last

    heap = [ranked(first, last) for first, last in pairwise(edges) if last > first]
    heapq.heapify(heap)
    whole: list[tuple[int, int]] = []
    while heap and len(heap) + len(whole) < rows:
        _, _, first, last = heapq.heappop(heap)
        if last - first == 1:
            whole.append((first, last))
            continue
        middle = (first + last) // 2
        heapq.heappush(heap, ranked(first, middle))
        heapq.heappush(heap, ranked(middle, last))
    return sorted(whole + [(first, last) for _, _, first, last in heap])
