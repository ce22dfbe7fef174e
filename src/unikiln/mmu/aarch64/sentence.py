"""Sentences for people: what an exception was, from the fields of its syndrome."""

from __future__ import annotations

from collections.abc import Mapping

from unikiln.mmu.aarch64.iss_abort import is_data_abort
from unikiln.mmu.aarch64.status import STATUS_CODES, StatusKind
from unikiln.mmu.aarch64.system_register import system_register_name
from unikiln.mmu.field import Field

Fields = Mapping[str, Field]

_EVENTS = {
    StatusKind.ADDRESS_SIZE: "met an address that is larger than physical addresses are",
    StatusKind.TRANSLATION: "found no valid entry",
    StatusKind.ACCESS_FLAG: "hit an entry whose Access Flag is 0",
    StatusKind.PERMISSION: "hit an entry that does not permit it",
    StatusKind.EXTERNAL: "got an external abort from the memory system",
    StatusKind.EXTERNAL_ON_WALK: "got an external abort on the table walk",
    StatusKind.TAG_CHECK: "used a pointer whose tag is not that of the memory",
    StatusKind.PARITY: "met a parity or ECC error",
    StatusKind.PARITY_ON_WALK: "met a parity or ECC error on the table walk",
    StatusKind.ALIGNMENT: "was not aligned",
    StatusKind.GRANULE_PROTECTION: "failed the granule protection check",
    StatusKind.GRANULE_PROTECTION_ON_WALK: "failed the granule protection check on the table walk",
    StatusKind.TLB_CONFLICT: "hit more than one TLB entry",
    StatusKind.ATOMIC_UPDATE: "needed a hardware update of an entry in memory that does not support it",
    StatusKind.LOCKDOWN: "hit an implementation defined fault (lockdown)",
    StatusKind.EXCLUSIVE: "was an exclusive or atomic access that the memory does not support",
}

_REMARKS = {
    "S1PTW": "stage 2 faulted on the walk of stage 1",
    "TopLevel": "due to TopLevel",
    "FnV": "FAR_EL1 is not valid",
    "FnP": "FAR_EL1 is not precise",
    "VNCR": "by use of VNCR_EL2 at EL1",
    "GCS": "a guarded control stack access",
    "TagAccess": "the memory is NoTagAccess",
    "TnD": "a write of an allocation tag",
    "AssuredOnly": "due to AssuredOnly",
    "Overlay": "due to the overlay permissions",
    "DirtyBit": "due to the dirty state",
    "HDBSSF": "due to the dirty state tracking structure",
}
_STORE_LOAD_64 = {1: "ST64BV", 2: "LD64B or ST64B", 3: "ST64BV0"}


def _is_set(fields: Fields, name: str) -> bool:
    return name in fields and fields[name].value != 0


def abort(fields: Fields) -> str:
    """A data or instruction abort."""
    code = fields["DFSC" if "DFSC" in fields else "IFSC"].value
    status = STATUS_CODES.get(code)
    what = f"{_access(fields)} at {_exception_level(fields)}"
    if status is None:
        return f"{what} aborted with the reserved status {code:#04x}"
    level = "" if status.level is None else f", level {status.level}"
    if code == 0:
        level += " or the table base register"
    remarks = ["not a write"] if _is_set(fields, "CM") else []
    remarks += [text for name, text in _REMARKS.items() if _is_set(fields, name)]
    return "; ".join([f"{what} {_EVENTS[status.kind]}{level}", *remarks])


def _access(fields: Fields) -> str:
    if not is_data_abort(fields["EC"].value):
        return "an instruction fetch"
    if _is_set(fields, "CM"):
        return "cache maintenance"
    if _is_set(fields, "LST"):
        return f"an {_STORE_LOAD_64[fields['LST'].value]}"
    name = "store" if _is_set(fields, "WnR") else "load"
    if not _is_set(fields, "ISV"):
        return f"a {name}"
    register = fields["SRT"].meaning.replace("X", "X" if fields["SF"].value else "W", 1)
    return f"a {fields['SAS'].meaning} {name} ({register})"


def _exception_level(fields: Fields) -> str:
    return "EL1" if fields["EC"].value & 1 else "EL0"


def watchpoint(fields: Fields) -> str:
    """A watchpoint."""
    access = "cache maintenance" if fields["CM"].value else "a write" if fields["WnR"].value else "a read"
    number = f" {fields['WPT'].value}" if fields["WPTV"].value else ""
    return f"{access} at {_exception_level(fields)} hit watchpoint{number}"


def system(fields: Fields) -> str:
    """A trapped MSR, MRS or system instruction."""
    op0, op1, crn, crm, op2 = (fields[name].value for name in ("Op0", "Op1", "CRn", "CRm", "Op2"))
    name, register = system_register_name(op0, op1, crn, crm, op2), fields["Rt"].meaning
    if op0 == 0:
        return f"MSR {name} was trapped"
    if op0 == 1:
        return f"{_instruction(name, register, fields)} was trapped"
    text = f"MRS {register}, {name}" if fields["Direction"].value else f"MSR {name}, {register}"
    return f"{text} was trapped"


def _instruction(name: str, register: str, fields: Fields) -> str:
    if fields["Direction"].value:
        return f"{name.replace('SYS', 'SYSL')} to {register}"
    return name if register == "XZR" else f"{name}, {register}"


def system_128(fields: Fields) -> str:
    """A trapped MSRR or MRRS."""
    first = 2 * fields["Rt"].value
    op0, op1, crn, crm, op2 = (fields[name].value for name in ("Op0", "Op1", "CRn", "CRm", "Op2"))
    name, registers = system_register_name(op0, op1, crn, crm, op2), f"X{first}, X{first + 1}"
    text = f"MRRS {registers}, {name}" if fields["Direction"].value else f"MSRR {name}, {registers}"
    return f"{text} was trapped"


def breakpoint_instruction(fields: Fields) -> str:
    """A BRK, and whose it is if that is known."""
    comment = fields["Comment"]
    whose = f" ({comment.meaning})" if comment.meaning != "as in the instruction" else ""
    return f"breakpoint instruction: BRK #{comment.value:#x}{whose}"


def floating_point(fields: Fields) -> str:
    """A trapped floating-point exception."""
    if not fields["TFV"].value:
        return "trapped floating-point exception; which one is not told"
    names = ("IOF", "DZF", "OFF", "UFF", "IXF", "IDF")
    kinds = [fields[name].meaning for name in names if fields[name].value]
    return f"trapped floating-point exception: {', '.join(kinds) or 'none named'}"


def serror(fields: Fields) -> str:
    """An SError."""
    if fields["IDS"].value:
        return f"SError, implementation defined syndrome {fields['ISS'].value:#x}"
    if "AET" in fields:
        return f"asynchronous SError, {fields['AET'].meaning}"
    return f"SError, {fields['DFSC'].meaning}"
