from __future__ import annotations

import pytest

from unikiln.mmu.aarch64.exception_class import EXCEPTION_CLASSES, exception_class
from unikiln.mmu.aarch64.syndrome import Syndrome, encode


def values(esr: int) -> dict[str, int]:
    return {field.name: field.value for field in Syndrome.decode(esr).fields()}


def meaning(esr: int, name: str) -> str:
    return next(field.meaning for field in Syndrome.decode(esr).fields() if field.name == name)


def test_the_classes_are_those_of_the_manual() -> None:
    """The table of EC in ESR_EL1, ESR_EL2 and ESR_EL3, issue M.a, and TSTART of FEAT_TME."""
    reserved = {0x02, 0x0B, 0x0F, 0x10, 0x23, 0x29, 0x2A, 0x2B, 0x2E, 0x36, 0x37, 0x39, 0x3B, 0x3E, 0x3F}
    assert set(EXCEPTION_CLASSES) == set(range(64)) - reserved
    assert all(exception_class(code).code == code for code in EXCEPTION_CLASSES)
    assert all(exception_class(code).name == "reserved" for code in reserved)


MANUAL = {
    (0x01,): "CV 24, COND 23:20, RN 9:5, RV 2, TI 1:0",
    (0x03, 0x05, 0x08): "CV 24, COND 23:20, Opc2 19:17, Opc1 16:14, CRn 13:10, Rt 9:5, CRm 4:1, Direction 0",
    (0x04, 0x0C): "CV 24, COND 23:20, Opc1 19:16, Rt2 14:10, Rt 9:5, CRm 4:1, Direction 0",
    (0x06,): "CV 24, COND 23:20, imm8 19:12, Rn 9:5, Offset 4, AM 3:1, Direction 0",
    (0x07,): "CV 24, COND 23:20",
    (0x0D,): "BTYPE 1:0",
    (0x11, 0x12, 0x15, 0x16, 0x17): "imm16 15:0",
    (0x13,): "CV 24, COND 23:20, CCKNOWNPASS 19",
    (0x14,): "Op0 21:20, Op2 19:17, Op1 16:14, CRn 13:10, Rt 9:6, CRm 4:1, Direction 0",
    (0x18,): "Op0 21:20, Op2 19:17, Op1 16:14, CRn 13:10, Rt 9:5, CRm 4:1, Direction 0",
    (0x1A,): "ERET 1, ERETA 0",
    (0x1C,): "DnI 1, BnA 0",
    (0x1D,): "SMTC 2:0",
    (0x1E,): "S2PTW 21, InD 20, GPCSC 19:14, VNCR 13, CM 8, S1PTW 7, WnR 6, xFSC 5:0",
    (0x20, 0x21): "PFV 14, SET 12:11, FnV 10, EA 9, S1PTW 7, IFSC 5:0",
    (0x24, 0x25): "ISV 24, SAS 23:22, SSE 21, SRT 20:16, WU 17:16, FnP 15, SF 15, AR 14, PFV 14, LST 12:11, "
    "SET 12:11, FnV 10, EA 9, CM 8, S1PTW 7, WnR 6, DFSC 5:0",
    (0x27,): "MemInst 24, isSETG 23, Options 22:19, FromEpilogue 18, FormatOption 17:16, destreg 14:10, "
    "srcreg 9:5, sizereg 4:0",
    (0x28, 0x2C): "TFV 23, VECITR 10:8, IDF 7, IXF 4, UFF 3, OFF 2, DZF 1, IOF 0",
    (0x2D,): "ExType 23:20, Raddr 14:10, Rn 9:5, Rvalue 9:5, IT 4:0",
    (0x2F,): "IDS 24, ELS 18, WU 17:16, VFV 15, PFV 14, IESB 13, AET 12:10, EA 9, WnRV 7, WnR 6, DFSC 5:0",
    (0x30, 0x31, 0x3A): "IFSC 5:0",
    (0x32, 0x33): "ISV 24, EX 6, IFSC 5:0",
    (0x34, 0x35): "WPT 23:18, WPTV 17, WPF 16, FnP 15, FnV 10, CM 8, WnR 6, DFSC 5:0",
    (0x38, 0x3C): "Comment 15:0",
    (0x3D,): "FSC 5:1, SYNC 0",
}
"""Names and places of the fields of ISS, read by a script from the manual's text, ESR_EL1 to ESR_EL3."""


