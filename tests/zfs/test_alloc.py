from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unikiln.errors import NoSpaceError
from unikiln.zfs.alloc import REGION, REGION_SHIFT, Allocator, metaslab_shift

MIB = 1 << 20
REQUESTS = st.lists(st.tuples(st.integers(1, 1 << 20), st.integers(0, 2)), min_size=1, max_size=200)


@given(st.sampled_from([9, 12, 16]), REQUESTS)
def test_blocks_never_overlap_nor_cross_a_region(ashift: int, requests: list[tuple[int, int]]) -> None:
    allocator = Allocator(ashift)
    taken = []
    for size, copy in requests:
        asize = allocator.asize(size)
        assert asize % (1 << ashift) == 0
        assert 0 <= asize - size < 1 << ashift
        offset = allocator.allocate(asize, copy)
        assert offset >> REGION_SHIFT == offset + asize - 1 >> REGION_SHIFT
        taken.append((offset, offset + asize))
    taken.sort()
    assert all(before[1] <= after[0] for before, after in pairwise(taken))
    assert taken[-1][1] <= allocator.end
    assert allocator.allocated == sum(end - start for start, end in taken)


@given(REQUESTS, st.integers(REGION_SHIFT, REGION_SHIFT + 3))
def test_runs_are_what_was_allocated(requests: list[tuple[int, int]], shift: int) -> None:
    allocator = Allocator(12)
    taken: set[int] = set()
    for size, copy in requests:
        asize = allocator.asize(size)
        offset = allocator.allocate(asize, copy)
        taken.update(range(offset >> 12, offset + asize >> 12))
    told: set[int] = set()
    for metaslab in allocator.metaslabs(shift):
        runs = allocator.runs(metaslab, shift)
        assert runs
        assert all(start + length < after for (start, length), (after, _) in pairwise(runs))
        for start, length in runs:
            assert metaslab << shift <= start
            assert start + length <= metaslab + 1 << shift
            told.update(range(start >> 12, start + length >> 12))
    assert told == taken


def test_the_last_room_is_used_before_the_pool_is_full() -> None:
    allocator = Allocator(12, limit=3 * REGION)
    for copy in range(3):
        allocator.allocate(4096, copy)
    for _ in range(3 * (REGION // 4096 - 1)):
        allocator.allocate(4096)
    assert allocator.allocated == 3 * REGION
    with pytest.raises(NoSpaceError):
        allocator.allocate(4096)


@pytest.mark.parametrize(
    ("asize", "shift"),
    [(59 * MIB, 22), (512 * MIB, 26), (8 << 30, 29), (100 << 30, 29), (200 << 30, 31), (1 << 50, 34)],
)
def test_metaslab_sizes(asize: int, shift: int) -> None:
    assert metaslab_shift(asize) == shift
