"""One descriptor, its fields by name."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from unikiln.mmu.aarch64.descriptor import (
    AF,
    ATTR_INDX_SHIFT,
    CONTIGUOUS,
    DBM,
    NG,
    PXN,
    SH_SHIFT,
    SOFTWARE_COPY_ON_WRITE,
    SOFTWARE_DIRTY,
    VALID,
)
from unikiln.mmu.aarch64.layout import LAST_LEVEL, USER_48
from unikiln.mmu.aarch64.permission import el0_rights, rights_text
from unikiln.mmu.layout import Layout


class DescriptorKind(Enum):
    """What an entry is; RESERVED encodings are treated as invalid by the walk."""

    INVALID = "invalid"
    TABLE = "table"
    BLOCK = "block"
    PAGE = "page"
    RESERVED = "reserved"


def kind_of(value: int, level: int, layout: Layout = USER_48) -> DescriptorKind:
    """The kind of entry ``value`` is at ``level``."""
    step = layout.step(level)
    if not value & VALID:
        return DescriptorKind.INVALID
    if value & step.table_mask == step.table_value:
        return DescriptorKind.TABLE
    if value & step.leaf_mask != step.leaf_value:
        return DescriptorKind.RESERVED
    return DescriptorKind.PAGE if level == LAST_LEVEL else DescriptorKind.BLOCK


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One entry and the level it stands at."""

    value: int
    level: int
    layout: Layout = USER_48

    @property
    def kind(self) -> DescriptorKind:
        """Invalid, table, block, page or reserved."""
        return kind_of(self.value, self.level, self.layout)

    @property
    def output_address(self) -> int:
        """Physical address of the next table, or of the first byte mapped."""
        address = self.layout.output_address(self.value)
        return address & -self.layout.size(self.level) if self.kind is DescriptorKind.BLOCK else address

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
        """Dirty by software's bit or by hardware's."""
        return self.layout.is_dirty(self.value)

    @property
    def permissions(self) -> str:
        """What EL0 may do, ``rwx`` with dashes."""
        return rights_text(el0_rights(self.value, 0))

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