@pytest.mark.parametrize(("ec", "text"), [(ec, text) for row, text in MANUAL.items() for ec in row])
def test_fields_are_those_of_the_manual(ec: int, text: str) -> None:
    ours = {f"{spec.name} {spec.bits}" for spec in EXCEPTION_CLASSES[ec].fields if spec.low < 25}
    of_el2 = {"TopLevel 21", "VNCR 13"} if ec != 0x1E else set()
    undescribed = {"ISS 23:0"}  # an SError's, if IDS is 1
    assert ours - of_el2 - undescribed == set(text.split(", "))


@pytest.mark.parametrize(
    ("esr", "sentence"),
    [
        # From kernel logs: Linux, FreeBSD, NuttX, TF-A, and lesson 5 of a tutorial.
        (0x02000000, "unknown reason: mostly an undefined instruction"),
        (0xF2000800, "breakpoint instruction: BRK #0x800 (Linux: BUG() or WARN())"),
        (0x36000003, "a branch landed where no BTI accepts it"),
        (0x72000000, "a pointer failed authentication: instruction key, key A"),
        (0x8A000000, "the program counter is not a multiple of 4"),
        (0x9A000000, "the stack pointer was not a multiple of 16 when used"),
        (0x56000000, "system call: SVC #0x0"),
        (0xBF000002, "SError, implementation defined syndrome 0x2"),
        (0xBE000000, "SError, uncategorized"),
        (0xBE000411, "asynchronous SError, unrecoverable state (UEU)"),
        # Made as the manual says.
        (0x06000001 | 0xE << 20, "WFE was trapped"),
        (0x06000066 | 0xE << 20, "WFIT was trapped"),
        (0x0FE00061, "MRC or VMRS, a read, of coproc 15, was trapped"),
        (0x13E00060, "MCRR, a write, of coproc 15, was trapped"),
        (0x1BE00005, "LDC, a read from memory, was trapped"),
        (0x1FE00000, "SVE, SIMD or floating point, which CPACR_EL1.FPEN or its like disables"),
        (0x2A000002, "LD64B or ST64B was trapped"),
        (0x3A000000, "illegal execution state"),
        (0x4600002A, "system call, AArch32: SVC #0x2a"),
        (0x5A000001, "hypervisor call: HVC #0x1"),
        (0x5E000000, "secure monitor call: SMC #0x0"),
        (0x66000000, "SVE, which CPACR_EL1.ZEN or its like disables"),
        (0x6A000003, "ERETAA or ERETAB was trapped"),
        (0x6E0000A0, "TSTART X5 was trapped"),
        (0x76000002, "SME trap: SME instruction while PSTATE.SM is 0"),
        (0x7A000028 | 0xD << 14, "data access failed the granule protection check: granule protection fault"),
        (0x9F000000, "SET: a set found registers of the other option (FEAT_MOPS)"),
        (0xB2800012, "trapped floating-point exception: divide by zero, inexact"),
        (
            0xB280008D,
            "trapped floating-point exception: invalid operation, overflow, underflow, input denormal",
        ),
        (0xB2000012, "trapped floating-point exception; which one is not told"),
        (0xB6000001, "guarded control stack exception: data check"),
        (0xC2000022, "hardware breakpoint at EL0"),
        (0xCE000022, "software step at EL1"),
        (0xD2000062, "a write at EL0 hit watchpoint"),
        (0xD60E0122, "cache maintenance at EL1 hit watchpoint 3"),
        (0xE200BEEF, "BKPT #0xbeef of AArch32"),
        (0xF20009FF, "breakpoint instruction: BRK #0x9ff (Linux: KASAN)"),
        (0xF2000900, "breakpoint instruction: BRK #0x900 (Linux: KASAN)"),
        (0xF20003E8, "breakpoint instruction: BRK #0x3e8 (__builtin_trap() of GCC)"),
        (0xF200002A, "breakpoint instruction: BRK #0x2a"),
        (0xF6000000, "profiling exception: PMU"),
        (0x0A000000, "reserved class"),
    ],
)
def test_sentences(esr: int, sentence: str) -> None:
    assert Syndrome.decode(esr).sentence.startswith(sentence)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"Op0": 3, "Op1": 3, "CRn": 0, "CRm": 0, "Op2": 1, "Rt": 3, "Direction": 1}, "MRS X3, CTR_EL0"),
        ({"Op0": 3, "Op1": 0, "CRn": 1, "CRm": 0, "Op2": 0, "Rt": 0}, "MSR SCTLR_EL1, X0"),
        ({"Op0": 3, "Op1": 0, "CRn": 15, "CRm": 2, "Op2": 1, "Rt": 31}, "MSR S3_0_C15_C2_1, XZR"),
        ({"Op0": 1, "Op1": 3, "CRn": 7, "CRm": 4, "Op2": 1, "Rt": 2}, "DC ZVA, X2"),
        ({"Op0": 1, "Op1": 0, "CRn": 8, "CRm": 7, "Op2": 0, "Rt": 31}, "TLBI VMALLE1"),
        ({"Op0": 1, "Op1": 0, "CRn": 8, "CRm": 3, "Op2": 1, "Rt": 9}, "TLBI VAE1IS, X9"),
        ({"Op0": 0, "Op1": 3, "CRn": 4, "CRm": 2, "Op2": 6, "Rt": 31}, "MSR DAIFSet, #2"),
    ],
)
def test_trapped_system_instructions_have_names(fields: dict[str, int], sentence: str) -> None:
    esr = encode(0x18, fields)
    assert Syndrome.decode(esr).sentence == f"{sentence} was trapped"


