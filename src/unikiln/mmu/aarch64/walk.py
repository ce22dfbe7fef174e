"""The table walk (Arm ARM D5.2, AArch64.TranslationTableWalk) for one stage, EL0 permissions.

Not modelled yet: the hierarchical controls of table descriptors (as with TCR_EL1.HPD = 1) and hardware
management of the access flag and dirty state.
"""

from __future__ import annotations

from dataclasses import dataclass

from unikiln.mmu.aarch64.descriptor import (
    AF,
    AP_EL0,
    AP_READ_ONLY,
    OUTPUT_ADDRESS,
    TABLE_OR_PAGE,
    UXN,
    VALID,
    Descriptor,
    DescriptorKind,
    kind_of,
)
from unikiln.mmu.aarch64.fault import Access, Fault, FaultKind
from unikiln.mmu.aarch64.granule import GRANULE_4K, VA_BITS, Granule
from unikiln.mmu.memory import TableMemory


@dataclass(frozen=True, slots=True)
class Translation:
    """Where an address leads: ``pa``, by the entry at word ``index``, which maps ``size`` bytes."""

    pa: int
    index: int
    descriptor: Descriptor
    size: int


@dataclass(frozen=True, slots=True)
class Roots:
    """TTBR0_EL1 and TTBR1_EL1: physical addresses of the two level-0 tables."""

    ttbr0: int
    ttbr1: int

    def of(self, va: int) -> int | None:
        """The table that translates ``va``: by bit 63; none when bits 62:48 differ from it."""
        top = va >> VA_BITS
        if top == 0:
            return self.ttbr0
        return self.ttbr1 if top == 0xFFFF else None


Found = tuple[int, int, int]
"""Index of the word where a walk ended, its level, and its value; the value is 0 if it is no leaf."""

OUTSIDE = -1
"""The index of a :data:`Found` whose walk left the memory: a table address that is no RAM."""


def find_leaf(memory: TableMemory, root: int, va: int, granule: Granule = GRANULE_4K) -> Found:
    """Walk to the page or block entry for ``va``, or to the invalid entry that ends the walk.

    Plain integers in and out: this runs at every miss of the embedded machine's TLB.
    """
    word, mask, table = memory.word, granule.index_mask, root
    for level, shift in granule.steps:
        index = (table >> 3) + (va >> shift & mask)
        try:
            entry: int = word[index]
        except IndexError:
            return OUTSIDE, level, 0
        if entry & 3 != 3 or level == 3:
            break
        table = entry & OUTPUT_ADDRESS
    if entry & VALID and (entry & TABLE_OR_PAGE or level in granule.block_levels):
        return index, level, entry
    return index, level, 0


_NEEDED = {
    Access.READ: VALID | AF | AP_EL0,
    Access.WRITE: VALID | AF | AP_EL0,
    Access.EXECUTE: VALID | AF,
}
_FORBIDDEN = {Access.READ: 0, Access.WRITE: AP_READ_ONLY, Access.EXECUTE: UXN}

CHECKS = tuple((_NEEDED[access] | _FORBIDDEN[access], _NEEDED[access]) for access in Access)
"""By access: a leaf grants it to EL0 when ``entry & CHECKS[access][0] == CHECKS[access][1]``."""


_EXTERNAL = FaultKind.EXTERNAL_ON_WALK.value
_TRANSLATION = FaultKind.TRANSLATION.value
_PERMISSION = FaultKind.PERMISSION.value
_ACCESS_FLAG = FaultKind.ACCESS_FLAG.value


def fault_status(entry: int, index: int, level: int) -> int:
    """DFSC of a :data:`Found` that :data:`CHECKS` refuses; priority: Arm ARM D5.8, "MMU fault priority"."""
    if not entry & VALID:
        return (_EXTERNAL if index == OUTSIDE else _TRANSLATION) | level
    return (_PERMISSION if entry & AF else _ACCESS_FLAG) | level


def walk(
    memory: TableMemory, roots: Roots, va: int, access: Access, granule: Granule = GRANULE_4K
) -> Translation | Fault:
    """Translate ``va`` for an access from EL0."""
    root = roots.of(va)
    if root is None:
        return Fault(FaultKind.TRANSLATION, granule.first_level, va)
    index, level, entry = find_leaf(memory, root, va, granule)
    mask, wanted = CHECKS[access]
    if entry & mask != wanted:
        return Fault(FaultKind(fault_status(entry, index, level) & ~3), level, va)
    size = granule.size(level)
    descriptor = Descriptor(entry, level, granule)
    return Translation(descriptor.output_address + (va & size - 1), index, descriptor, size)


def visited(memory: TableMemory, roots: Roots, va: int, granule: Granule = GRANULE_4K) -> list[Descriptor]:
    """Every entry that the walk for ``va`` reads, in order."""
    table = roots.of(va)
    entries: list[Descriptor] = []
    for level, shift in granule.steps if table is not None else ():
        assert table is not None
        entry = int(memory.word[(table >> 3) + (va >> shift & granule.index_mask)])
        entries.append(Descriptor(entry, level, granule))
        if kind_of(entry, level, granule) is not DescriptorKind.TABLE:
            break
        table = entry & OUTPUT_ADDRESS
    return entries
