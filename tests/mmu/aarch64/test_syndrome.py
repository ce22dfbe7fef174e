from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from unikiln.errors import MmuError
from unikiln.mmu.aarch64.exception_class import EXCEPTION_CLASSES
from unikiln.mmu.aarch64.fault import FaultKind
from unikiln.mmu.aarch64.iss_abort import DATA_ABORT, INSTRUCTION_ABORT
from unikiln.mmu.aarch64.status import STATUS_CODES, StatusKind, status_code
from unikiln.mmu.aarch64.syndrome import (
    EC_DATA_ABORT_LOWER,
    EC_INSTRUCTION_ABORT_LOWER,
    Syndrome,
    encode,
    encode_abort,
    is_write,
)
from unikiln.mmu.field import Field, Spec

LS64 = status_code(StatusKind.TRANSLATION, 1)


def fields_of(esr: int) -> dict[str, Field]:
    return {field.name: field for field in Syndrome.decode(esr).fields()}


def values_of(esr: int) -> dict[str, int]:
    return {name: field.value for name, field in fields_of(esr).items()}


def test_the_crash_that_started_it_all() -> None:
    """0x9600014b: cache maintenance from EL1 on an entry whose access flag is 0."""
    s = Syndrome.decode(0x9600014B)
    assert (s.ec, s.il, s.cm, s.wnr, s.status) == (0x25, True, True, True, 0x0B)
    assert not s.is_write
    assert "access flag fault, level 3" in str(s)
    assert "CM 1" in str(s)
    assert s.sentence == (
        "cache maintenance at EL1 hit an entry whose Access Flag is 0, level 3; not a write"
    )


CLEAR = {"ISV": 0, "FnV": 0, "EA": 0, "S1PTW": 0, "CM": 0}

KERNEL_LOGS = [
    # What Linux itself printed below "Mem abort info": class, flags, FSC.
    (
        0x96000047,
        0x25,
        {**CLEAR, "WnR": 1},
        "translation fault, level 3",
    ),
    (
        0x9600004F,
        0x25,
        {**CLEAR, "WnR": 1},
        "permission fault, level 3",
    ),
    (
        0x9600000F,
        0x25,
        {**CLEAR, "WnR": 0},
        "permission fault, level 3",
    ),
    (
        0x96000004,
        0x25,
        {**CLEAR, "WnR": 0},
        "translation fault, level 0",
    ),
    (0x96000005, 0x25, {"CM": 0, "WnR": 0, "TnD": 0, "TagAccess": 0, "GCS": 0}, "translation fault, level 1"),
    (0x96000021, 0x25, {"ISV": 0, "CM": 0, "WnR": 0, "Overlay": 0, "DirtyBit": 0}, "alignment fault"),
    (0x96000061, 0x25, {"ISV": 0, "CM": 0, "WnR": 1}, "alignment fault"),
    (0x96000210, 0x25, {"EA": 1, "SET": 0, "FnV": 0}, "synchronous external abort"),
    (0x92000006, 0x24, {"WnR": 0}, "translation fault, level 2"),
    (0x92000046, 0x24, {"WnR": 1}, "translation fault, level 2"),
    (0x8600000F, 0x21, {"FnV": 0, "EA": 0, "S1PTW": 0}, "permission fault, level 3"),
    (0x8600000E, 0x21, {"FnV": 0, "EA": 0, "S1PTW": 0}, "permission fault, level 2"),
    (0x86000006, 0x21, {"FnV": 0, "EA": 0, "S1PTW": 0}, "translation fault, level 2"),
    (0x86000004, 0x21, {"FnV": 0, "EA": 0, "S1PTW": 0}, "translation fault, level 0"),
    (0x82000006, 0x20, {"FnV": 0}, "translation fault, level 2"),
]


@pytest.mark.parametrize(("esr", "ec", "values", "status"), KERNEL_LOGS)
def test_aborts_decode_as_linux_decoded_them(esr: int, ec: int, values: dict[str, int], status: str) -> None:
    found = fields_of(esr)
    assert (found["EC"].value, found["IL"].value) == (ec, 1)
    assert {name: found[name].value for name in values} == values
    assert found["DFSC" if "DFSC" in found else "IFSC"].meaning == status


