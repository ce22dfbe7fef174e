"""The layout of VMSAv8-64 tables: levels, blocks and address bits by granule and size of the input address.

Arm ARM D8.2 ("Translation process") and D8.3 ("Translation table descriptor formats").
"""

from __future__ import annotations

from functools import lru_cache

from unikiln.mmu.aarch64 import descriptor as bits
from unikiln.mmu.layout import Inherited, Layout, Step

LAST_LEVEL = 3
_TABLE = bits.VALID | bits.TABLE_OR_PAGE
_BLOCK_LEVELS = {12: (1, 2), 14: (2,), 16: (2,)}
_WIDE_BLOCK_LEVELS = {12: (0, 1, 2), 14: (1, 2), 16: (1, 2)}
"""With 52-bit output addresses: FEAT_LPA2 in effect, or FEAT_LPA for 64 KiB."""
_RUNS = {12: ((1, 16), (2, 16), (3, 16)), 14: ((2, 32), (3, 128)), 16: ((2, 32), (3, 32))}
"""Entries of a contiguous run, by level (D8.7.1)."""

_HIERARCHICAL = (
    Inherited(bits.AP_TABLE_READ_ONLY, bits.AP_TABLE_READ_ONLY, bits.AP_READ_ONLY, 0),
    Inherited(bits.AP_TABLE_NO_EL0, bits.AP_TABLE_NO_EL0, 0, bits.AP_EL0),
    Inherited(bits.UXN_TABLE, bits.UXN_TABLE, bits.UXN, 0),
    Inherited(bits.PXN_TABLE, bits.PXN_TABLE, bits.PXN, 0),
)
_ATTRIBUTES = (
    7 << bits.ATTR_INDX_SHIFT
    | bits.NS
    | bits.AP_EL0
    | bits.AP_READ_ONLY
    | 3 << bits.SH_SHIFT
    | bits.NG
    | bits.GUARDED
    | bits.DBM
    | bits.PXN
    | bits.UXN
)
_IN_PLACE = (
    bits.AP_EL0 | bits.AP_READ_ONLY | bits.AF | bits.GUARDED | bits.DBM | bits.PXN | bits.UXN | bits.SOFTWARE
)
"""D8.16.1 lists what needs break-before-make: address, size, memory type, shareability, nG to global."""


@lru_cache(maxsize=256)
def layout(
    granule: int, va_bits: int, *, upper: bool = False, ds: bool = False, lpa: bool = False, hpd: bool = False
) -> Layout:
    """The layout for a granule of ``1 << granule`` bytes and input addresses of ``va_bits`` bits.

    ``ds``: TCR_EL1.DS has effect; ``lpa``: the processor has 52-bit physical addresses (64 KiB granule only);
    ``hpd``: the hierarchical permissions are disabled. One record for the same arguments.
    """
    wide = ds or (lpa and granule == 16)
    return Layout(
        arch="aarch64",
        first_va=(1 << 64) - (1 << va_bits) if upper else 0,
        va_bits=va_bits,
        page_shift=granule,
        steps=_steps(granule, va_bits, _WIDE_BLOCK_LEVELS if wide else _BLOCK_LEVELS),
        address_mask=(1 << (50 if ds else 48)) - (1 << granule),
        high_address=((3 << 8, 42),) if ds else ((15 << 12, 36),) if wide else (),
        table_bits=_TABLE,
        accessed=bits.AF,
        dirty=bits.SOFTWARE_DIRTY,
        hardware_dirty=(bits.DBM | bits.AP_READ_ONLY, bits.DBM),
        read_only=(bits.AP_READ_ONLY, bits.AP_READ_ONLY),
        will_write=bits.DBM,
        contiguous=bits.CONTIGUOUS,
        runs=_RUNS[granule],
        attributes=_ATTRIBUTES & ~(3 << bits.SH_SHIFT) if ds else _ATTRIBUTES,
        in_place=_IN_PLACE,
        inherited=() if hpd else _HIERARCHICAL,
    )


def _steps(granule: int, va_bits: int, block_levels: dict[int, tuple[int, ...]]) -> tuple[Step, ...]:
    stride = granule - 3
    levels = -(-(va_bits - granule) // stride)
    steps = []
    for level in range(LAST_LEVEL + 1 - levels, LAST_LEVEL + 1):
        shift = granule + (LAST_LEVEL - level) * stride
        mask = (1 << min(stride, va_bits - shift)) - 1
        table = (_TABLE, _TABLE) if level < LAST_LEVEL else (0, 1)
        if level == LAST_LEVEL:
            leaf = (3, bits.LEAF)
        else:
            leaf = (3, bits.VALID) if level in block_levels[granule] else (0, 1)
        steps.append(Step(level, shift, mask, *table, *leaf))
    return tuple(steps)


PAGE_SIZE = 1 << 12
PAGE_MASK = PAGE_SIZE - 1
VA_BITS = 48

USER_48 = layout(12, VA_BITS)
"""What Linux and OSv give a program: 4 KiB granule, 48 bits, TTBR0."""
KERNEL_48 = layout(12, VA_BITS, upper=True)
