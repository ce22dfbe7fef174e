from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unikiln.errors import MmuError
from unikiln.mmu import PageTable, TableMemory
from unikiln.mmu.aarch64.descriptor import user_page

PAGES = st.sets(st.integers(0, (1 << 36) - 1) | st.integers(0, 4096), max_size=30)


def _table() -> PageTable:
    memory = TableMemory(np.zeros(512 * 200, dtype=np.uint64))
    free = iter(range(4096, 200 * 4096, 4096))
    return PageTable(memory, lambda: next(free))


def _entry(number: int) -> int:
    return user_page(number << 12, writable=False, executable=False, dirty=False)


@given(PAGES, st.integers(0, (1 << 36) - 1), st.integers(0, (1 << 36) - 1))
def test_mappings_are_what_was_mapped(pages: set[int], low: int, high: int) -> None:
    table = _table()
    for number in pages:
        table.map_page(number << 12, _entry(number))
    found = [(each.va >> 12, each.entry) for each in table.mappings()]
    assert found == [(number, _entry(number)) for number in sorted(pages)]
    part = [each.va >> 12 for each in table.mappings(low << 12, high << 12)]
    assert part == [number for number in sorted(pages) if low <= number < high]


@given(PAGES)
def test_unmapping_gives_back_what_was_there_and_leaves_the_rest(pages: set[int]) -> None:
    table = _table()
    for number in pages:
        table.map_page(number << 12, _entry(number))
    for number in list(pages)[::2]:
        assert table.unmap(number << 12) == _entry(number)
        assert table.unmap(number << 12) == 0
    left = {each.va >> 12 for each in table.mappings()}
    assert left == set(list(pages)[1::2])


def test_a_block_must_be_aligned_and_at_a_level_that_has_blocks(table: PageTable) -> None:
    for va, pa, level in ((0x1000, 0, 2), (0, 0x1000, 2), (0, 0, 0), (0, 0, 3)):
        with pytest.raises(MmuError, match="no block"):
            table.map_block(va, pa | 0x441, level)


def test_pages_and_blocks_do_not_replace_each_other(table: PageTable) -> None:
    table.map_page(0x1000, _entry(1))
    with pytest.raises(MmuError, match="already maps pages"):
        table.map_block(0, 0x441, 2)
    table.map_block(1 << 21, 0x441 | 1 << 21, 2)
    with pytest.raises(MmuError, match="block already maps"):
        table.map_page(1 << 21, _entry(1))
