"""Entries in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unikiln.errors import MmuError
from unikiln.mmu.x86 import entry as bits
from unikiln.mmu.x86.describe import describe, summary

LINUX_USER_PAGE = 0x8000_0001_2345_6867


def field(value: int, level: int, name: str, **config: int) -> tuple[int, str]:
    found = [f for f in describe(value, level, **config) if f.name == name]  # type: ignore[arg-type]
    assert len(found) == 1, (name, found)
    return found[0].value, found[0].meaning


@pytest.mark.parametrize(
    ("value", "level", "line"),
    [
        (
            LINUX_USER_PAGE,
            1,
            "PTE: a 4-KByte page at 0x123456000, read/write, user, execute-disabled, WB, accessed, dirty",
        ),
        (0x1067, 5, "PML5E: a table of PML4Es at 0x1000, read/write, user, accessed"),
        (0x1067, 4, "PML4E: a table of PDPTEs at 0x1000, read/write, user, accessed"),
        (0x1067, 3, "PDPTE: a table of PDEs at 0x1000, read/write, user, accessed"),
        (0x1001, 2, "PDE: a table of PTEs at 0x1000, read-only, supervisor"),
        (
            0xC000_01E3,
            2,
            "PDE: a 2-MByte page at 0xc0000000, read/write, supervisor, WB, accessed, dirty, global",
        ),
        (0xC000_1081, 3, "PDPTE: a 1-GByte page at 0xc0000000, read-only, supervisor, WB"),
        (0x00F9, 1, "PTE: a 4-KByte page at 0x0, read-only, supervisor, UC, accessed, dirty"),
        (0x10E7, 4, "PML4E: present, but sets a reserved bit: every use of it is a page fault"),
        (0xC000_2083, 2, "PDE: present, but sets a reserved bit: every use of it is a page fault"),
        (0, 1, "PTE: not present"),
        (0xFFFF_FFFF_FFFF_FFFE, 3, "PDPTE: not present"),
    ],
)
def test_summaries(value: int, level: int, line: str) -> None:
    assert summary(value, level) == line


def test_what_is_reserved_depends_on_the_processor() -> None:
    assert "reserved" not in summary(1 << 45 | 7, 1)
    assert "reserved" in summary(1 << 45 | 7, 1, pa_bits=40)
    assert "reserved" in summary(bits.XD | 7, 1, nxe=False)
    assert "reserved" in summary(0x87, 3, pages_1g=False)
    assert field(3 << 44 | 7, 1, "reserved", pa_bits=40) == (
        3,
        "must be 0: every use of the entry is a page fault",
    )


def test_a_page_has_every_field() -> None:
    names = [f.name for f in describe(LINUX_USER_PAGE, 1)]
    assert names == [
        "XD",
        "key",
        "ignored",
        "address",
        "ignored",
        "G",
        "PAT",
        "D",
        "A",
        "PCD",
        "PWT",
        "U/S",
        "R/W",
        "P",
    ]
    assert field(LINUX_USER_PAGE, 1, "address") == (0x123456, "the page is at 0x123456000")
    assert field(LINUX_USER_PAGE | 9 << 59, 1, "key")[0] == 9


def test_large_pages_have_their_pat_bit_and_address_elsewhere() -> None:
    pde = [(f.name, f.bits) for f in describe(0xC000_0083, 2, pa_bits=46)]
    assert ("address", "45:21") in pde and ("PAT", "12") in pde and ("PS", "7") in pde
    assert ("address", "45:30") in [(f.name, f.bits) for f in describe(0xC000_0083, 3, pa_bits=46)]
    assert "IA32_PAT[5], WT" in field(0xC000_108B, 2, "PAT")[1]


def test_tables_have_no_dirty_flag_and_no_key() -> None:
    names = {f.name for f in describe(0x1067, 4)}
    assert names.isdisjoint({"D", "G", "key", "PAT"})


def test_linux_uses_of_free_bits_are_remarks() -> None:
    fields = {f.bits: f.meaning for f in describe(LINUX_USER_PAGE | 1 << 9 | 1 << 10, 1)}
    assert fields["11:9"] == "for the operating system; Linux: special, userfaultfd write-protect, soft-dirty"
    absent = describe(0x1234_5100, 1)
    assert "PROT_NONE" in absent[0].meaning and absent[-1].name == "P"
    assert [f.name for f in describe(0, 1)] == ["P"]


@pytest.mark.parametrize("level", [0, 6, -1])
def test_levels_that_do_not_exist(level: int) -> None:
    for function in (describe, summary):
        with pytest.raises(MmuError, match="there is no level") as error:
            function(1, level)
        assert error.value.hint


def test_values_that_are_no_entry() -> None:
    for function in (describe, summary):
        with pytest.raises(MmuError, match="more than 64 bits"):
            function(1 << 64, 1)


@given(
    st.integers(0, (1 << 64) - 1),
    st.sampled_from(list(bits.LEVEL_NAMES)),
    st.integers(36, 52),
    st.booleans(),
    st.booleans(),
)
def test_fields_lose_no_set_bit(value: int, level: int, pa_bits: int, pages_1g: bool, nxe: bool) -> None:
    fields = describe(value, level, pa_bits=pa_bits, pages_1g=pages_1g, nxe=nxe)
    assert sum(f.value << int(f.bits.split(":")[-1]) for f in fields) == value
    reserved = any(f.name == "reserved" for f in fields)
    assert ("reserved" in summary(value, level, pa_bits=pa_bits, pages_1g=pages_1g, nxe=nxe)) == reserved
    assert all(f.meaning for f in fields)
