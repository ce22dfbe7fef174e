from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.mmu.conftest import make_table
from unikiln.errors import MmuError
from unikiln.mmu import Layout, PageTable, Run, TableMemory, mappings
from unikiln.mmu import leaves as leaves_module
from unikiln.mmu.aarch64 import descriptor as bits
from unikiln.mmu.aarch64.descriptor import AF, AP_READ_ONLY, DBM, OUTPUT_ADDRESS, SOFTWARE_DIRTY, user_page
from unikiln.mmu.aarch64.layout import KERNEL_48, USER_48, layout
from unikiln.mmu.leaves import leaves

PLAIN = user_page(0, writable=True, executable=False, dirty=False) & ~OUTPUT_ADDRESS & ~3


def _short(run: Run) -> tuple[int, int, int, int]:
    return run.va, run.size, run.level, run.leaves


def test_neighbours_with_equal_attributes_are_one(table: PageTable) -> None:
    table.map(0x1000, 0x8000, 0x3000, PLAIN)
    table.map(0x4000, 0x1000, 0x1000, PLAIN)
    table.map(0x5000, 0x2000, 0x1000, PLAIN | AP_READ_ONLY)
    table.map(0x7000, 0x4000, 0x1000, PLAIN | AP_READ_ONLY)
    assert [_short(run) for run in table.mappings()] == [
        (0x1000, 0x4000, 3, 4),
        (0x5000, 0x1000, 3, 1),
        (0x7000, 0x1000, 3, 1),
    ]
    first, *_ = table.mappings()
    assert (first.pa, first.contiguous) == (0x8000, False)
    assert [(run.va, run.pa) for run in table.mappings(by_address=True)] == [
        (0x1000, 0x8000), (0x4000, 0x1000), (0x5000, 0x2000), (0x7000, 0x4000),
    ]  # fmt: skip
    assert all(run.contiguous for run in table.mappings(by_address=True))


def test_levels_stay_apart_and_both_halves_come_in_order(table: PageTable) -> None:
    table.map(KERNEL_48.first_va, 1 << 30, 1 << 30, PLAIN)
    table.map((1 << 21) - 0x1000, (1 << 21) - 0x1000, (1 << 21) + 0x1000, PLAIN)
    assert [_short(run) for run in table.mappings()] == [
        ((1 << 21) - 0x1000, 0x1000, 3, 1),
        (1 << 21, 1 << 21, 2, 1),
        (KERNEL_48.first_va, 1 << 30, 1, 1),
    ]


def test_flags_are_counted_and_do_not_separate(table: PageTable) -> None:
    table.map(0, 0, 0x5000, PLAIN)
    changes = [~AF, SOFTWARE_DIRTY, DBM]
    for number, change in enumerate(changes):
        index, _, entry = table.find(number << 12)
        table.memory.store(index, entry & change if change < 0 else entry | change)
    runs = list(table.mappings())
    assert [run.leaves for run in runs] == [2, 1, 2], "DBM is an attribute"
    assert sum(run.accessed for run in runs) == 4
    assert sum(run.dirty for run in runs) == 2


def test_what_tables_take_away_is_in_the_run(table: PageTable) -> None:
    table.map(0, 0, 0x1000, PLAIN)
    (_, root), *_ = table.tables
    table.memory.store(
        root >> 3, table.memory.word[root >> 3] | bits.AP_TABLE_READ_ONLY | bits.AP_TABLE_NO_EL0
    )
    (run,) = table.mappings()
    assert run.effective & AP_READ_ONLY
    assert not run.effective & bits.AP_EL0
    ((_, root), *_) = table.tables
    (free,) = mappings(table.memory, layout(12, 48, hpd=True), root)
    assert not free.effective & AP_READ_ONLY


@given(st.sets(st.integers(0, 5000), max_size=60), st.integers(0, 5000), st.integers(0, 5000))
def test_runs_cover_what_is_mapped_and_nothing_else(pages: set[int], low: int, high: int) -> None:
    table = make_table(USER_48)
    for page in pages:
        table.map_page(page << 12, PLAIN | 3 | page << 12)
    runs = list(table.mappings(low << 12, high << 12))
    covered = [page for run in runs for page in range(run.va >> 12, run.va + run.size >> 12)]
    assert covered == [page for page in sorted(pages) if low <= page < high]
    assert all(before.va + before.size < after.va for before, after in pairwise(runs)), "merged"


@pytest.mark.parametrize("at_once", [1, 512, 1 << 21])
@pytest.mark.parametrize("tables", [USER_48, layout(16, 48), layout(14, 36), layout(12, 52, ds=True)])
def test_groups_may_be_of_any_size(tables: Layout, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks between tables, and tables between blocks, in order whatever is read at once."""
    monkeypatch.setattr(leaves_module, "_TABLES", at_once)
    table = make_table(tables, size=32 << 20)
    block = 1 << tables.steps[-2].shift
    attributes = PLAIN & ~(3 << 8)
    for number in range(12):
        table.map(number * 2 * block, number * block, block if number % 3 else tables.page_size, attributes)
    groups = list(leaves(table.memory, tables, table.tables[0][1]))
    vas = [va for group in groups for va in group.va.tolist()]
    assert vas == [number * 2 * block for number in range(12)]
    runs = list(table.mappings())
    assert [run.size for run in runs] == [block if n % 3 else tables.page_size for n in range(12)]


def test_a_table_that_contains_itself_is_refused() -> None:
    memory = TableMemory(np.zeros(4096, dtype=np.uint64))
    memory.words[512:1024] = 0x1000 | 3
    with pytest.raises(MmuError, match="loop: an entry of level 0 points back to 0x1000"):
        list(mappings(memory, USER_48, 0x1000))
    memory.words[512:1024] = 0x2000 | 3
    memory.words[1024:1536] = 0x1000 | 3
    with pytest.raises(MmuError, match="loop"):
        list(mappings(memory, USER_48, 0x1000))


def test_a_root_may_map_itself_once(table: PageTable) -> None:
    """As kernels do that reach their tables through the last entry of the root: each is a page there."""
    table.map(0, 0, 0x1000, PLAIN)
    (_, root), *_ = table.tables
    table.memory.store((root >> 3) + 511, root | 3)
    own = [run for run in table.mappings() if run.va < 1 << 48 and run.va]
    assert sum(run.leaves for run in own) == 4, "the root, and a table of each level below it"
    assert own[-1].va + own[-1].size == 1 << 48
    assert own[-1].pa == root


def test_tables_that_are_shared_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaves_module, "MOST_TABLES", 1000)
    memory = TableMemory(np.zeros(4096, dtype=np.uint64))
    for level in range(3):
        memory.words[512 * (level + 1) : 512 * (level + 2)] = 0x1000 * (level + 2) | 3
    memory.words[512 * 4 : 512 * 5] = PLAIN | 3
    with pytest.raises(MmuError, match="shared without end"):
        list(mappings(memory, USER_48, 0x1000))


def test_tables_outside_memory_map_nothing(table: PageTable) -> None:
    table.map(0, 0, 0x1000, PLAIN)
    (_, root), *_ = table.tables
    table.memory.store((root >> 3) + 5, 1 << 40 | 3)
    assert [_short(run) for run in table.mappings()] == [(0, 0x1000, 3, 1)]