def test_a_128_bit_transfer_names_both_registers() -> None:
    esr = encode(0x14, {"Op0": 3, "CRn": 2, "Rt": 1, "Direction": 1})
    assert Syndrome.decode(esr).sentence == "MRRS X2, X3, TTBR0_EL1 was trapped"


def test_fields_of_a_trapped_mcr() -> None:
    """MRC p15, 0, r3, c0, c0, 5: MPIDR."""
    esr = encode(0x03, {"CV": 1, "COND": 14, "Opc2": 5, "Rt": 3, "Direction": 1})
    assert esr == 0x0FEA0061
    assert meaning(esr, "COND") == "condition AL"
    assert meaning(esr, "Direction") == "MRC or VMRS, a read"


def test_fields_of_an_serror() -> None:
    found = values(0xBE000411)
    assert (found["IDS"], found["AET"], found["DFSC"], found["IESB"], found["EA"]) == (0, 1, 0x11, 0, 0)
    assert values(0xBF40C000)["ISS"] == 0x40C000
    assert "AET" not in values(0xBE000000), "which are RES0 unless DFSC is 0x11"


def test_fields_of_a_stepped_load_exclusive() -> None:
    assert meaning(0xCB000062, "EX") == "a load-exclusive was stepped"
    assert "EX" not in values(0xCA000022)


def test_fields_of_a_guarded_control_stack_exception() -> None:
    assert meaning(0xB6000001, "IT") == "GCSPOPM"
    trapped = 0xB6000000 | 2 << 20 | 4 << 10 | 5 << 5
    assert (meaning(trapped, "Raddr"), meaning(trapped, "Rvalue")) == ("X4", "X5")
    assert "IT" not in values(trapped)


def test_set_bits_that_should_be_0_are_told() -> None:
    strays = [field for field in Syndrome.decode(0x8A00_0F01).fields() if field.name == "RES0"]
    assert [(field.bits, field.value) for field in strays] == [("11:8", 15), ("0", 1)]
    assert Syndrome.decode(0x100_0000_0000_0000 | 0x56000000).fields()[-1].bits == "56"
