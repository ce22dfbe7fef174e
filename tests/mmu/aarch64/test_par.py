from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unikiln.errors import MmuError
from unikiln.mmu.aarch64.par import Par, encode_fault, encode_success
from unikiln.mmu.aarch64.status import STATUS_CODES, StatusKind

OF_AT = {
    code: status
    for code, status in STATUS_CODES.items()
    if status.kind
    not in {
        StatusKind.EXTERNAL,
        StatusKind.EXTERNAL_ON_WALK,
        StatusKind.TAG_CHECK,
        StatusKind.PARITY,
        StatusKind.ALIGNMENT,
        StatusKind.LOCKDOWN,
        StatusKind.EXCLUSIVE,
    }
}


def values(par: int) -> dict[str, int]:
    return {field.name: field.value for field in Par(par).fields()}


def test_a_translation_to_normal_memory() -> None:
    """As QEMU reports a write-back, inner shareable page of a non-secure EL1."""
    par = encode_success(0x4020_1ABC, 0xFF, 3)
    assert par == 0xFF00_0000_4020_1B80
    assert not Par(par).failed
    assert Par(par).pa == 0x4020_1000
    assert values(par) == {
        "ATTR": 0xFF,
        "PA": 0x40201,
        "NSE": 1,
        "IMPDEF": 0,
        "NS": 1,
        "SH": 3,
        "F": 0,
    }
    assert Par(par).sentence == "translated to physical address 0x40201000: Normal WB, inner shareable"


@pytest.mark.parametrize("attr", [0x00, 0x04, 0x0C, 0x44])
def test_device_and_non_cacheable_memory_is_outer_shareable(attr: int) -> None:
    assert values(encode_success(0x900_0000, attr, 0))["SH"] == 2


@pytest.mark.parametrize(
    ("par", "sentence"),
    [
        (0x80F, "not translated: translation fault, level 3; stage 1 faulted"),
        (0x817, "not translated: access flag fault, level 3; stage 1 faulted"),
        (0x81B, "not translated: permission fault, level 1; stage 1 faulted"),
        (0xA0D, "not translated: translation fault, level 2; stage 2 faulted"),
        (0xB0D, "not translated: translation fault, level 2; stage 2 faulted on a walk of stage 1"),
        (0x857, "not translated: translation fault, level -1 (FEAT_LPA2); stage 1 faulted"),
        (0x87B, "not translated: section domain fault (AArch32 short descriptors); stage 1 faulted"),
    ],
)
def test_faults(par: int, sentence: str) -> None:
    assert Par(par).failed
    assert Par(par).sentence == sentence
    with pytest.raises(MmuError, match="has no address"):
        _ = Par(par).pa


def test_encoding_a_fault() -> None:
    assert encode_fault(0x07) == 0x80F
    assert encode_fault(0x0B, stage2=True) == 0xA17
    assert encode_fault(0x06, stage2=True, on_walk=True) == 0xB0D


@pytest.mark.parametrize("code", sorted(set(range(64)) - set(OF_AT) - {0x3D, 0x3E}))
def test_what_at_does_not_report_is_refused(code: int) -> None:
    with pytest.raises(MmuError, match="FST has no value"):
        encode_fault(code)


def test_nonsense_is_refused() -> None:
    for arguments, said in (
        ((1 << 52, 0xFF, 3), "no room for the address 0x10000000000000"),
        ((0, 0xFF, 1), "SH has no value 1"),
        ((0, 0x100, 3), "ATTR has no value 0x100"),
    ):
        with pytest.raises(MmuError, match=said):
            encode_success(*arguments)
    with pytest.raises(MmuError, match="PTW is of stage 2"):
        encode_fault(7, on_walk=True)


@given(st.integers(0, (1 << 52) - 1), st.integers(0, 255), st.sampled_from([0, 2, 3]), st.booleans())
def test_success_round_trip(pa: int, attr: int, sh: int, ns: bool) -> None:
    found = values(encode_success(pa, attr, sh, ns=ns))
    assert found["PA"] << 12 == pa & -4096
    assert (found["ATTR"], found["NS"]) == (attr, ns)
    assert found["SH"] in (sh, 2)
    assert "RES0" not in found


@given(st.sampled_from(sorted(OF_AT)), st.booleans())
def test_fault_round_trip(code: int, stage2: bool) -> None:
    par = Par(encode_fault(code, stage2=stage2))
    assert (par.failed, par.status, values(par.value)["S"]) == (True, code, stage2)
    assert str(OF_AT[code]) in par.sentence


@given(st.integers(0, (1 << 64) - 1))
def test_decoding_loses_nothing(value: int) -> None:
    rebuilt = 0
    for field in Par(value).fields():
        rebuilt += field.value << int(field.bits.rpartition(":")[2])
    assert rebuilt == value
    assert Par(value).sentence
