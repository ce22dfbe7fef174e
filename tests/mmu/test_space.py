"""Address spaces of either architecture: mappings, and who maps a physical address."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.mmu.conftest import make_table
from unikiln.errors import MmuError
from unikiln.mmu import explain
from unikiln.mmu.aarch64 import descriptor as bits
from unikiln.mmu.aarch64.layout import KERNEL_48, USER_48
from unikiln.mmu.aarch64.regime import Regime
from unikiln.mmu.aarch64.registers import encode_tcr
from unikiln.mmu.memory import TableMemory
from unikiln.mmu.request import Access, Request
from unikiln.mmu.space import Mapping, Space
from unikiln.mmu.translation import Translation
from unikiln.mmu.x86 import entry as x86
from unikiln.mmu.x86.regime import Regime as X86Regime

PAGE = 4096
TCR = encode_tcr(t0sz=16, t1sz=16)
Pages = st.dictionaries(
    st.integers(0, 600), st.tuples(st.integers(0, 40), st.sampled_from("ruw")), max_size=30
)


def space_of(pages: dict[int, tuple[int, str]], block: bool = True) -> Space:
    """Pages by number: their frame, and what they are: read-only and of EL1 (r), of EL0 (u), writable (w)."""
    table = make_table(USER_48, KERNEL_48)
    (_, lower), (_, upper) = table.tables
    for page, (frame, kind) in pages.items():
        entry = bits.user_page(frame * PAGE, writable=kind == "w", executable=False, dirty=False)
        table.map_page(page * PAGE, entry & ~bits.AP_EL0 if kind == "r" else entry)
    if block:
        table.map(KERNEL_48.first_va, 0, 2 << 20, bits.AF | bits.UXN)
    return Space(table.memory, Regime(TCR, lower, upper))


@given(Pages, st.integers(0, 41 * PAGE))
def test_find_is_what_the_mappings_say(pages: dict[int, tuple[int, str]], pa: int) -> None:
    space = space_of(pages)
    expected = sorted(page * PAGE + pa % PAGE for page, (frame, _) in pages.items() if frame == pa // PAGE)
    found = list(space.find(pa))
    assert [va for va, _ in found] == [*expected, KERNEL_48.first_va + pa]
    for va, mapping in found:
        result = space.walk(va, Request(privileged=True))
        assert isinstance(result, Translation)
        assert result.pa == pa
        assert result.attributes == mapping.attributes
        assert (mapping.run.va, mapping.run.size) == (va & -result.size, result.size)


@given(Pages)
def test_who_may_what_is_the_same_for_leaves_and_mappings(pages: dict[int, tuple[int, str]]) -> None:
    space = space_of(pages)
    for layout, group in space.leaves():
        may = space.user_may(layout, group)
        for va, user in zip(group.va.tolist(), may.tolist(), strict=True):
            (mapping,) = [each for each in space.mappings() if each.run.va <= va <= each.last]
            assert mapping.is_user == user
            for access, right in zip(Access, "rwx", strict=True):
                results = [space.walk(va, Request(access, privileged=each)) for each in (True, False)]
                assert mapping.allows(right) == any(isinstance(each, Translation) for each in results)


def test_a_table_outside_the_memory_is_told_after_all_that_could_be_read() -> None:
    space = space_of({1: (2, "w")})
    assert isinstance(space.memory, TableMemory)
    space.memory.words[PAGE // 8 + 500] = 0xDEAD_0000_0000 | bits.LEAF
    seen: list[Mapping] = []
    with pytest.raises(MmuError, match="such as 0xdead00000"):
        seen.extend(space.mappings())
    assert len(seen) == 2


def test_a_root_outside_the_memory() -> None:
    space = Space(TableMemory(np.zeros(8, dtype=np.uint64)), Regime(TCR, 0x10_0000))
    with pytest.raises(MmuError, match="no memory at 0x100000"):
        list(space.mappings())


def test_x86_64_in_words() -> None:
    words = np.zeros(512 * 4, dtype=np.uint64)
    table = x86.P | x86.RW | x86.US
    words[0], words[512], words[1024] = (table | 0x1000 * level for level in (1, 2, 3))
    words[1536] = 0xABC000 | table | x86.XD
    space = Space(TableMemory(words), X86Regime(cr3=0, cr4=0x20))
    assert space.arch == "x86_64"
    request = Request(Access.WRITE)
    result = space.walk(0x10, request)
    assert isinstance(result, Translation)
    assert [change.value & x86.A for change in result.changes] == [x86.A] * 4
    layout = space.layout_of(0x10)
    assert layout is not None
    assert explain.access(space, request) == "write from user"
    assert explain.tables(space, layout) == "CR3 0x0, lower half: 47-bit addresses, 4 levels"
    assert [explain.level_name(layout, entry.level) for entry in result.entries] == [
        "PML4E",
        "PDPTE",
        "PDE",
        "PTE",
    ]
    assert explain.entry(space, layout, result.leaf).startswith(
        "a 4-KByte page at 0xabc000, read/write, user"
    )
    fault = space.walk(0x2000, request)
    assert not isinstance(fault, Translation)
    assert explain.fault(fault).endswith("not present; CR2 would be 0x2000")
    assert space.layout_of(1 << 60) is None
    fault = space.walk(1 << 60, request)
    assert not isinstance(fault, Translation)
    assert "CR2" not in explain.fault(fault)
