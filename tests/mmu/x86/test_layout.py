"""The tables as data: what works in bulk must read them as the walk does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.mmu.x86.paths import HIGH_VA, PAGE, ROOT, USER_RW, VA, path
from tests.mmu.x86.test_any_memory import addresses, memories, regimes
from unikiln.mmu import (
    Access,
    PageTable,
    Request,
    TableMemory,
    Translation,
    mappings,
    set_accessed,
    walk_many,
)
from unikiln.mmu.leaf import find_leaf
from unikiln.mmu.x86 import entry as bits
from unikiln.mmu.x86 import registers as r
from unikiln.mmu.x86.config import MAX
from unikiln.mmu.x86.layout import layout
from unikiln.mmu.x86.permission import restricted
from unikiln.mmu.x86.regime import Regime
from unikiln.mmu.x86.walk import walk


def new_table(size: int = 4 << 20) -> PageTable:
    memory = TableMemory(np.zeros(size // 8, dtype=np.uint64))
    free = iter(range(0x2000, size, 0x1000))
    halves = Regime(ROOT).tables()
    return PageTable(memory, lambda: next(free), tuple(half for half, _ in halves), roots=(ROOT, ROOT))


def test_levels_have_the_manuals_shifts() -> None:
    steps = layout(52, la57=True).steps
    assert [(step.level, step.shift) for step in steps] == [(5, 48), (4, 39), (3, 30), (2, 21), (1, 12)]
    assert layout(52).steps == steps[1:]
    assert (layout(52).size(3), layout(52).page_size, layout(52).last_level) == (1 << 30, 4096, 1)


@pytest.mark.parametrize(("la57", "bits_"), [(False, 47), (True, 56)])
def test_the_halves_are_the_canonical_addresses(la57: bool, bits_: int) -> None:
    lower, upper = layout(52, la57=la57), layout(52, la57=la57, upper=True)
    assert lower.covers((1 << bits_) - 1) and not lower.covers(1 << bits_)
    assert upper.covers((1 << 64) - (1 << bits_)) and not upper.covers((1 << 64) - (1 << bits_) - 1)


def test_one_record_for_the_same_arguments() -> None:
    assert layout(46) is layout(46)


@given(memories(), regimes, addresses)
def test_the_quick_walks_find_what_the_walk_finds(memory: TableMemory, regime: Regime, va: int) -> None:
    everything = replace(regime, cr4=regime.cr4 & ~r.CR4_PKE & ~r.CR4_PKS)
    results = [walk(memory, everything, va, Request(access, privileged=True, ac=True)) for access in Access]
    found = next((result for result in results if isinstance(result, Translation)), None)
    many = walk_many(memory, everything.tables(), np.array([va], dtype=np.uint64))
    halves = [(half, root) for half, root in everything.tables() if half.covers(va)]
    quick = find_leaf(memory, *halves[0], va)[2] if halves else 0
    # An entry that leads to its own table is left to the walk: it alone sees the flags that it set itself.
    ours = quick & ~bits.A
    if found:
        assert ours == found.leaf.value & ~bits.A
        assert many.pa[0] == found.pa and many.level[0] == found.level
        expected = restricted(found.leaf.value, (entry.value for entry in found.entries[:-1]))
        assert int(many.entry[0]) & ~bits.A == expected & ~bits.A
    else:
        assert not many.mapped[0] and quick == 0


@given(st.integers(0, (1 << 64) - 1), st.lists(st.integers(0, (1 << 64) - 1), max_size=4))
def test_restrictions_as_data_are_those_of_the_walk(leaf: int, tables: list[int]) -> None:
    effective = leaf
    for table in tables:
        for rule in layout(52).inherited:
            if table & rule.mask == rule.value:
                effective = (effective | rule.gets) & ~rule.loses
    assert effective == restricted(leaf, tables)


def test_a_page_table_serves_both_halves_from_one_root() -> None:
    table = new_table()
    table.map(0x7000_0000, 0x10_0000, 0x3000, USER_RW)
    table.map(HIGH_VA & -(2 << 20), PAGE, 4 << 20, bits.P | bits.RW)
    regime = Regime(ROOT)
    low = walk(table.memory, regime, 0x7000_1234, Request(Access.WRITE))
    high = walk(table.memory, regime, HIGH_VA, Request(Access.WRITE, privileged=True))
    assert isinstance(low, Translation) and (low.pa, low.size) == (0x10_1234, 4096)
    assert isinstance(high, Translation) and (high.pa, high.size) == (PAGE + HIGH_VA % (2 << 20), 2 << 20)
    runs = [run for half, root in regime.tables() for run in mappings(table.memory, half, root)]
    assert [(run.va, run.size, run.pa, run.level, run.leaves) for run in runs] == [
        (0x7000_0000, 0x3000, 0x10_0000, 1, 3),
        (HIGH_VA & -(2 << 20), 4 << 20, PAGE, 2, 2),
    ]


def test_the_largest_pages_that_fit_are_used_and_split() -> None:
    table = new_table()
    table.map(1 << 30, 2 << 30, 1 << 30, USER_RW)
    assert walk(table.memory, Regime(ROOT), (1 << 30) + 5, Request()).entries[-1].level == 3
    assert table.unmap((1 << 30) + 0x5000, 0x1000)
    result = walk(table.memory, Regime(ROOT), (1 << 30) + 0x6005, Request(Access.WRITE))
    assert isinstance(result, Translation)
    assert (result.pa, result.level, result.attributes.user) == ((2 << 30) + 0x6005, 1, "rwx")
    assert not isinstance(walk(table.memory, Regime(ROOT), (1 << 30) + 0x5005, Request()), Translation)
    result = walk(table.memory, Regime(ROOT), (1 << 30) + (2 << 20), Request())
    assert isinstance(result, Translation) and result.level == 2


def test_without_1g_pages_none_are_made() -> None:
    memory = TableMemory(np.zeros((4 << 20) // 8, dtype=np.uint64))
    free = iter(range(0x1000, 4 << 20, 0x1000))
    table = PageTable(memory, lambda: next(free), (layout(40, pages_1g=False),))
    table.map(1 << 30, 2 << 30, 1 << 30, USER_RW)
    assert {level for _, _, level, _ in table.leaves()} == {2}


def test_set_accessed_is_what_the_walk_does() -> None:
    for write in (False, True):
        memory, half = path(VA), Regime(ROOT).layout()
        new = set_accessed(memory, half, ROOT, VA, write=write)
        request = Request(Access.WRITE if write else Access.READ)
        result = walk(path(VA), Regime(ROOT), VA, request)
        assert isinstance(result, Translation) and new == result.updated


def test_keys_part_mappings_only_where_they_are_in_use() -> None:
    assert layout(MAX.pa_bits, keys=True).attributes & bits.KEY == bits.KEY
    assert not layout(MAX.pa_bits).attributes & bits.KEY
