"""Paging-structure entries: their bits, and which of them are reserved (Intel SDM vol. 3, 4.5).

Levels are counted as the manual's figures stand: 5 PML5E, 4 PML4E, 3 PDPTE, 2 PDE, 1 PTE.
"""

from __future__ import annotations

P = 1 << 0
RW = 1 << 1
US = 1 << 2
PWT = 1 << 3
PCD = 1 << 4
A = 1 << 5
D = 1 << 6
PS = 1 << 7
PAT = 1 << 7
"""The same bit as PS: a PTE has no page size to tell."""
G = 1 << 8
PAT_LARGE = 1 << 12
XD = 1 << 63

KEY_SHIFT = 59
KEY = 0xF << KEY_SHIFT

LEVEL_NAMES = {5: "PML5E", 4: "PML4E", 3: "PDPTE", 2: "PDE", 1: "PTE"}
PAGE_SHIFT = 12
_INDEX_BITS = 9
_ADDRESS_END = 52


def shift_of(level: int) -> int:
    """The lowest address bit that selects an entry of ``level``: it maps or controls ``1 << shift`` bytes."""
    return PAGE_SHIFT + _INDEX_BITS * (level - 1)


def address_bits(pa_bits: int) -> int:
    """The bits of any entry that hold an address."""
    return (1 << pa_bits) - (1 << PAGE_SHIFT)


def reserved_bits(level: int, leaf: bool, *, pa_bits: int, pages_1g: bool = True, nxe: bool = True) -> int:
    """The bits that must be 0 in an entry of ``level`` that is present; ``leaf``: it maps a page.

    ``nxe`` is EFER.NXE. PS counts as reserved where no page can be: in a PML5E and a PML4E, and in a PDPTE
    without 1-GByte pages.
    """
    reserved = (1 << _ADDRESS_END) - (1 << pa_bits)
    if not nxe:
        reserved |= XD
    if level > 3 or (level == 3 and not pages_1g):
        return reserved | PS
    if leaf and level > 1:
        reserved |= (1 << shift_of(level)) - (PAT_LARGE << 1)
    return reserved
