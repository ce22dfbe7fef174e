"""ISS of SError, floating-point, PAC, BTI, MOPS, GCS, granule protection and profiling exceptions.

Arm ARM D24.2.45, "ISS encoding for ...", issue M.a; granule protection check: ESR_EL3 (D24.2.47).
"""

from __future__ import annotations

from unikiln.mmu.aarch64.iss_abort import WRITE_UPDATE, flag, register_name
from unikiln.mmu.aarch64.status import STATUS_CODES, StatusKind
from unikiln.mmu.field import Spec

BRANCH_TARGET = (Spec("BTYPE", 1, 0, "PSTATE.BTYPE that the target does not accept"),)

PAC_FAIL = (
    flag("DnI", 1, "instruction key", "data key"),
    flag("BnA", 0, "key A", "key B"),
)

MEMORY_COPY = (
    flag("MemInst", 24, "CPY: a copy", "SET: a set"),
    flag("isSETG", 23, "not SETG", "SETG, which sets tags"),
    Spec("Options", 22, 19, "as in the instruction"),
    flag("FromEpilogue", 18, "prologue or main", "epilogue"),
    Spec("FormatOption", 17, 16, {0: "option B", 1: "option A", 2: "option A", 3: "option B"}),
    Spec("destreg", 14, 10, register_name),
    Spec("srcreg", 9, 5, register_name),
    Spec("sizereg", 4, 0, register_name),
)


def _trapped(name: str, bit: int, what: str) -> Spec:
    return flag(name, bit, "did not occur", what)


FLOATING_POINT = (
    flag("TFV", 23, "the bits below are not valid", "the bits below are valid"),
    Spec("VECITR", 10, 8, "ones from AArch32, unknown from AArch64"),
    _trapped("IDF", 7, "input denormal"),
    _trapped("IXF", 4, "inexact"),
    _trapped("UFF", 3, "underflow"),
    _trapped("OFF", 2, "overflow"),
    _trapped("DZF", 1, "divide by zero"),
    _trapped("IOF", 0, "invalid operation"),
)


def _is_data_check(esr: int) -> bool:
    return esr >> 20 & 15 == 0


def _is_store_trap(esr: int) -> bool:
    return esr >> 20 & 15 == 2


GUARDED_CONTROL_STACK = (
    Spec("ExType", 23, 20, {0: "data check", 1: "EXLOCK", 2: "trap of GCSSTR or GCSSTTR"}),
    Spec("Raddr", 14, 10, register_name, _is_store_trap),
    Spec("Rn", 9, 5, register_name, _is_data_check),
    Spec("Rvalue", 9, 5, register_name, _is_store_trap),
    Spec(
        "IT",
        4,
        0,
        {
            0: "procedure return",
            1: "GCSPOPM",
            2: "procedure return with PAC, key A",
            3: "procedure return with PAC, key B",
            4: "GCSSS1",
            5: "GCSSS2",
            8: "GCSPOPCX",
            9: "GCSPOPX",
        },
        _is_data_check,
    ),
)


def _is_described(esr: int) -> bool:
    return not esr & 1 << 24


def _is_implementation_defined(esr: int) -> bool:
    return bool(esr & 1 << 24)


def _is_asynchronous(esr: int) -> bool:
    return _is_described(esr) and esr & 0x3F == 0b010001


SERROR = (
    flag("IDS", 24, "as the architecture says", "implementation defined"),
    Spec("ISS", 23, 0, "implementation defined", _is_implementation_defined),
    flag("ELS", 18, "ELR_EL1 tells nothing of the cause", "by the instruction at ELR_EL1", _is_asynchronous),
    Spec("WU", 17, 16, WRITE_UPDATE, _is_asynchronous),
    flag("VFV", 15, "FAR_EL1 is not valid", "FAR_EL1 is valid", _is_asynchronous),
    flag("PFV", 14, "PFAR_EL1 is unknown", "PFAR_EL1 has the physical address", _is_asynchronous),
    flag("IESB", 13, "not by an implicit barrier", "synchronized by an implicit barrier", _is_asynchronous),
    Spec(
        "AET",
        12,
        10,
        {
            0: "uncontainable (UC)",
            1: "unrecoverable state (UEU)",
            2: "restartable state (UEO)",
            3: "recoverable state (UER)",
            6: "corrected (CE)",
        },
        _is_asynchronous,
    ),
    Spec("EA", 9, 9, "kind of external abort, implementation defined", _is_asynchronous),
    flag("WnRV", 7, "WnR is not valid", "WnR is valid", _is_asynchronous),
    flag("WnR", 6, "read", "write", _is_asynchronous),
    Spec("DFSC", 5, 0, {0: "uncategorized", 0b010001: "asynchronous SError"}, _is_described),
)

_GRANULE_PROTECTION = {
    code: str(status)
    for code, status in STATUS_CODES.items()
    if status.kind in (StatusKind.GRANULE_PROTECTION, StatusKind.GRANULE_PROTECTION_ON_WALK)
}

GRANULE_PROTECTION_CHECK = (
    flag("S2PTW", 21, "not on a walk of stage 2", "on a walk of stage 2"),
    flag("InD", 20, "data access", "instruction fetch"),
    Spec(
        "GPCSC",
        19,
        14,
        {
            0b000000: "GPT address size fault, level 0",
            0b000100: "GPT walk fault, level 0",
            0b000101: "GPT walk fault, level 1",
            0b001100: "granule protection fault, level 0",
            0b001101: "granule protection fault, level 1",
            0b010100: "synchronous external abort on a GPT fetch, level 0",
            0b010101: "synchronous external abort on a GPT fetch, level 1",
        },
    ),
    flag("VNCR", 13, "not by use of VNCR_EL2", "by use of VNCR_EL2 at EL1"),
    flag("CM", 8, "not cache maintenance", "cache maintenance or address translation instruction"),
    flag("S1PTW", 7, "not on a walk of stage 1", "on a stage 2 translation for a walk of stage 1"),
    flag("WnR", 6, "read", "write"),
    Spec("xFSC", 5, 0, _GRANULE_PROTECTION),
)

PROFILING = (
    Spec("FSC", 5, 1, {0: "PMU", 1: "profiling buffer management", 2: "trace buffer management"}),
    flag("SYNC", 0, "asynchronous", "synchronous"),
)
