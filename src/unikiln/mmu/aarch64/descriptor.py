"""Translation table descriptors, bit by bit (Arm ARM D5.3, "VMSAv8-64 translation table format descriptors").

The constants are what code on hot paths uses; :class:`Descriptor` names the fields of one value.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from unikiln.mmu.aarch64.granule import GRANULE_4K, LAST_LEVEL, Granule

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
AF = 1 << 10
NG = 1 << 11
DBM = 1 << 51
CONTIGUOUS = 1 << 52
PXN = 1 << 53
UXN = 1 << 54
SOFTWARE_DIRTY = 1 << 55
"""First of the bits left to software (58:55); OSv keeps the dirty state here."""
SOFTWARE_COPY_ON_WRITE = 1 << 56
OUTPUT_ADDRESS = 0x0000_FFFF_FFFF_F000

INNER_SHAREABLE = 3
ATTR_DEVICE, ATTR_NORMAL = 0, 4
"""Indices into MAIR_EL1, as OSv programs it."""

LEAF = VALID | TABLE_OR_PAGE
"""The low bits of a page; a block has VALID alone."""


class DescriptorKind(Enum):
    """What an entry is; RESERVED encodings are treated as invalid by the walk."""

    INVALID = "invalid"
    TABLE = "table"
    BLOCK = "block"
    PAGE = "page"
    RESERVED = "reserved"


def kind_of(value: int, level: int, granule: Granule = GRANULE_4K) -> DescriptorKind:
    """The kind of entry ``value`` is at ``level``."""
    if not value & VALID:
        return DescriptorKind.INVALID
    if level == LAST_LEVEL:
        return DescriptorKind.PAGE if value & TABLE_OR_PAGE else DescriptorKind.RESERVED
    if value & TABLE_OR_PAGE:
        return DescriptorKind.TABLE
    return DescriptorKind.BLOCK if level in granule.block_levels else DescriptorKind.RESERVED


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One entry and the level it stands at."""

    value: int
    level: int
    granule: Granule = GRANULE_4K

    @property
    def kind(self) -> DescriptorKind:
        """Invalid, table, block, page or reserved."""
        return kind_of(self.value, self.level, self.granule)

    @property
    def output_address(self) -> int:
        """Physical address of the next table, or of the first byte mapped."""
        address = self.value & OUTPUT_ADDRESS
        return address & -self.granule.size(self.level) if self.kind is DescriptorKind.BLOCK else address

    @property
    def attr_index(self) -> int:
        """AttrIndx[2:0]: which field of MAIR_EL1 gives the memory type."""
        return self.value >> ATTR_INDX_SHIFT & 7

    @property
    def shareability(self) -> int:
        """SH[1:0]: 0 none, 2 outer, 3 inner."""
        return self.value >> SH_SHIFT & 3

    @property
    def accessed(self) -> bool:
        """AF."""
        return bool(self.value & AF)

    @property
    def dirty(self) -> bool:
        """The software dirty bit."""
        return bool(self.value & SOFTWARE_DIRTY)

    @property
    def permissions(self) -> str:
        """What EL0 may do, ``rwx`` with dashes."""
        if not self.value & AP_EL0:
            return "---" if self.value & UXN else "--x"
        return f"r{'-' if self.value & AP_READ_ONLY else 'w'}{'-' if self.value & UXN else 'x'}"

    def __str__(self) -> str:
        named = [name for bit, name in _FLAG_NAMES if self.value & bit]
        return (
            f"{self.value:#018x} level {self.level} {self.kind.value} -> {self.output_address:#x} "
            f"{self.permissions} AttrIndx={self.attr_index} SH={self.shareability} {' '.join(named)}".rstrip()
        )


_FLAG_NAMES = (
    (AF, "AF"),
    (NG, "nG"),
    (DBM, "DBM"),
    (CONTIGUOUS, "contiguous"),
    (PXN, "PXN"),
    (SOFTWARE_DIRTY, "dirty"),
    (SOFTWARE_COPY_ON_WRITE, "copy-on-write"),
)


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
