"""ISS of trapped and calling instructions (Arm ARM D24.2.45 and 46, "ISS encoding for ...", issue M.a)."""

from __future__ import annotations

from unikiln.mmu.aarch64.iss_abort import flag, register_name
from unikiln.mmu.field import Spec

_CONDITIONS = "EQNECSCCMIPLVSVCHILSGELTGTLEALNV"


def _condition(code: int) -> str:
    return f"condition {_CONDITIONS[2 * code : 2 * code + 2]}"


def _bits(name: str, high: int, low: int) -> Spec:
    return Spec(name, high, low, "as in the instruction")


_CONDITIONAL = (flag("CV", 24, "COND is not valid", "COND is valid"), Spec("COND", 23, 20, _condition))
_RT = Spec("Rt", 9, 5, register_name)


def _direction(write: str, read: str) -> Spec:
    return flag("Direction", 0, write, read)


WAIT = (
    *_CONDITIONAL,
    Spec("RN", 9, 5, register_name),
    flag("RV", 2, "RN is not valid", "RN is valid"),
    Spec("TI", 1, 0, {0: "WFI", 1: "WFE", 2: "WFIT", 3: "WFET"}),
)

MCR = (
    *_CONDITIONAL,
    _bits("Opc2", 19, 17),
    _bits("Opc1", 16, 14),
    _bits("CRn", 13, 10),
    _RT,
    _bits("CRm", 4, 1),
    _direction("MCR, a write", "MRC or VMRS, a read"),
)

MCRR = (
    *_CONDITIONAL,
    _bits("Opc1", 19, 16),
    Spec("Rt2", 14, 10, register_name),
    _RT,
    _bits("CRm", 4, 1),
    _direction("MCRR, a write", "MRRC, a read"),
)

LDC = (
    *_CONDITIONAL,
    _bits("imm8", 19, 12),
    Spec("Rn", 9, 5, register_name),
    flag("Offset", 4, "subtracted", "added"),
    Spec(
        "AM",
        3,
        1,
        {
            0: "immediate, unindexed",
            1: "immediate, post-indexed",
            2: "immediate, offset",
            3: "immediate, pre-indexed",
            4: "literal, unindexed (A32 LDC)",
            6: "literal, offset (LDC)",
        },
    ),
    _direction("STC, a write to memory", "LDC, a read from memory"),
)

FLOATING_POINT = _CONDITIONAL

LOAD_STORE_64 = (Spec("ISS", 24, 0, {0: "ST64BV", 1: "ST64BV0", 2: "LD64B or ST64B"}),)

CALL = (_bits("imm16", 15, 0),)

SMC_AARCH32 = (
    *_CONDITIONAL,
    flag("CCKNOWNPASS", 19, "unconditional, or passed its condition", "may have failed its condition"),
)

SYSTEM = (
    _bits("Op0", 21, 20),
    _bits("Op2", 19, 17),
    _bits("Op1", 16, 14),
    _bits("CRn", 13, 10),
    _RT,
    _bits("CRm", 4, 1),
    _direction("MSR or a system instruction", "MRS, or a system instruction with a result"),
)

SYSTEM_128 = (
    *SYSTEM[:4],
    Spec("Rt", 9, 6, lambda number: f"{register_name(2 * number)} and the next"),
    _bits("CRm", 4, 1),
    _direction("MSRR, a write", "MRRS, a read"),
)

ERET = (
    flag("ERET", 1, "ERET", "ERETAA or ERETAB"),
    flag("ERETA", 0, "ERETAA, if ERET is 1", "ERETAB"),
)

TRANSACTION_START = (Spec("Rd", 9, 5, register_name),)

SME = (
    Spec(
        "SMTC",
        2,
        0,
        {
            0: "disabled by CPACR_EL1.SMEN or its like",
            1: "Advanced SIMD or SVE instruction while PSTATE.SM is 1",
            2: "SME instruction while PSTATE.SM is 0",
            3: "SME instruction while PSTATE.ZA is 0",
            4: "ZT0 disabled by SMCR_EL1.EZT0 or its like",
        },
    ),
)
