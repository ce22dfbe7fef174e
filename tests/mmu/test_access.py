from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unikiln.errors import MmuError
from unikiln.mmu import PageTable, TableMemory, clear_accessed, set_accessed
from unikiln.mmu.aarch64.descriptor import AF, AP_READ_ONLY, DBM, OUTPUT_ADDRESS, SOFTWARE_DIRTY, user_page
from unikiln.mmu.aarch64.layout import USER_48

OLD = user_page(0x5000, writable=True, executable=False, dirty=False) & ~AF


def _set(table: PageTable, va: int, *, write: bool) -> int:
    return set_accessed(table.memory, *table.half(va), va, write=write)


def test_a_read_sets_the_flag_alone(table: PageTable) -> None:
    index = table.map_page(0x1000, OLD)
    assert _set(table, 0x1FFF, write=False) == OLD | AF == table.memory.word[index]


def test_a_write_makes_dirty_too(table: PageTable) -> None:
    index = table.map_page(0x1000, OLD)
    assert _set(table, 0x1000, write=True) == OLD | AF | SOFTWARE_DIRTY == table.memory.word[index]


def test_a_store_that_is_not_permitted_does_not_make_dirty(table: PageTable) -> None:
    table.map_page(0x1000, OLD | AP_READ_ONLY)
    assert not _set(table, 0x1000, write=True) & SOFTWARE_DIRTY
    table.map_page(0x2000, OLD | AP_READ_ONLY | DBM)
    assert _set(table, 0x2000, write=True) & SOFTWARE_DIRTY


@pytest.mark.parametrize(("level", "size"), [(1, 1 << 30), (2, 1 << 21)])
def test_blocks_are_set_at_their_level(table: PageTable, level: int, size: int) -> None:
    table.map(size, size, size, OLD & ~OUTPUT_ADDRESS & ~3)
    index, found, _ = table.find(size)
    assert found == level
    assert _set(table, size + 0x5000, write=True) & AF
    assert table.memory.word[index] & (AF | SOFTWARE_DIRTY) == AF | SOFTWARE_DIRTY


def test_what_is_not_mapped_is_an_error_and_nothing_is_written(table: PageTable) -> None:
    table.map_page(0x1000, OLD)
    before = table.memory.words.copy()
    for va in (0x2000, 1 << 21, 1 << 30, 1 << 39):
        with pytest.raises(MmuError, match="no entry maps"):
            _set(table, va, write=True)
    assert np.array_equal(before, table.memory.words)


def test_the_barrier_comes_after_the_entry_is_written(table: PageTable) -> None:
    index = table.map_page(0x1000, OLD)
    seen: list[int] = []
    set_accessed(
        table.memory, *table.half(0x1000), 0x1000, write=False,
        barrier=lambda: seen.append(table.memory.word[index]),
    )  # fmt: skip
    assert seen == [OLD | AF]


class Contended(TableMemory):
    """Another agent changes the entry between reading and exchanging, once."""

    changes: tuple[int, ...] = ()

    def compare_and_swap(self, index: int, expected: int, new: int) -> bool:
        if self.changes:
            self.word[index], *rest = self.changes
            self.changes = tuple(rest)
        return super().compare_and_swap(index, expected, new)


def test_a_lost_race_is_run_again_with_what_is_there_now() -> None:
    memory = Contended(np.zeros(512 * 8, dtype=np.uint64))
    free = iter(range(4096, 8 * 4096, 4096))
    table = PageTable(memory, lambda: next(free), (USER_48,))
    table.map_page(0x1000, OLD)
    memory.changes = (OLD | AP_READ_ONLY,)
    assert _set(table, 0x1000, write=True) == OLD | AP_READ_ONLY | AF
    table.map_page(0x1000, OLD)
    memory.changes = (0,)
    with pytest.raises(MmuError):
        _set(table, 0x1000, write=True)


@given(st.lists(st.integers(0, (1 << 64) - 1), min_size=1, max_size=64), st.data())
def test_clearing_in_bulk_clears_exactly_the_flags_asked_for(values: list[int], data: st.DataObject) -> None:
    memory = TableMemory(np.array(values, dtype=np.uint64))
    asked = data.draw(st.sets(st.integers(0, len(values) - 1)))
    indices = np.array(sorted(asked), dtype=np.int64)
    cleared = clear_accessed(memory, USER_48, indices)
    assert cleared.tolist() == [index for index in sorted(asked) if values[index] & AF]
    expected = [value & ~AF if index in asked else value for index, value in enumerate(values)]
    assert memory.words.tolist() == expected
