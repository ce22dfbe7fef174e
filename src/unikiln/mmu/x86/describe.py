"""What a paging-structure entry says: every field with its meaning, and a line of summary.

Intel SDM vol. 3, 4.5, tables 4-14 to 4-20. Bits that the processor ignores are the operating system's; what
they are said to be is Linux's use of them (arch/x86/include/asm/pgtable_types.h).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from unikiln.errors import MmuError
from unikiln.mmu.field import Field, Spec, decode_all
from unikiln.mmu.x86 import entry as bits
from unikiln.mmu.x86.permission import pat_index
from unikiln.mmu.x86.registers import PAT_DEFAULT, memory_type

PAGE_NAMES = {1: "4-KByte", 2: "2-MByte", 3: "1-GByte"}
"""Pages by the level of the entry that maps them."""

_IGNORED = "for the operating system"
_PRESENT = Spec("P", 0, 0, {0: "not present: the processor ignores all other bits", 1: "present"})


def describe(
    value: int, level: int, *, pa_bits: int = 52, pages_1g: bool = True, nxe: bool = True
) -> list[Field]:
    """Every field of an entry of ``level`` (5 PML5E to 1 PTE), the highest first; then reserved bits.

    Reserved bits are there if they are set. ``pa_bits`` is MAXPHYADDR, ``nxe`` EFER.NXE.

    :raises MmuError: there is no such level, or the value has more than 64 bits
    """
    _check(value, level)
    if not value & bits.P:
        return [*_absent(value), _PRESENT.decode(value)]
    leaf = _is_leaf(value, level, pages_1g)
    reserved = bits.reserved_bits(level, leaf, pa_bits=pa_bits, pages_1g=pages_1g, nxe=nxe)
    specs = _page(value, level, pa_bits) if leaf else _table(level, pa_bits)
    fields = decode_all((spec for spec in specs if not spec.mask & reserved), value, of=0)
    return [*fields, *_reserved(value & reserved)]


def summary(value: int, level: int, *, pa_bits: int = 52, pages_1g: bool = True, nxe: bool = True) -> str:
    """One line: where the entry leads, and what it allows as far as that is its own affair.

    :raises MmuError: there is no such level, or the value has more than 64 bits
    """
    _check(value, level)
    name = bits.LEVEL_NAMES[level]
    if not value & bits.P:
        return f"{name}: not present"
    leaf = _is_leaf(value, level, pages_1g)
    if value & bits.reserved_bits(level, leaf, pa_bits=pa_bits, pages_1g=pages_1g, nxe=nxe):
        return f"{name}: present, but sets a reserved bit: every use of it is a page fault"
    address = value & bits.address_bits(pa_bits)
    if leaf:
        where = f"a {PAGE_NAMES[level]} page at {address & -1 << bits.shift_of(level):#x}"
    else:
        where = f"a table of {bits.LEVEL_NAMES[level - 1]}s at {address:#x}"
    return f"{name}: {where}, {', '.join(_words(value, level, leaf))}"


def _words(value: int, level: int, leaf: bool) -> Iterator[str]:
    """What a present entry allows; of a page also what it is and was."""
    yield "read/write" if value & bits.RW else "read-only"
    yield "user" if value & bits.US else "supervisor"
    if value & bits.XD:
        yield "execute-disabled"
    if leaf:
        yield memory_type(PAT_DEFAULT, pat_index(value, level))
    states = (
        ((bits.A, "accessed"), (bits.D, "dirty"), (bits.G, "global")) if leaf else ((bits.A, "accessed"),)
    )
    yield from (name for flag, name in states if value & flag)


def _check(value: int, level: int) -> None:
    if level not in bits.LEVEL_NAMES:
        raise MmuError(f"there is no level {level}", hint="5 is a PML5E, 4 PML4E, 3 PDPTE, 2 PDE, 1 PTE")
    if value >> 64:
        raise MmuError(f"{value:#x} is no entry: it has more than 64 bits")


def _is_leaf(value: int, level: int, pages_1g: bool) -> bool:
    """Whether a present entry is one that maps a page; PS does not make it so where it is reserved."""
    return level == 1 or (bool(value & bits.PS) and (level == 2 or (level == 3 and pages_1g)))


def _table(level: int, pa_bits: int) -> Iterator[Spec]:
    """The fields of a present entry that refers to a table."""
    below = bits.LEVEL_NAMES[level - 1]
    yield _XD
    yield Spec("ignored", 62, 52, _IGNORED)
    yield Spec("address", pa_bits - 1, 12, lambda own: f"the table of {below}s is at {own << 12:#x}")
    yield Spec("ignored", 11, 8, _IGNORED)
    yield Spec("PS", 7, 7, {0: "refers to a table"})
    yield Spec("ignored", 6, 6, _IGNORED)
    yield _ACCESSED
    yield Spec("PCD", 4, 4, {0: "the table is cached", 1: "the table is not cached"})
    yield Spec("PWT", 3, 3, {0: "the table is write-back", 1: "the table is write-through"})
    yield from _RIGHTS


def _page(value: int, level: int, pa_bits: int) -> Iterator[Spec]:
    """The fields of a present entry that maps a page."""
    shift = bits.shift_of(level)
    yield _XD
    yield Spec("key", 62, 59, "the protection key, if CR4.PKE or CR4.PKS is 1")
    yield Spec("ignored", 58, 52, _IGNORED)
    yield Spec("address", pa_bits - 1, shift, lambda own: f"the page is at {own << shift:#x}")
    if level > 1:
        yield Spec("PAT", 12, 12, _pat(value, level))
    yield Spec("ignored", 11, 9, _software)
    yield Spec("G", 8, 8, {0: "belongs to its address space", 1: "global, if CR4.PGE is 1"})
    if level > 1:
        yield Spec("PS", 7, 7, {1: f"maps a {PAGE_NAMES[level]} page"})
    else:
        yield Spec("PAT", 7, 7, _pat(value, 1))
    yield Spec("D", 6, 6, {0: "not written to", 1: "written to"})
    yield _ACCESSED
    yield Spec("PCD", 4, 4, "bit 1 of the memory type's index")
    yield Spec("PWT", 3, 3, "bit 0 of the memory type's index")
    yield from _RIGHTS


_XD = Spec("XD", 63, 63, {0: "instructions may be fetched", 1: "no instruction may be fetched"})
_ACCESSED = Spec("A", 5, 5, {0: "not used by a translation", 1: "used by a translation"})
_RIGHTS = (
    Spec("U/S", 2, 2, {0: "supervisor mode alone", 1: "user mode, too"}),
    Spec("R/W", 1, 1, {0: "read-only", 1: "may be written"}),
    _PRESENT,
)


def _pat(value: int, level: int) -> Callable[[int], str]:
    index = pat_index(value, level)
    kind = memory_type(PAT_DEFAULT, index)
    return lambda own: f"bit 2 of the memory type's index: IA32_PAT[{index}], {kind} by default"


def _software(own: int) -> str:
    uses = ((1, "special"), (2, "userfaultfd write-protect"), (4, "soft-dirty"))
    named = [name for bit, name in uses if own & bit]
    return f"{_IGNORED}; Linux: {', '.join(named)}" if named else _IGNORED


def _absent(value: int) -> Iterator[Field]:
    """What an entry that is not present holds."""
    if value:
        linux = "; Linux: a page that may not be accessed (PROT_NONE)" if value & bits.G else ""
        yield Field("ignored", "63:1", value >> 1, _IGNORED + linux)


def _reserved(left: int) -> Iterator[Field]:
    """The reserved bits that are set, as runs."""
    for field in decode_all((), left):
        yield field._replace(name="reserved", meaning="must be 0: every use of the entry is a page fault")
