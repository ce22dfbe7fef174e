from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unikiln.errors import MmuError
from unikiln.mmu.field import Field, Spec, bit_range, decode_all, encode_all

MODE = Spec("mode", 7, 6, {0: "off", 1: "on", 3: "both"})
SIZE = Spec("size", 5, 2, lambda value: f"{1 << value} bytes")
WIDE = Spec("wide", 1, 1, "only in mode 3", lambda value: value >> 6 & 3 == 3)
NARROW = Spec("narrow", 1, 0, "only below mode 3", lambda value: value >> 6 & 3 != 3)
SPECS = (MODE, SIZE, WIDE, NARROW)


def test_bits_are_written_as_manuals_do() -> None:
    assert (bit_range(63, 59), bit_range(10, 10)) == ("63:59", "10")
    assert (MODE.bits, WIDE.bits, MODE.mask) == ("7:6", "1", 0xC0)


def test_a_value_decodes_to_the_fields_it_has() -> None:
    assert decode_all(SPECS, 0b01_0011_10) == [
        Field("mode", "7:6", 1, "on"),
        Field("size", "5:2", 3, "8 bytes"),
        Field("narrow", "1:0", 2, "only below mode 3"),
    ]
    assert [field.name for field in decode_all(SPECS, 0b11_0000_10)] == ["mode", "size", "wide"]


def test_reserved_values_and_stray_bits_are_told() -> None:
    assert decode_all(SPECS, 0b10_0000_00)[0].meaning == "reserved"
    strays = decode_all(SPECS, 0b1101_11_0000_01)[3:]
    assert strays == [
        Field("RES0", "11:10", 3, "reserved, yet not 0"),
        Field("RES0", "8", 1, "reserved, yet not 0"),
        Field("RES0", "0", 1, "reserved, yet not 0"),
    ]
    assert decode_all(SPECS, 0xF00, of=0xFF) == decode_all(SPECS, 0)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"mood": 1}, "there is no field mood here (there are mode, size, wide, narrow)"),
        ({"size": 16}, "0x10 does not fit size, bits 5:2"),
        ({"size": -1}, "-0x1 does not fit size"),
        ({"mode": 2}, "mode has no value 0x2"),
        ({"mode": 1, "wide": 1}, "wide has no meaning beside the other fields"),
        ({"mode": 3, "narrow": 2}, "narrow has no meaning beside the other fields"),
    ],
)
def test_nonsense_is_refused(values: dict[str, int], said: str) -> None:
    with pytest.raises(MmuError) as error:
        encode_all(SPECS, values)
    assert said in str(error.value)


@given(st.sampled_from([0, 1, 3]), st.integers(0, 15), st.integers(0, 1))
def test_encode_and_decode_are_inverse(mode: int, size: int, last: int) -> None:
    values = {"mode": mode, "size": size, "wide" if mode == 3 else "narrow": last}
    encoded = encode_all(SPECS, values, base=0x100)
    assert encoded & 0x100
    assert {field.name: field.value for field in decode_all(SPECS, encoded, of=0xFF)} == values
