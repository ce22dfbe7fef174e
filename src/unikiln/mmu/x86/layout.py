"""The layout of 4- and 5-level tables (Intel SDM vol. 3, 4.5).

Canonical addresses are two halves, and one root table serves both: the upper half begins in its middle.
"""

from __future__ import annotations

from functools import lru_cache

from unikiln.mmu.layout import Inherited, Layout, Step
from unikiln.mmu.x86 import entry as bits

_ALL = (1 << 64) - 1
_NONE = (0, 1)
"""A mask and a value that no entry matches."""
_INDEX_MASK = 0x1FF

_RESTRICTIONS = (
    Inherited(bits.RW, 0, 0, bits.RW),
    Inherited(bits.US, 0, 0, bits.US),
    Inherited(bits.XD, bits.XD, bits.XD, 0),
)
"""What :func:`unikiln.mmu.x86.permission.restricted` does to one leaf, as data."""

_ATTRIBUTES = bits.RW | bits.US | bits.PWT | bits.PCD | bits.PAT | bits.G | bits.XD


@lru_cache(maxsize=256)
def layout(
    pa_bits: int,
    *,
    upper: bool = False,
    la57: bool = False,
    pages_1g: bool = True,
    nxe: bool = True,
    keys: bool = False,
) -> Layout:
    """The layout of the lower or upper half of the addresses; ``keys``: protection keys are in use.

    What sets a reserved bit is neither a table nor a leaf to it. One record for the same arguments.
    """
    levels = 5 if la57 else 4
    va_bits = bits.shift_of(levels + 1) - 1
    return Layout(
        arch="x86_64",
        first_va=(1 << 64) - (1 << va_bits) if upper else 0,
        va_bits=va_bits,
        page_shift=bits.PAGE_SHIFT,
        steps=tuple(_step(level, pa_bits, pages_1g, nxe) for level in range(levels, 0, -1)),
        address_mask=bits.address_bits(pa_bits),
        high_address=(),
        table_bits=bits.P | bits.RW | bits.US,
        accessed=bits.A,
        dirty=bits.D,
        hardware_dirty=None,
        read_only=(bits.RW, 0),
        will_write=0,
        contiguous=0,
        runs=(),
        attributes=_ATTRIBUTES | bits.KEY if keys else _ATTRIBUTES,
        in_place=_ALL,  # there is no break-before-make: an invalidation afterwards will do (4.10.4.2)
        inherited=_RESTRICTIONS,
        moved=(bits.PAT_LARGE, bits.PAT),
    )


def _step(level: int, pa_bits: int, pages_1g: bool, nxe: bool) -> Step:
    table, leaf = _NONE, _NONE
    if level > 1:
        reserved = bits.reserved_bits(level, False, pa_bits=pa_bits, pages_1g=pages_1g, nxe=nxe)
        table = (bits.P | bits.PS | reserved, bits.P)
    if level < 3 or (level == 3 and pages_1g):
        reserved = bits.reserved_bits(level, True, pa_bits=pa_bits, pages_1g=pages_1g, nxe=nxe)
        leaf = (bits.P | bits.PS | reserved, bits.P | bits.PS) if level > 1 else (bits.P | reserved, bits.P)
    return Step(level, bits.shift_of(level), _INDEX_MASK, *table, *leaf)
