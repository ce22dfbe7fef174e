"""Access rights and memory types of a leaf (Intel SDM vol. 3, 4.6 and 4.9).

A leaf here is the *effective* one: what the tables above it restrict is already in its bits.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from unikiln.mmu.request import Access, Request
from unikiln.mmu.translation import Attributes
from unikiln.mmu.x86 import entry as bits
from unikiln.mmu.x86.registers import KEY_ACCESS_DISABLE, KEY_WRITE_DISABLE, memory_type


class Control(NamedTuple):
    """What rights depend on beside the entries; the keys and the PCID are None where they are not in use."""

    write_protect: bool
    smep: bool
    smap: bool
    nxe: bool
    global_pages: bool
    user_keys: int | None
    supervisor_keys: int | None
    pcid: int | None
    pat: int


class Denial(Enum):
    """Why a translation does not allow an access; the value completes "the page ..."."""

    SUPERVISOR_PAGE = "is for supervisor mode"
    EXECUTE_DISABLE = "is execute-disabled"
    SMEP = "is for user mode, from which SMEP keeps supervisor-mode fetches"
    SMAP = "is for user mode, from which SMAP keeps supervisor-mode data accesses"
    READ_ONLY = "is read-only"
    PROTECTION_KEY = "has a protection key that denies it"


def restricted(leaf: int, tables: Iterable[int]) -> int:
    """The effective leaf: an access needs R/W and U/S in every entry on the way, and XD in none (4.6.1)."""
    for table in tables:
        leaf = leaf & (table | ~(bits.RW | bits.US)) | table & bits.XD
    return leaf


def denial(entry: int, control: Control, request: Request) -> Denial | None:
    """Why the leaf does not allow ``request``, None if it does (4.6.1)."""
    for_user = bool(entry & bits.US)
    if not request.privileged and not for_user:
        return Denial.SUPERVISOR_PAGE
    if request.access is Access.EXECUTE:
        if entry & bits.XD:
            return Denial.EXECUTE_DISABLE
        return Denial.SMEP if control.smep and request.privileged and for_user else None
    if control.smap and request.privileged and for_user and not request.ac:
        return Denial.SMAP
    if _restricted_write(control, request) and not entry & bits.RW:
        return Denial.READ_ONLY
    return Denial.PROTECTION_KEY if key_denies(entry, control, request) else None


def key_denies(entry: int, control: Control, request: Request) -> bool:
    """Whether the protection key of the leaf denies a data access, whatever else does (4.6.2)."""
    for_user = bool(entry & bits.US)
    keys = control.user_keys if for_user else control.supervisor_keys
    if keys is None or request.access is Access.EXECUTE or not (for_user or request.privileged):
        return False
    rights = keys >> 2 * (entry >> bits.KEY_SHIFT & 15)
    if rights & KEY_ACCESS_DISABLE:
        return True
    return bool(rights & KEY_WRITE_DISABLE) and _restricted_write(control, request)


def _restricted_write(control: Control, request: Request) -> bool:
    """A write that read-only entries and keys stop: supervisor mode passes them if CR0.WP is 0."""
    return request.access is Access.WRITE and (not request.privileged or control.write_protect)


def attributes(entry: int, level: int, control: Control) -> Attributes:
    """The leaf of ``level`` for people; supervisor mode is told as it is while EFLAGS.AC is 0."""
    flags = [] if control.pcid is None else [f"PCID {control.pcid}"]
    if (control.user_keys if entry & bits.US else control.supervisor_keys) is not None:
        flags.append(f"key {entry >> bits.KEY_SHIFT & 15}")
    rights = entry & (bits.RW | bits.US | bits.KEY | bits.XD)
    return Attributes(
        user=_text(rights, control, False),
        privileged=_text(rights, control, True),
        memory_type=memory_type(control.pat, pat_index(entry, level)),
        is_global=bool(control.global_pages and entry & bits.G),
        flags=tuple(flags),
    )


def pat_index(entry: int, level: int) -> int:
    """The entry of IA32_PAT that a leaf of ``level`` selects by PAT, PCD and PWT (4.9.2)."""
    pat = entry & (bits.PAT if level == 1 else bits.PAT_LARGE)
    return bool(pat) << 2 | bool(entry & bits.PCD) << 1 | bool(entry & bits.PWT)


@lru_cache(maxsize=1024)
def _text(rights: int, control: Control, privileged: bool) -> str:
    requests = (Request(access, privileged=privileged) for access in Access)
    letters = zip("rwx", requests, strict=True)
    return "".join("-" if denial(rights, control, request) else letter for letter, request in letters)
