"""The walk over any memory at all: it ends, and as a naive reading of the manual says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.mmu.x86.paths import (
    PLAIN,
    USER_RW,
)
from unikiln.mmu import Access, Request, TableMemory, Translation
from unikiln.mmu.x86 import entry as bits
from unikiln.mmu.x86 import registers as r
from unikiln.mmu.x86.config import MAX
from unikiln.mmu.x86.fault import FaultKind
from unikiln.mmu.x86.regime import Regime
from unikiln.mmu.x86.walk import walk

P, US, A, D = bits.P, bits.US, bits.A, bits.D

WORDS = 0x2000 // 8
entries = st.one_of(
    st.integers(0, (1 << 64) - 1),
    st.builds(
        lambda table, flags, high: table << 12 | flags | high << 52,
        st.sampled_from([0, 1, 1, 2]),
        st.sampled_from([USER_RW, USER_RW | A, USER_RW | bits.PS, P | US, P | bits.RW, 0]),
        st.sampled_from([0, 0, 1 << 11, 7]),
    ),
)
addresses = st.one_of(
    st.integers(0, (1 << 64) - 1),
    st.builds(
        lambda words: sum(n << 12 + 9 * i for i, n in enumerate(words)),
        st.lists(st.integers(0, 2), max_size=5),
    ),
)
regimes = st.builds(
    Regime,
    cr3=st.sampled_from([0, 0x1000, 0x1018]),
    cr0=st.sampled_from([PLAIN.cr0, r.CR0_PE | r.CR0_PG]),
    cr4=st.sets(
        st.sampled_from([r.CR4_LA57, r.CR4_PGE, r.CR4_SMEP, r.CR4_SMAP, r.CR4_PKE, r.CR4_PKS, r.CR4_PCIDE])
    ).map(lambda flags: r.CR4_PAE | sum(flags)),
    efer=st.sampled_from([PLAIN.efer, r.EFER_LME | r.EFER_LMA]),
    pkru=st.integers(0, (1 << 32) - 1),
    pkrs=st.integers(0, (1 << 32) - 1),
    config=st.sampled_from([MAX, replace(MAX, pa_bits=36), replace(MAX, pages_1g=False)]),
)
requests = st.builds(Request, st.sampled_from(Access), privileged=st.booleans(), ac=st.booleans())


def memories() -> st.SearchStrategy[TableMemory]:
    """Two tables, each of whose first words are random."""

    def build(first: list[int], second: list[int]) -> TableMemory:
        words = np.zeros(WORDS, dtype=np.uint64)
        words[: len(first)], words[512 : 512 + len(second)] = first, second
        return TableMemory(words)

    return st.builds(
        build, st.lists(entries, min_size=2, max_size=4), st.lists(entries, min_size=2, max_size=4)
    )


def naive(memory: TableMemory, regime: Regime, va: int) -> tuple[int, int] | None:
    """Physical address and level by the book, rights aside; None for any fault."""
    levels = 5 if regime.cr4 & r.CR4_LA57 else 4
    sign = va >> 12 + 9 * levels - 1
    if sign not in (0, (1 << 64 - (12 + 9 * levels - 1)) - 1):
        return None
    table, width = regime.cr3 & ~0xFFF, regime.config.pa_bits
    for level in range(levels, 0, -1):
        index = table // 8 + (va >> 12 + 9 * (level - 1)) % 512
        if index >= len(memory.words):
            return None
        entry = memory.word[index]
        reserved = entry >> width & (1 << 52 - width) - 1 or (entry >> 63 and not regime.efer & r.EFER_NXE)
        if not entry & 1 or reserved:
            return None
        if level > 1 and not entry & 0x80:
            table = entry & 0x000F_FFFF_FFFF_F000
            continue
        if level > 3 or (level == 3 and not regime.config.pages_1g):
            return None
        size = 1 << 12 + 9 * (level - 1)
        if level > 1 and (entry & size - 1) >> 13:
            return None
        return (entry & 0x000F_FFFF_FFFF_FFFF & -size) + va % size, level
    raise AssertionError


@given(memories(), regimes, addresses, requests)
def test_any_memory_gives_a_result_that_a_naive_reading_agrees_with(
    memory: TableMemory, regime: Regime, va: int, request: Request
) -> None:
    result = walk(memory, regime, va, request)
    expected = naive(memory, regime, va)
    assert str(result)
    if isinstance(result, Translation):
        assert (result.pa, result.level) == expected
        letter = "rwx"[request.access]
        if request.privileged and not request.ac:
            assert letter in result.attributes.privileged
        if not request.privileged:
            assert letter in result.attributes.user
    else:
        assert (result.kind is FaultKind.PROTECTION) == (expected is not None)
        assert (result.denial is not None) == (result.kind is FaultKind.PROTECTION)
        assert len(result.entries) <= 5


@given(memories(), regimes, addresses, st.sampled_from(Access), st.booleans())
def test_the_rights_that_attributes_tell_are_those_that_the_walk_grants(
    memory: TableMemory, regime: Regime, va: int, access: Access, privileged: bool
) -> None:
    for probe in (Request(other, privileged=who, ac=True) for other in Access for who in (False, True)):
        result = walk(memory, regime, va, probe)
        if isinstance(result, Translation):
            granted = isinstance(
                walk(memory, regime, va, Request(access, privileged=privileged)), Translation
            )
            told = result.attributes.privileged if privileged else result.attributes.user
            assert granted == ("rwx"[access] in told)


@given(memories(), regimes, addresses, requests)
def test_changes_set_flags_and_nothing_else(
    memory: TableMemory, regime: Regime, va: int, request: Request
) -> None:
    result = walk(memory, regime, va, request)
    first = {entry.pa: entry.value for entry in reversed(result.entries)}
    assert len({change.pa for change in result.changes}) == len(result.changes)
    for change in result.changes:
        assert change.value & ~first[change.pa] and not (change.value ^ first[change.pa]) & ~(A | D)
        assert change.value & A