@pytest.mark.parametrize(
    ("esr", "sentence"),
    [
        (0x96000047, "a store at EL1 found no valid entry, level 3"),
        (0x92000006, "a load at EL0 found no valid entry, level 2"),
        (0x9600004F, "a store at EL1 hit an entry that does not permit it, level 3"),
        (0x8600000E, "an instruction fetch at EL1 hit an entry that does not permit it, level 2"),
        (0x82000006, "an instruction fetch at EL0 found no valid entry, level 2"),
        (0x96000021, "a load at EL1 was not aligned"),
        (0x96000210, "a load at EL1 got an external abort from the memory system"),
        (0x96000610, "a load at EL1 got an external abort from the memory system; FAR_EL1 is not valid"),
        (0x92000011, "a load at EL0 used a pointer whose tag is not that of the memory"),
        (0x96000000, "a load at EL1 met an address that is larger than physical addresses are, level 0"),
        (0x9600002B, "a load at EL1 found no valid entry, level -1"),
        (
            0x960000D7,
            "a store at EL1 got an external abort on the table walk, level 3; stage 2 faulted",
        ),
        (0x93830007, "a word load (W3) at EL0 found no valid entry, level 3"),
        (0x93C78046, "a doubleword store (X7) at EL0 found no valid entry, level 2"),
        (0x93DF8047, "a doubleword store (XZR) at EL0 found no valid entry, level 3"),
        (0x92001007, "an LD64B or ST64B at EL0 found no valid entry, level 3"),
        (
            0x1009600000F,
            "a load at EL1 hit an entry that does not permit it, level 3; a guarded control stack",
        ),
        (0x409600000F, "a load at EL1 hit an entry that does not permit it, level 3; due to the overlay"),
        (0x96000039, "a load at EL1 aborted with the reserved status 0x39"),
    ],
)
def test_sentences(esr: int, sentence: str) -> None:
    assert Syndrome.decode(esr).sentence.startswith(sentence)


@pytest.mark.parametrize("code", STATUS_CODES)
def test_every_status_makes_a_sentence(code: int) -> None:
    told = {Syndrome.decode(ec << 26 | 1 << 25 | code).sentence for ec in (0x20, 0x21, 0x24, 0x25)}
    assert len(told) == 4
    level = STATUS_CODES[code].level
    assert level is None or all(f"level {level}" in each for each in told)


@pytest.mark.parametrize(
    ("esr", "far", "meaning"),
    [
        (0x96000047, 0xFFFF_0000_1223_3C40, "the faulting address, in the half of TTBR1_EL1"),
        (0x92000006, 0x18, "the faulting address, in the half of TTBR0_EL1"),
        (0x92000011, 0x0A00_FFFF_1234_5678, "half of TTBR0_EL1, with 0x0a in the top byte"),
        (0x92000011, 0xFF00_0000_1234_5678, "half of TTBR0_EL1, with 0xff in the top byte"),
        (0x96000610, 0, "not valid: FnV is 1"),
        (0x8A000000, 0x6B6B_6B6B_6B6B_6B6B, "the faulting address, in the half of TTBR0_EL1, with 0x6b"),
        (0x56000000, 0, "unknown: this exception does not set it"),
        (0xBE000411, 0, "unknown: this exception does not set it"),
        (0xBE008411, 0x1000, "the faulting address, in the half of TTBR0_EL1"),
        (0xD6000462, 0, "not valid: FnV is 1"),
    ],
)
def test_the_fault_address(esr: int, far: int, meaning: str) -> None:
    field = Syndrome.decode(esr).far_field(far)
    assert field[:3] == ("FAR_EL1", "63:0", far)
    assert meaning in field.meaning


def test_an_address_without_a_tag() -> None:
    assert Syndrome.decode(0x96000011).far_field(0xFFFF_0000_1234_5678).meaning.endswith("half of TTBR1_EL1")
    assert Syndrome.decode(0x96000011).far_field(0x1234_5678).meaning.endswith("half of TTBR0_EL1")


