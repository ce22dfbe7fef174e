from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.mmu.conftest import FRAMES
from unikiln.errors import MmuError
from unikiln.mmu import Access, Fault, FaultKind, PageTable, Translation, walk
from unikiln.mmu.aarch64.descriptor import AF, AP_READ_ONLY, UXN, DescriptorKind, user_page
from unikiln.mmu.aarch64.walk import visited

VA = 0x0000_8040_2010_1000
PA = 0x7_7777_7000
ENTRY = user_page(PA, writable=True, executable=False, dirty=False)


def _walk(table: PageTable, va: int, access: Access = Access.READ) -> Translation | Fault:
    return walk(table.memory, table.roots, va, access)


def _fault(table: PageTable, va: int, access: Access = Access.READ) -> tuple[FaultKind, int]:
    result = _walk(table, va, access)
    assert isinstance(result, Fault)
    return result.kind, result.level


def test_each_level_takes_nine_bits(table: PageTable) -> None:
    """The address has index 1 at level 0, 1 at level 1, 1 at level 2 and 0x101 at level 3."""
    table.map_page(VA, ENTRY)
    result = _walk(table, VA + 0x123)
    assert isinstance(result, Translation)
    assert result.pa == PA + 0x123
    assert result.size == 4096
    entries = visited(table.memory, table.roots, VA)
    kinds = [each.kind for each in entries]
    assert kinds == [DescriptorKind.TABLE] * 3 + [DescriptorKind.PAGE]
    assert result.index % 512 == VA >> 12 & 511 == 0x101


def test_a_missing_table_faults_at_its_level(table: PageTable) -> None:
    assert _fault(table, VA) == (FaultKind.TRANSLATION, 0)
    table.map_page(VA, ENTRY)
    assert _fault(table, VA + 4096) == (FaultKind.TRANSLATION, 3)
    assert _fault(table, VA + (1 << 21)) == (FaultKind.TRANSLATION, 2)
    assert _fault(table, VA + (1 << 30)) == (FaultKind.TRANSLATION, 1)


@pytest.mark.parametrize(("level", "size"), [(1, 1 << 30), (2, 1 << 21)])
def test_blocks_map_their_size(table: PageTable, level: int, size: int) -> None:
    table.map_block(5 * size, user_page(3 * size, writable=True, executable=False, dirty=False), level)
    result = _walk(table, 5 * size + 0x12345)
    assert isinstance(result, Translation)
    assert (result.pa, result.size, result.descriptor.level) == (3 * size + 0x12345, size, level)


def test_the_upper_half_goes_through_ttbr1(table: PageTable) -> None:
    table.map_page(0xFFFF_8000_0000_0000, ENTRY)
    assert isinstance(_walk(table, 0xFFFF_8000_0000_0000), Translation)
    assert _fault(table, 0x0000_8000_0000_0000)[0] is FaultKind.TRANSLATION
    assert [each.va for each in table.mappings()] == [0xFFFF_8000_0000_0000]


@pytest.mark.parametrize("va", [1 << 48, 0x8000_0000_0000_0000, 0xFFFE_FFFF_FFFF_F000])
def test_an_address_between_the_halves_faults_at_level_0(table: PageTable, va: int) -> None:
    assert _fault(table, va) == (FaultKind.TRANSLATION, 0)
    with pytest.raises(MmuError, match="canonical"):
        table.map_page(va, ENTRY)


def test_the_access_flag_comes_before_permissions(table: PageTable) -> None:
    index = table.map_page(VA, ENTRY & ~AF | AP_READ_ONLY)
    assert _fault(table, VA, Access.WRITE) == (FaultKind.ACCESS_FLAG, 3)
    table.memory.word[index] = ENTRY | AP_READ_ONLY
    assert _fault(table, VA, Access.WRITE) == (FaultKind.PERMISSION, 3)
    assert isinstance(_walk(table, VA, Access.READ), Translation)


def test_uxn_forbids_fetching(table: PageTable) -> None:
    index = table.map_page(VA, ENTRY)
    assert _fault(table, VA, Access.EXECUTE) == (FaultKind.PERMISSION, 3)
    table.memory.word[index] = ENTRY & ~UXN
    assert isinstance(_walk(table, VA, Access.EXECUTE), Translation)


def test_a_table_outside_memory_is_an_external_abort(table: PageTable) -> None:
    table.memory.word[table.roots.ttbr0 >> 3] = 0xFFFF_FFFF_F000 | 3
    assert _fault(table, 0x1000) == (FaultKind.EXTERNAL_ON_WALK, 1)


@given(st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 64) - 1), st.sampled_from(Access))
def test_no_root_entry_makes_the_walk_hang_or_break(entry: int, va: int, access: Access) -> None:
    import numpy as np

    from unikiln.mmu import TableMemory

    memory = TableMemory(np.full(FRAMES, entry, dtype=np.uint64))
    from unikiln.mmu.aarch64.walk import Roots

    assert isinstance(walk(memory, Roots(0, 0), va, access), Translation | Fault)
