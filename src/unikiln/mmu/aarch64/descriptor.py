"""Translation table descriptors, bit by bit (Arm ARM D5.3, "VMSAv8-64 translation table format descriptors").

Constants; :class:`~unikiln.mmu.aarch64.entry.Descriptor` names the fields of one value.
"""

from __future__ import annotations

VALID = 1 << 0
TABLE_OR_PAGE = 1 << 1
"""With VALID: a table at levels 0 to 2, a page at level 3. Clear: a block, or reserved at level 3."""
ATTR_INDX_SHIFT = 2
NS = 1 << 5
AP_EL0 = 1 << 6
"""AP[1]: EL0 may access."""
AP_READ_ONLY = 1 << 7
"""AP[2]: nobody may write; with DBM the dirty state of hardware."""
SH_SHIFT = 8
"""SH[1:0], bits 9:8; with FEAT_LPA2 in effect address bits 51:50, and TCR_EL1 tells the shareability."""
AF = 1 << 10
NG = 1 << 11
GUARDED = 1 << 50
"""GP: branches must land on BTI instructions (FEAT_BTI)."""
DBM = 1 << 51
CONTIGUOUS = 1 << 52
PXN = 1 << 53
UXN = 1 << 54
SOFTWARE_DIRTY = 1 << 55
"""First of the bits left to software (58:55); OSv keeps the dirty state here."""
SOFTWARE_COPY_ON_WRITE = 1 << 56
SOFTWARE = 15 << 55
OUTPUT_ADDRESS = 0x0000_FFFF_FFFF_F000

PXN_TABLE = 1 << 59
UXN_TABLE = 1 << 60
AP_TABLE_NO_EL0 = 1 << 61
"""APTable[0]: EL0 may not access anything below."""
AP_TABLE_READ_ONLY = 1 << 62
"""APTable[1]: nobody may write anything below."""
NS_TABLE = 1 << 63

INNER_SHAREABLE = 3
ATTR_DEVICE, ATTR_NORMAL = 0, 4
"""Indices into MAIR_EL1, as OSv programs it."""

LEAF = VALID | TABLE_OR_PAGE
"""The low bits of a page; a block has VALID alone."""


def user_page(frame: int, *, writable: bool, executable: bool, dirty: bool, readable: bool = True) -> int:
    """A level-3 entry for EL0 that is valid and accessed: what a page-fault handler writes."""
    value = frame | _USER_BASE
    if readable:
        value |= AP_EL0
    if not writable:
        value |= AP_READ_ONLY
    if not executable:
        value |= UXN
    return value | SOFTWARE_DIRTY if dirty else value


_USER_BASE = LEAF | AF | NG | PXN | INNER_SHAREABLE << SH_SHIFT | ATTR_NORMAL << ATTR_INDX_SHIFT