def test_encoding_gives_what_the_processor_reports() -> None:
    assert encode_abort(EC_DATA_ABORT_LOWER, 0x07) == 0x92000007
    assert encode_abort(EC_DATA_ABORT_LOWER, 0x4F & 0x3F, wnr=True) == 0x9200004F
    assert encode_abort(EC_INSTRUCTION_ABORT_LOWER, 0x06) == 0x82000006
    assert encode_abort(0x25, 0x0B, wnr=True, cm=True) == 0x9600014B
    assert encode(0x25, {"DFSC": 0x0B, "WnR": 1, "CM": 1}) == 0x9600014B
    assert encode(0x24, {"DFSC": 0x07, "ISV": 1, "SAS": 2, "SRT": 3}) == 0x93830007
    assert encode(0x24, {"DFSC": 0x0F, "Overlay": 1}) == 0x40_9200_000F


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


@pytest.mark.parametrize(
    ("ec", "fields", "said"),
    [
        (0x02, {}, "exception class 0x2 is reserved"),
        (0x25, {"IFSC": 7}, "there is no field IFSC here"),
        (0x25, {"DFSC": 0x20}, "DFSC has no value 0x20"),
        (0x25, {"DFSC": 64}, "does not fit DFSC"),
        (0x21, {"IFSC": 0x21}, "IFSC has no value 0x21"),
        (0x25, {"DFSC": 7, "SAS": 1}, "SAS has no meaning beside the other fields"),
        (0x25, {"DFSC": 7, "SET": 2}, "SET has no meaning beside the other fields"),
        (0x25, {"DFSC": 0x10, "SET": 1}, "SET has no value 0x1"),
        (0x25, {"DFSC": 0x10, "LST": 1}, "LST has no meaning beside the other fields"),
        (0x25, {"DFSC": 7, "Xs": 4}, "Xs has no meaning beside the other fields"),
        (0x25, {"DFSC": 7, "FnV": 1}, "FnV belongs to a synchronous external abort that is not on a walk"),
        (0x25, {"DFSC": 0x14, "FnV": 1}, "FnV belongs to a synchronous external abort that is not on a walk"),
        (0x25, {"DFSC": 7, "EA": 1}, "EA belongs to an external abort; this is a translation fault"),
        (0x25, {"DFSC": 0x21, "S1PTW": 1}, "S1PTW belongs to a fault of a translation"),
        (0x25, {"DFSC": 7, "Overlay": 1}, "Overlay belongs to a permission fault"),
        (0x25, {"DFSC": 0x0F, "DirtyBit": 1}, "DirtyBit comes with WnR"),
        (0x25, {"DFSC": 7, "CM": 1}, "CM comes with WnR"),
        (0x25, {"DFSC": 7, "CM": 1, "WnR": 1, "ISV": 1}, "ISV goes without S1PTW, CM and GCS"),
        (0x25, {"DFSC": 0x10, "ISV": 1}, "ISV of an external abort is 0"),
        (0x25, {"DFSC": 7, "ISV": 1, "SSE": 1, "WnR": 1}, "SSE is of loads"),
        (0x25, {"DFSC": 7, "ISV": 1, "SSE": 1, "SAS": 3, "SF": 1}, "narrower than a doubleword"),
        (0x25, {"DFSC": 7, "ISV": 1, "SAS": 3}, "a doubleword is in no 32-bit register"),
        (0x25, {"DFSC": 7, "HDBSSF": 1}, "HDBSSF belongs to a permission fault or to one on a walk"),
    ],
)
def test_nonsense_is_refused(ec: int, fields: dict[str, int], said: str) -> None:
    with pytest.raises(MmuError) as error:
        encode(ec, fields)
    assert said in str(error.value)


def test_an_abort_without_isv_tells_no_16_bit_instruction() -> None:
    with pytest.raises(MmuError, match="IL = 1"):
        encode(0x24, {"DFSC": 7}, il=False)
    assert encode(0x24, {"DFSC": 7, "ISV": 1}, il=False) == 0x91000007
    assert encode(0x11, {"imm16": 5}, il=False) == 0x44000005


