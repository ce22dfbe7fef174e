from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unikiln.mmu.aarch64.fault import FaultKind
from unikiln.mmu.aarch64.syndrome import (
    EC_DATA_ABORT_LOWER,
    EC_INSTRUCTION_ABORT_LOWER,
    Syndrome,
    encode_abort,
    is_write,
)


def test_the_crash_that_started_it_all() -> None:
    """0x9600014b: cache maintenance from EL1 on an entry whose access flag is 0."""
    s = Syndrome.decode(0x9600014B)
    assert (s.ec, s.il, s.cm, s.wnr, s.status) == (0x25, True, True, True, 0x0B)
    assert not s.is_write
    assert "access flag fault, level 3" in str(s)
    assert "CM 1" in str(s)


@pytest.mark.parametrize(
    ("esr", "text"),
    [
        (0x92000007, "translation fault, level 3"),
        (0x9200000F, "permission fault, level 3"),
        (0x9200004A, "access flag fault, level 2"),
        (0x82000009, "access flag fault, level 1"),
        (0x96000021, "alignment fault"),
        (0x92000000, "address size fault, level 0"),
        (0x92000015, "external abort on a table walk, level 1"),
    ],
)
def test_status_codes_have_the_manuals_meaning(esr: int, text: str) -> None:
    assert text in str(Syndrome.decode(esr))


def test_encoding_gives_what_the_processor_reports() -> None:
    assert encode_abort(EC_DATA_ABORT_LOWER, 0x07) == 0x92000007
    assert encode_abort(EC_DATA_ABORT_LOWER, 0x4F & 0x3F, wnr=True) == 0x9200004F
    assert encode_abort(EC_INSTRUCTION_ABORT_LOWER, 0x06) == 0x82000006
    assert encode_abort(0x25, 0x0B, wnr=True, cm=True) == 0x9600014B


def test_only_a_store_is_a_write() -> None:
    assert is_write(encode_abort(0x24, 7, wnr=True))
    assert is_write(encode_abort(0x25, 7, wnr=True))
    assert not is_write(encode_abort(0x24, 7))
    assert not is_write(encode_abort(0x24, 7, wnr=True, cm=True))
    assert not is_write(0x82000047), "bit 6 of an instruction abort says nothing"


def test_kinds_and_levels_make_the_codes_of_the_table() -> None:
    assert [FaultKind.ACCESS_FLAG.value | level for level in (1, 2, 3)] == [0x09, 0x0A, 0x0B]
    assert [FaultKind.TRANSLATION.value | level for level in range(4)] == [4, 5, 6, 7]
    assert [FaultKind.PERMISSION.value | level for level in (1, 2, 3)] == [0x0D, 0x0E, 0x0F]


@given(st.integers(0, (1 << 32) - 1))
def test_decoding_loses_nothing(esr: int) -> None:
    assert Syndrome.decode(esr).value == esr
    assert str(Syndrome.decode(esr))
