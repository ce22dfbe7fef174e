"""ISS and ISS2 of data and instruction aborts: their fields, what may stand together, and a sentence.

Arm ARM D24.2.45, ESR_EL1, "ISS encoding for an exception from a Data Abort" and "... an Instruction Abort",
issue M.a; TopLevel and VNCR are those of ESR_EL2 (D24.2.46).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from unikiln.errors import MmuError
from unikiln.mmu.aarch64.status import DATA_MEANINGS, FETCH_MEANINGS, STATUS_CODES, StatusKind, kind_of
from unikiln.mmu.field import Spec

EC_INSTRUCTION_ABORT_LOWER = 0x20
EC_INSTRUCTION_ABORT_SAME = 0x21
EC_DATA_ABORT_LOWER = 0x24
EC_DATA_ABORT_SAME = 0x25

ISV = 1 << 24
FNV = 1 << 10
EA = 1 << 9
CM = 1 << 8
S1PTW = 1 << 7
WNR = 1 << 6
STATUS_MASK = 0x3F

_EXTERNAL = {StatusKind.EXTERNAL, StatusKind.EXTERNAL_ON_WALK}
_PARITY = {StatusKind.PARITY, StatusKind.PARITY_ON_WALK}
_OF_ENTRIES = {StatusKind.TRANSLATION, StatusKind.ACCESS_FLAG, StatusKind.PERMISSION}
_OF_WALKS = {status.kind for status in STATUS_CODES.values() if status.level is not None} | {
    StatusKind.TLB_CONFLICT,
    StatusKind.ATOMIC_UPDATE,
}


def _is(kinds: set[StatusKind]) -> Callable[[int], bool]:
    return lambda esr: kind_of(esr & STATUS_MASK) in kinds


def _has_isv(esr: int) -> bool:
    return bool(esr & ISV)


def _has_no_isv(esr: int) -> bool:
    return not esr & ISV


def _external_without_isv(esr: int) -> bool:
    return _has_no_isv(esr) and _is(_EXTERNAL)(esr)


def _is_st64bv(esr: int) -> bool:
    """LST is 1 or 3: the two instructions that have a status register."""
    return bool(esr & 1 << 11) and _is(_OF_ENTRIES)(esr)


def flag(name: str, bit: int, clear: str, set_: str, when: Callable[[int], bool] | None = None) -> Spec:
    """A field of one bit."""
    return Spec(name, bit, bit, {0: clear, 1: set_}, when)


def register_name(number: int) -> str:
    """A general-purpose register as a transfer names it."""
    return f"X{number}" if number < 31 else "XZR"


_SET = Spec(
    "SET",
    12,
    11,
    {0: "recoverable state (UER)", 2: "uncontainable (UC)", 3: "restartable state (UEO)"},
    _is(_EXTERNAL),
)
_FNV = flag("FnV", 10, "FAR_EL1 is valid", "FAR_EL1 is not valid")
_EA = Spec("EA", 9, 9, "kind of external abort, implementation defined")
_S1PTW = flag("S1PTW", 7, "not on a walk of stage 1", "stage 2 faulted on a walk of stage 1")
_PFV = ("PFAR_EL1 is unknown", "PFAR_EL1 has the physical address")
_TOP_LEVEL = ("not due to TopLevel", "due to TopLevel (ESR_EL2)")
_ASSURED_ONLY = flag("AssuredOnly", 39, "not due to AssuredOnly", "due to AssuredOnly")
_OVERLAY = flag("Overlay", 38, "not due to overlay permissions", "due to overlay permissions")
_HDBSSF = flag("HDBSSF", 43, "not due to the dirty state tracking structure", "due to that structure (HDBSS)")

WRITE_UPDATE = {
    0: "no store, or memory may have been updated",
    2: "a store that did not update memory",
    3: "a store that updated memory",
}
"""What WU tells of the store that an asynchronous or external abort is about."""

DATA_ABORT = (
    flag("ISV", 24, "bits 23:14 do not describe the instruction", "bits 23:14 describe the instruction"),
    Spec("SAS", 23, 22, {0: "byte", 1: "halfword", 2: "word", 3: "doubleword"}, _has_isv),
    flag("SSE", 21, "no sign extension", "sign extended", _has_isv),
    Spec("SRT", 20, 16, register_name, _has_isv),
    flag("SF", 15, "32-bit register", "64-bit register", _has_isv),
    flag("AR", 14, "no acquire or release", "acquire or release", _has_isv),
    flag("TopLevel", 21, *_TOP_LEVEL, _has_no_isv),
    Spec("WU", 17, 16, WRITE_UPDATE, _external_without_isv),
    flag("FnP", 15, "FAR_EL1 is precise", "FAR_EL1 is somewhere in the granule", _has_no_isv),
    flag("PFV", 14, *_PFV, _external_without_isv),
    flag("VNCR", 13, "not by use of VNCR_EL2", "by use of VNCR_EL2 at EL1 (ESR_EL2)"),
    Spec("LST", 12, 11, {0: "not told", 1: "ST64BV", 2: "LD64B or ST64B", 3: "ST64BV0"}, _is(_OF_ENTRIES)),
    _SET,
    _FNV,
    _EA,
    flag("CM", 8, "not cache maintenance", "cache maintenance or address translation instruction"),
    _S1PTW,
    flag("WnR", 6, "read", "write (also of cache maintenance, which writes nothing)"),
    Spec("DFSC", 5, 0, DATA_MEANINGS),
    _HDBSSF,
    flag("TnD", 42, "not an allocation tag", "a write of an allocation tag to canonically tagged memory"),
    flag("TagAccess", 41, "not due to NoTagAccess", "due to the NoTagAccess attribute"),
    flag("GCS", 40, "not a guarded control stack access", "a guarded control stack access"),
    _ASSURED_ONLY,
    _OVERLAY,
    flag("DirtyBit", 37, "not due to the dirty state", "due to the dirty state"),
    Spec("Xs", 36, 32, register_name, _is_st64bv),
)

INSTRUCTION_ABORT = (
    flag("TopLevel", 21, *_TOP_LEVEL),
    flag("PFV", 14, *_PFV, _is(_EXTERNAL)),
    _SET,
    _FNV,
    _EA,
    _S1PTW,
    Spec("IFSC", 5, 0, FETCH_MEANINGS),
    _HDBSSF,
    _ASSURED_ONLY,
    _OVERLAY,
)

Values = Mapping[str, int]
_Rule = tuple[str, tuple[str, ...], Callable[[Values, StatusKind], bool]]


def _of(kinds: set[StatusKind]) -> Callable[[Values, StatusKind], bool]:
    return lambda _, kind: kind in kinds


_RULES: tuple[_Rule, ...] = (
    ("belongs to a synchronous external abort that is not on a walk", ("FnV",), _of({StatusKind.EXTERNAL})),
    ("belongs to an external abort", ("EA",), _of(_EXTERNAL | _PARITY)),
    ("belongs to a fault of a translation", ("S1PTW", "TopLevel"), _of(_OF_WALKS)),
    (
        "belongs to a permission fault",
        ("TnD", "TagAccess", "AssuredOnly", "Overlay", "DirtyBit"),
        _of({StatusKind.PERMISSION}),
    ),
    (
        "belongs to a permission fault or to one on a walk",
        ("HDBSSF",),
        _of(
            {
                StatusKind.PERMISSION,
                StatusKind.EXTERNAL_ON_WALK,
                StatusKind.GRANULE_PROTECTION_ON_WALK,
            }
        ),
    ),
    ("of an external abort is 0", ("ISV",), lambda _, kind: kind not in _EXTERNAL | _PARITY),
    (
        "goes without S1PTW, CM and GCS",
        ("ISV",),
        lambda values, _: not any(values.get(name) for name in ("S1PTW", "CM", "GCS")),
    ),
    ("comes with WnR", ("CM", "DirtyBit", "TnD"), lambda values, _: bool(values.get("WnR"))),
    ("is of loads", ("SSE",), lambda values, _: not values.get("WnR")),
    ("is of loads narrower than a doubleword", ("SSE",), lambda values, _: values.get("SAS") != 3),
)


def check(ec: int, il: bool, values: Values) -> None:
    """Refuse what no abort can report.

    :raises MmuError: fields contradict each other
    """
    code = values.get("DFSC" if is_data_abort(ec) else "IFSC", 0)
    kind = STATUS_CODES[code].kind
    if not il and not values.get("ISV"):
        raise MmuError("an abort without ISV has IL = 1")
    for reason, names, holds in _RULES:
        for name in names:
            if values.get(name) and not holds(values, kind):
                raise MmuError(f"{name} {reason}; this is a {kind.value}")
    if values.get("SAS") == 3 and not values.get("SF"):
        raise MmuError("a doubleword is in no 32-bit register: SAS = 3 needs SF = 1")


def is_data_abort(ec: int) -> bool:
    """Whether the class is one of the two of data aborts."""
    return ec & 0x3E == EC_DATA_ABORT_LOWER


def is_abort(ec: int) -> bool:
    """Whether the class is a data or an instruction abort."""
    return ec & 0x3A == EC_INSTRUCTION_ABORT_LOWER