@pytest.mark.parametrize(
    "fields",
    [
        {"DFSC": 7, "ISV": 1, "SAS": 1, "SSE": 1, "SRT": 31, "SF": 1, "AR": 1},
        {"DFSC": LS64, "LST": 1, "Xs": 30, "ISV": 1, "SAS": 3, "SF": 1, "WnR": 1},
        {"DFSC": LS64, "LST": 2},
        {"DFSC": 0x10, "EA": 1, "SET": 3, "FnV": 1, "WU": 2, "FnP": 1, "PFV": 1, "WnR": 1},
        {"DFSC": 0x12, "EA": 1, "SET": 2, "S1PTW": 1, "HDBSSF": 1},
        {"DFSC": 0x0F, "WnR": 1, "TnD": 1, "TagAccess": 1, "AssuredOnly": 1, "Overlay": 1, "DirtyBit": 1},
        {"DFSC": 0x0E, "GCS": 1, "VNCR": 1, "TopLevel": 1},
        {"DFSC": 0x30, "S1PTW": 1},
        {"DFSC": 0x35, "WnR": 1},
    ],
)
def test_what_may_stand_together(fields: dict[str, int]) -> None:
    for ec in (0x24, 0x25):
        esr = encode(ec, fields)
        assert {name: value for name, value in values_of(esr).items() if value} == {
            "EC": ec,
            "IL": 1,
            **fields,
        }


def _legal_values(spec: Spec) -> st.SearchStrategy[int]:
    """What one field can be by itself; mostly 0 for flags, so that many draws are legal together."""
    if isinstance(spec.meanings, Mapping):
        known = sorted(spec.meanings)
        return st.sampled_from(known if len(known) > 4 else [known[0], known[0], *known])
    return st.integers(0, (1 << spec.high - spec.low + 1) - 1)


def _abort_fields(specs: tuple[Spec, ...], status: str) -> st.SearchStrategy[dict[str, int]]:
    by_name = {spec.name: _legal_values(spec) for spec in specs}
    always = {status: by_name.pop(status)}
    return st.fixed_dictionaries(always, optional=by_name)


@given(
    st.one_of(
        st.tuples(st.sampled_from([0x24, 0x25]), _abort_fields(DATA_ABORT, "DFSC")),
        st.tuples(st.sampled_from([0x20, 0x21]), _abort_fields(INSTRUCTION_ABORT, "IFSC")),
    )
)
def test_encode_and_decode_of_aborts_are_inverse(case: tuple[int, dict[str, int]]) -> None:
    ec, fields = case
    try:
        esr = encode(ec, fields)
    except MmuError:
        assume(False)
    decoded = values_of(esr)
    assert "RES0" not in decoded
    assert {name: decoded.get(name, 0) for name in fields} == fields
    assert sum(decoded.values()) == ec + 1 + sum(fields.values()), "nothing else is set"
    given_back = {name: value for name, value in decoded.items() if name not in ("EC", "IL")}
    assert encode(ec, given_back) == esr


@given(st.sampled_from(sorted(EXCEPTION_CLASSES)), st.data())
def test_encode_and_decode_of_all_classes_are_inverse(ec: int, data: st.DataObject) -> None:
    names = {spec.name: _legal_values(spec) for spec in EXCEPTION_CLASSES[ec].fields}
    fields = data.draw(st.fixed_dictionaries({}, optional=names))
    try:
        esr = encode(ec, fields)
    except MmuError:
        assume(False)
    decoded = values_of(esr)
    assert {name: decoded.get(name, 0) for name in fields} == fields
    assert "RES0" not in decoded


@given(st.integers(0, (1 << 64) - 1))
def test_decoding_loses_nothing(esr: int) -> None:
    syndrome = Syndrome.decode(esr)
    assert syndrome.value == esr
    assert str(syndrome)
    assert syndrome.sentence
    rebuilt = 0
    for field in syndrome.fields():
        shifted = field.value << int(field.bits.rpartition(":")[2])
        assert not rebuilt & shifted, "fields do not overlap"
        rebuilt |= shifted
    assert rebuilt == esr, "every bit that is set is in some field"
