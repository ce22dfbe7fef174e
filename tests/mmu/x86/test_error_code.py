"""Page-fault error codes: every flag, and the sentence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unikiln.errors import MmuError
from unikiln.mmu.x86.error_code import PageFaultCode

FLAGS = {
    "P": 0,
    "W/R": 1,
    "U/S": 2,
    "RSVD": 3,
    "I/D": 4,
    "PK": 5,
    "SS": 6,
    "HLAT": 7,
    "SGX": 15,
    "RMP": 31,
}


@pytest.mark.parametrize(("name", "bit"), FLAGS.items())
def test_each_flag_has_its_bit(name: str, bit: int) -> None:
    fields = PageFaultCode.decode(1 << bit).fields()
    assert [field.name for field in fields if field.value] == [name]
    assert {field.name: field.bits for field in fields} == {flag: str(at) for flag, at in FLAGS.items()}


def test_meanings_change_with_the_flag() -> None:
    clear, set_ = PageFaultCode.decode(0).fields(), PageFaultCode.decode(0x8000_80FF).fields()
    assert all(a.meaning and b.meaning and a.meaning != b.meaning for a, b in zip(clear, set_, strict=True))


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (0x00, "a read in supervisor mode to a page that is not present"),
        (0x02, "a write in supervisor mode to a page that is not present"),
        (0x04, "a read in user mode to a page that is not present"),
        (0x05, "a read in user mode to a page that is present and for supervisor mode"),
        (0x06, "a write in user mode to a page that is not present"),
        (0x07, "a write in user mode to a page that is present and read-only or for supervisor mode"),
        (0x01, "a read in supervisor mode to a page that is present and for user mode (SMAP)"),
        (
            0x03,
            "a write in supervisor mode to a page that is present and "
            "read-only (CR0.WP), or for user mode (SMAP)",
        ),
        (
            0x11,
            "an instruction fetch in supervisor mode to a page that is present and execute-disabled, "
            "or for user mode (SMEP)",
        ),
        (0x14, "an instruction fetch in user mode to a page that is not present"),
        (
            0x15,
            "an instruction fetch in user mode to a page that is present and "
            "execute-disabled or for supervisor mode",
        ),
        (0x0D, "a read in user mode through an entry that sets a reserved bit"),
        (0x27, "a write in user mode to a page whose protection key denies it"),
        (
            0x47,
            "a shadow-stack write in user mode to a page that is present and is no shadow stack, "
            "or not writable as one",
        ),
        (0x44, "a shadow-stack read in user mode to a page that is not present"),
        (0x8007, "a write in user mode to a page that SGX keeps for an enclave"),
        (0x8000_0007, "a write in user mode to a page that the reverse map gives to another guest"),
    ],
)
def test_sentences(code: int, sentence: str) -> None:
    assert str(PageFaultCode.decode(code)) == sentence


@pytest.mark.parametrize("code", [1 << 8, 1 << 16, 1 << 30, 1 << 32, -1])
def test_what_no_processor_pushes_is_refused(code: int) -> None:
    with pytest.raises(MmuError, match="is no page-fault error code"):
        PageFaultCode.decode(code)


@given(st.sets(st.sampled_from(sorted(FLAGS.values()))))
def test_every_combination_has_words(flags: set[int]) -> None:
    code = PageFaultCode.decode(sum(1 << flag for flag in flags))
    assert sum(field.value << int(field.bits) for field in code.fields()) == code.value
    assert ("user mode" in str(code)) or not code.user
