"""Cases and results as judge.c reads and writes them."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.baremetal.aarch64 import record
from tests.baremetal.aarch64.record import CASE, HEADER, RESULT, Case, decode, encode, swapped
from unikiln.mmu.aarch64.regime import Regime
from unikiln.mmu.aarch64.registers import SCTLR_EE, SCTLR_M

WORDS = st.integers(0, 2**64 - 1)
SOURCE = (Path(record.__file__).parent / "judge.c").read_text()


def case_with(entries: tuple[tuple[int, int], ...], *, sctlr: int = SCTLR_M, privileged: bool = True) -> Case:
    return Case(Regime(0x11, 0x22, 0x33, 0x44, sctlr), "ldr", privileged, 0x55, entries, True, 6, 7, 0x88)


def fields_of(name: str) -> int:
    """How many 64-bit words the structure has in judge.c."""
    known = {"uint64_t": 1, "struct entry": 2, "struct registers": 3}
    (body,) = re.findall(rf"struct {name} {{(.*?)\n}};", SOURCE, re.DOTALL)
    words = 0
    for kind, names in re.findall(r"^\s*(uint64_t|struct \w+) ([^;]*);", body, re.MULTILINE):
        for each in names.split(","):
            count = re.search(r"\[(\w+)\]", each)
            size = 1 if count is None else record.MAX_ENTRIES if count[1] == "MAX_ENTRIES" else int(count[1])
            words += known[kind] * size
    return words


@pytest.mark.parametrize(("name", "layout"), [("test_case", CASE), ("result", RESULT), ("header", HEADER)])
def test_the_records_are_as_long_as_in_c(name: str, layout: struct.Struct) -> None:
    assert layout.size == 8 * fields_of(name)


def test_a_case_is_laid_out_in_the_order_of_c() -> None:
    words = CASE.unpack(encode(case_with(((0x1000, 0x2000), (0x3000, 0x4000))), vbar=0x99, pc=0xAA))
    registers, operands, entries = words[:8], words[8:13], words[13:]
    assert registers == (SCTLR_M, 0x11, 0x44, 0x22, 0x33, 0x99, record.EL1 | record.MASKED | record.PAN, 0xAA)
    assert operands == (0x55, 6, 7, 0x88, 2)
    assert entries[:4] == (0x1000, 0x2000, 0x3000, 0x4000)
    assert not any(entries[4:])


def test_el0_is_in_the_saved_state() -> None:
    state = CASE.unpack(encode(case_with((), privileged=False), vbar=0, pc=0))[6]
    assert state & 0xF == record.EL0


def test_big_endian_entries_stand_the_other_way_round() -> None:
    case = case_with(((0x1000, 0x0123456789ABCDEF),), sctlr=SCTLR_M | SCTLR_EE)
    data = encode(case, vbar=0, pc=0)
    assert data[14 * 8 : 15 * 8] == bytes.fromhex("0123456789abcdef")
    answer = RESULT.pack(record.HVC | 4, *[0] * 10, CASE.unpack(data)[14], *[0] * 5)
    assert decode(case, answer).entries == (0x0123456789ABCDEF,)


def test_a_result_is_read_in_the_order_of_c() -> None:
    case = case_with(((0x1000, 1), (0x2000, 2)))
    result = decode(case, RESULT.pack(record.HVC | 8, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16))
    assert (result.vector, result.esr, result.far, result.elr, result.par) == (8, 1, 2, 3, 4)
    assert (result.x1, result.x2, result.changed, result.at_probe) == (6, 7, 8, (9, 10))
    assert result.entries == (11, 12)


def test_an_exception_to_el2_that_is_no_hvc_is_an_error() -> None:
    with pytest.raises(AssertionError, match="0x96000045"):
        decode(case_with(()), RESULT.pack(0x9600_0045, *[0] * 16))


def test_more_entries_than_fit_are_refused() -> None:
    entries = tuple((at, at) for at in range(record.MAX_ENTRIES + 1))
    with pytest.raises(struct.error):
        encode(case_with(entries), vbar=0, pc=0)


@given(WORDS, st.booleans())
def test_swapping_twice_changes_nothing(value: int, big_endian: bool) -> None:
    assert swapped(swapped(value, big_endian), big_endian) == value
