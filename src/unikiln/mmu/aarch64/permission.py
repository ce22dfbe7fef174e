"""Stage 1 permissions and memory attributes of a leaf (Arm ARM D8.4, "Memory access control").

A leaf here is the *effective* one: what tables above it restrict is already in its bits.
"""

from __future__ import annotations

from unikiln.mmu.aarch64 import descriptor as bits
from unikiln.mmu.aarch64.registers import SCTLR_EPAN, SCTLR_WXN, is_device, memory_type
from unikiln.mmu.request import Access, Request
from unikiln.mmu.translation import Attributes

_SHAREABILITY = ("non-shareable", "reserved", "outer shareable", "inner shareable")
_FLAGS = ((bits.NS, "NS"), (bits.GUARDED, "GP"), (bits.DBM, "DBM"), (bits.CONTIGUOUS, "contiguous"))

Rights = tuple[bool, bool, bool]
"""Read, write, execute."""


def el0_rights(entry: int, sctlr: int) -> Rights:
    """What EL0 may do."""
    read = bool(entry & bits.AP_EL0)
    write = read and not entry & bits.AP_READ_ONLY
    return read, write, not entry & bits.UXN and not (write and sctlr & SCTLR_WXN)


def el1_rights(entry: int, sctlr: int) -> Rights:
    """What EL1 may do, PSTATE.PAN clear: what EL0 may write, EL1 may not execute."""
    write = not entry & bits.AP_READ_ONLY
    execute = not entry & bits.PXN and not (write and entry & bits.AP_EL0)
    return True, write, execute and not (write and sctlr & SCTLR_WXN)


def permits(entry: int, sctlr: int, request: Request, *, epan: bool = False) -> bool:
    """Whether the leaf grants ``request``; ``epan``: the processor has SCTLR_EL1.EPAN (FEAT_PAN3)."""
    if not request.as_privileged:
        return el0_rights(entry, sctlr)[request.access]
    if request.cache_maintenance and request.access is Access.READ:
        return True
    data = request.access is not Access.EXECUTE and not request.cache_maintenance
    if data and request.pan and _pan_applies(entry, sctlr, epan):
        return False
    return el1_rights(entry, sctlr)[request.access]


def _pan_applies(entry: int, sctlr: int, epan: bool) -> bool:
    """PAN keeps EL1 from data that EL0 can read; with EPAN also from what EL0 can only execute."""
    return bool(entry & bits.AP_EL0) or (epan and bool(sctlr & SCTLR_EPAN) and not entry & bits.UXN)


def mair_field(entry: int, mair: int) -> int:
    """The field of MAIR_EL1 that the leaf's AttrIndx names."""
    return mair >> 8 * (entry >> bits.ATTR_INDX_SHIFT & 7) & 0xFF


def attributes(entry: int, mair: int, sctlr: int, shareability: int) -> Attributes:
    """The leaf for people; ``shareability`` is its SH, or that of TCR_EL1."""
    attr = mair_field(entry, mair)
    return Attributes(
        user=rights_text(el0_rights(entry, sctlr)),
        privileged=rights_text(el1_rights(entry, sctlr)),
        memory_type=memory_type(attr),
        shareability="outer shareable" if is_device(attr) else _SHAREABILITY[shareability],
        is_global=not entry & bits.NG,
        flags=tuple(name for bit, name in _FLAGS if entry & bit),
    )


def rights_text(rights: Rights) -> str:
    """``rwx`` with dashes."""
    return "".join(letter if has else "-" for letter, has in zip("rwx", rights, strict=True))
