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
        (0xB2000012, "trapped floating-point exception; which one is not told"),
        (0xB6000001, "guarded control stack exception: data check"),
        (0xC2000022, "hardware breakpoint at EL0"),
        (0xCE000022, "software step at EL1"),
        (0xD2000062, "a write at EL0 hit watchpoint"),
        (0xD60E0122, "cache maintenance at EL1 hit watchpoint 3"),
        (0xE200BEEF, "BKPT #0xbeef of AArch32"),
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
