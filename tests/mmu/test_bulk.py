from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.mmu.conftest import make_table
from unikiln.mmu import PageTable, TableMemory, test_and_clear_accessed, test_and_clear_dirty, walk_many
from unikiln.mmu.aarch64.descriptor import AF, AP_READ_ONLY, DBM, OUTPUT_ADDRESS, SOFTWARE_DIRTY, user_page
from unikiln.mmu.aarch64.layout import KERNEL_48, USER_48
from unikiln.mmu.aarch64.regime import Regime
from unikiln.mmu.aarch64.registers import encode_tcr
from unikiln.mmu.aarch64.walk import walk
from unikiln.mmu.request import Request
from unikiln.mmu.translation import Translation

PLAIN = user_page(0, writable=True, executable=False, dirty=False) & ~OUTPUT_ADDRESS & ~3
WORD = st.integers(0, (1 << 64) - 1)
WORDS = st.lists(WORD, max_size=50)


@given(WORDS)
def test_the_access_flag_is_told_and_cleared(values: list[int]) -> None:
    entries = np.array(values, dtype=np.uint64)
    assert test_and_clear_accessed(entries, USER_48).tolist() == [bool(value & AF) for value in values]
    assert entries.tolist() == [value & ~AF for value in values]


@given(WORDS)
def test_dirty_is_software_s_bit_or_a_writable_entry_with_dbm(values: list[int]) -> None:
    """Linux, arch/arm64/include/asm/pgtable.h: pte_sw_dirty, pte_hw_dirty, pte_wrprotect."""
    entries = np.array(values, dtype=np.uint64)
    by_hardware = [value & DBM and not value & AP_READ_ONLY for value in values]
    expected = [bool(value & SOFTWARE_DIRTY or hw) for value, hw in zip(values, by_hardware, strict=True)]
    assert [USER_48.is_dirty(value) for value in values] == expected
    assert test_and_clear_dirty(entries, USER_48).tolist() == expected
    for value, hw, after in zip(values, by_hardware, entries.tolist(), strict=True):
        assert after == (value | AP_READ_ONLY if hw else value) & ~SOFTWARE_DIRTY
    assert not test_and_clear_dirty(entries, USER_48).any()


def test_more_entries_than_are_worked_on_at_once() -> None:
    entries = np.full(100_001, AF | 3, dtype=np.uint64)
    entries[70_000] = 3
    found = test_and_clear_accessed(entries, USER_48)
    assert np.flatnonzero(~found).tolist() == [70_000]
    assert (entries == 3).all()


def _mixed() -> PageTable:
    table = make_table(USER_48, KERNEL_48)
    table.map(0x1000, 0x5000, 0x3000, PLAIN)
    table.map(1 << 30, 1 << 21, 4 << 21, PLAIN | AP_READ_ONLY)
    table.map(3 << 30, 1 << 30, 1 << 30, PLAIN)
    table.map(KERNEL_48.first_va, 0, 0x2000, PLAIN)
    (_, root), *_ = table.tables
    table.memory.store(root >> 3, table.memory.word[root >> 3] | 1 << 61)  # APTable[0]: nothing for EL0
    table.memory.store((root >> 3) + 9, (1 << 47) | 3)  # a table where there is no memory
    return table


@given(st.lists(st.one_of(
    st.integers(0, 0x6000), st.integers(1 << 30, 5 << 30), st.integers(9 << 39, 10 << 39), WORD,
    st.integers(KERNEL_48.first_va, KERNEL_48.first_va + 0x4000),
), max_size=40))  # fmt: skip
def test_many_walks_are_what_single_walks_are(vas: list[int]) -> None:
    table = _mixed()
    (_, low), (_, high) = table.tables
    regime = Regime(encode_tcr(t0sz=16, t1sz=16), low, high)
    assert regime.tables() == table.tables
    many = walk_many(table.memory, table.tables, np.array(vas, dtype=np.uint64))
    for at, va in enumerate(vas):
        one = walk(table.memory, regime, va, Request(privileged=True))
        assert bool(many.mapped[at]) == isinstance(one, Translation)
        if isinstance(one, Translation):
            assert (many.pa[at], many.level[at], many.at[at]) == (one.pa, one.level, one.leaf.pa)
            assert many.entry[at] == one.effective


def test_no_addresses_and_no_memory() -> None:
    none = np.zeros(0, dtype=np.uint64)
    assert not len(walk_many(TableMemory(none), ((USER_48, 0),), none).entry)
    assert not walk_many(TableMemory(none), ((USER_48, 0),), np.array([5], dtype=np.uint64)).mapped.any()
