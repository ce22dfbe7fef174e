"""What every bit of a translation table descriptor means (Arm ARM D8.3.1, issue M.a, stage 1 of EL1&0).

What Linux and OSv keep in the bits for software is from arch/arm64/include/asm/pgtable-prot.h and
arch/aarch64/arch-mmu.hh.
"""

from __future__ import annotations

from dataclasses import dataclass

from unikiln.base.size import format_size
from unikiln.errors import MmuError
from unikiln.mmu.aarch64 import descriptor as bits
from unikiln.mmu.aarch64.entry import DescriptorKind, kind_of
from unikiln.mmu.aarch64.iss_abort import flag
from unikiln.mmu.aarch64.layout import LAST_LEVEL, layout
from unikiln.mmu.aarch64.permission import Rights, el0_rights, el1_rights, mair_field, rights_text
from unikiln.mmu.aarch64.registers import is_device, memory_type
from unikiln.mmu.field import Field, Spec, decode_all
from unikiln.mmu.layout import Layout

_SHAREABILITY = {0: "non-shareable", 1: "reserved", 2: "outer shareable", 3: "inner shareable"}
_TYPES = {
    DescriptorKind.INVALID: "invalid",
    DescriptorKind.TABLE: "a table",
    DescriptorKind.BLOCK: "a block",
    DescriptorKind.PAGE: "a page",
    DescriptorKind.RESERVED: "reserved",
}


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry and where it stands; ``wide``: output addresses have 52 bits."""

    value: int
    level: int
    layout: Layout
    wide: bool
    mair: int | None

    @property
    def kind(self) -> DescriptorKind:
        return kind_of(self.value, self.level, self.layout)

    @property
    def size(self) -> str:
        return format_size(self.layout.size(self.level))

    @property
    def shift(self) -> int:
        """The lowest bit of the output address."""
        leaf = self.kind in (DescriptorKind.BLOCK, DescriptorKind.PAGE)
        return self.layout.step(self.level).shift if leaf else self.layout.page_shift

    @property
    def has_address_in_sh(self) -> bool:
        """Whether bits 9:8 are address bits (FEAT_LPA2) and not SH."""
        return self.wide and self.layout.page_shift < 16

    @property
    def address(self) -> int:
        return self.layout.output_address(self.value) & -(1 << self.shift)


def describe(
    value: int, level: int, *, granule: int = 12, wide: bool = False, mair: int | None = None
) -> list[Field]:
    """Every field of the descriptor ``value`` at ``level``, the highest first, then what EL0 and EL1 may do.

    :param granule: shift of the translation granule: 12, 14 or 16
    :param wide: output addresses have 52 bits: TCR_EL1.DS (FEAT_LPA2), or FEAT_LPA with the 64 KiB granule
    :param mair: MAIR_EL1, if it is known
    :raises MmuError: there is no such granule, or no such level with it
    """
    entry = _entry(value, level, granule, wide, mair)
    fields = decode_all(_specs(entry), value)
    if entry.kind in (DescriptorKind.BLOCK, DescriptorKind.PAGE):
        fields += _rights(value)
    return fields


def summary(value: int, level: int, *, granule: int = 12, wide: bool = False, mair: int | None = None) -> str:
    """The descriptor in a line; arguments and errors are those of :func:`describe`."""
    entry = _entry(value, level, granule, wide, mair)
    if entry.kind is DescriptorKind.INVALID:
        rest = "with something of software's in the other bits" if value else "nothing is mapped here"
        return f"invalid, level {level}: {rest}"
    if entry.kind is DescriptorKind.RESERVED:
        return f"reserved, which the walk treats as invalid: {_reserved_reason(entry)}"
    if entry.kind is DescriptorKind.TABLE:
        limits = _limits(value)
        rest = f"; below it: {', '.join(limits)}" if limits else ""
        return f"table: the next one, of level {level + 1}, is at {entry.address:#x}{rest}"
    return _leaf_sentence(entry)


def _entry(value: int, level: int, granule: int, wide: bool, mair: int | None) -> _Entry:
    if granule not in (12, 14, 16):
        raise MmuError(f"no granule of 2**{granule} bytes", hint="4, 16 and 64 KiB: 12, 14 and 16")
    va_bits = 52 if wide or granule == 16 else 48
    shape = layout(granule, va_bits, ds=wide and granule < 16, lpa=wide)
    levels = [step.level for step in shape.steps]
    if level not in levels:
        more = " without 52-bit addresses" if level == -1 and granule == 12 else ""
        raise MmuError(
            f"no level {level} with the {format_size(1 << granule)} granule{more}",
            hint=f"it has levels {levels[0]} to {levels[-1]}",
        )
    return _Entry(value, level, shape, wide, mair)


def _specs(entry: _Entry) -> tuple[Spec, ...]:
    kind = Spec("type", 1, 0, _TYPES[entry.kind])
    if entry.kind is DescriptorKind.INVALID:
        return (Spec("ignored", 63, 1, _ignored(entry.value)), Spec("valid", 0, 0, "invalid"))
    if entry.kind is DescriptorKind.RESERVED:
        return (Spec("ignored", 63, 2, "as of an invalid entry"), kind)
    middle = _TABLE if entry.kind is DescriptorKind.TABLE else _leaf_specs(entry)
    specs = (*middle, *_address_specs(entry), kind)
    return tuple(sorted(specs, key=lambda spec: -spec.high))


def _ignored(value: int) -> str:
    if value == 0:
        return "free for software"
    return "free for software: Linux has swap entries and PROT_NONE pages here"


_AP_TABLE = {
    0: "no limit",
    1: "no access by EL0 below",
    2: "no writes below",
    3: "no access by EL0 and no writes below",
}
_TABLE = (
    flag("NSTable", 63, "no limit", "in Secure state: non-secure below; else ignored"),
    Spec("APTable", 62, 61, _AP_TABLE),
    flag("UXNTable", 60, "no limit", "no execution by EL0 below"),
    flag("PXNTable", 59, "no limit", "no execution by EL1 below"),
    Spec("ignored", 58, 51, "ignored by hardware"),
    Spec("ignored", 11, 11, "ignored by hardware"),
    Spec("AF", 10, 10, "Access Flag of the table with FEAT_HAFT, else ignored"),
    Spec("ignored", 7, 2, "ignored by hardware"),
)


def _limits(value: int) -> list[str]:
    named = (
        (bits.AP_TABLE_NO_EL0, "no access by EL0"),
        (bits.AP_TABLE_READ_ONLY, "no writes"),
        (bits.UXN_TABLE, "no execution by EL0"),
        (bits.PXN_TABLE, "no execution by EL1"),
    )
    return [text for bit, text in named if value & bit]


def _address_specs(entry: _Entry) -> list[Spec]:
    """The pieces of the output address or of the next table's."""
    name = "NLTA" if entry.kind is DescriptorKind.TABLE else "OA"
    top = 49 if entry.has_address_in_sh else 47
    what = "next table at" if name == "NLTA" else "output address"
    specs = [Spec(f"{name}[{top}:{entry.shift}]", top, entry.shift, f"{what} {entry.address:#x}")]
    if entry.has_address_in_sh:
        specs.append(Spec(f"{name}[51:50]", 9, 8, "the highest bits of that address"))
    elif entry.wide:
        specs.append(Spec(f"{name}[51:48]", 15, 12, "the highest bits of that address"))
    if not entry.has_address_in_sh and entry.kind is DescriptorKind.TABLE:
        specs.append(Spec("ignored", 9, 8, "ignored by hardware"))
    return specs


_AP = {
    0: "EL1 reads and writes, EL0 has no access",
    1: "EL1 and EL0 read and write",
    2: "EL1 reads, EL0 has no access",
    3: "EL1 and EL0 read",
}
_LEAF = (
    Spec("software", 63, 63, "free for software (Secure state: ignored)"),
    Spec("PBHA", 62, 59, "page-based hardware attributes (FEAT_HPDS2), or POIndex and AttrIndx[3]"),
    Spec("software", 58, 58, "free for software (Linux: userfaultfd; PROT_NONE if not valid)"),
    Spec("software", 57, 57, "free for software (older Linux: device memory)"),
    Spec("software", 56, 56, "free for software (Linux: special, no struct page)"),
    Spec("software", 55, 55, "free for software (Linux and OSv: dirty)"),
    flag("UXN", 54, "EL0 may execute", "EL0 may not execute"),
    flag("PXN", 53, "EL1 may execute, unless EL0 may write", "EL1 may not execute"),
    flag("GP", 50, "branches may land anywhere", "branches land on BTI only (FEAT_BTI)"),
    flag("nG", 11, "global: TLB entries are of every ASID", "not global: TLB entries are of one ASID"),
    flag("AF", 10, "the next access faults, or sets it (TCR_EL1.HA)", "accessed"),
    Spec("AP[2:1]", 7, 6, _AP),
    flag(
        "NS", 5, "in Secure state: secure output; else ignored", "in Secure state: non-secure; else ignored"
    ),
)


def _leaf_specs(entry: _Entry) -> list[Spec]:
    specs = [
        *_LEAF,
        Spec("contiguous", 52, 52, _contiguous(entry)),
        Spec("DBM", 51, 51, _dirty_state(entry.value)),
        Spec("AttrIndx", 4, 2, _memory(entry)),
    ]
    if not entry.has_address_in_sh:
        specs.append(Spec("SH", 9, 8, _SHAREABILITY))
    if entry.kind is DescriptorKind.BLOCK:
        specs.append(flag("nT", 16, "a normal block", "a block that is about to change its size (FEAT_BBM)"))
    return specs


def _contiguous(entry: _Entry) -> str:
    length = entry.layout.run_length(entry.level)
    if not entry.value & bits.CONTIGUOUS:
        return "stands alone"
    if length == 1:
        return "reserved: there are no contiguous runs at this level"
    size = length * entry.layout.size(entry.level)
    start = entry.address & -size
    return f"one of {length} entries that map {format_size(size)} from {start:#x} together"


def _dirty_state(value: int) -> str:
    if not value & bits.DBM:
        return "hardware leaves AP[2] alone"
    if value & bits.AP_READ_ONLY:
        return "writable and clean: a write clears AP[2] (TCR_EL1.HD)"
    return "writable and dirty: hardware cleared AP[2], or software did"


def _memory(entry: _Entry) -> str:
    if entry.mair is None:
        return "which field of MAIR_EL1 has the memory type"
    attr = mair_field(entry.value, entry.mair)
    return f"memory type of MAIR_EL1, {attr:#04x}: {memory_type(attr)}"


def _rights(value: int) -> list[Field]:
    """What the entry itself allows; tables above, SCTLR_EL1.WXN and PSTATE.PAN may take more away."""
    return [
        Field("EL0", "54,7:6", _number(el0_rights(value, 0)), _rights_text(el0_rights(value, 0))),
        Field("EL1", "53,7:6", _number(el1_rights(value, 0)), _rights_text(el1_rights(value, 0))),
    ]


def _number(rights: Rights) -> int:
    read, write, execute = rights
    return read << 2 | write << 1 | execute


def _rights_text(rights: Rights) -> str:
    words = [word for has, word in zip(rights, ("read", "write", "execute"), strict=True) if has]
    return f"{rights_text(rights)}: may {', '.join(words)}" if words else "---: no access"


def _leaf_sentence(entry: _Entry) -> str:
    value = entry.value
    parts = [f"EL0 {rights_text(el0_rights(value, 0))}, EL1 {rights_text(el1_rights(value, 0))}"]
    if entry.mair is not None:
        parts.append(_memory_words(entry))
    parts.append("accessed" if value & bits.AF else "Access Flag 0")
    if entry.layout.is_dirty(value):
        parts.append("dirty")
    elif value & bits.DBM:
        parts.append("clean, though writable")
    return f"{entry.kind.value} of {entry.size} at {entry.address:#x}: {'; '.join(parts)}"


def _memory_words(entry: _Entry) -> str:
    attr = mair_field(entry.value, entry.mair or 0)
    if entry.has_address_in_sh or is_device(attr):
        return memory_type(attr)
    return f"{memory_type(attr)}, {_SHAREABILITY[entry.value >> bits.SH_SHIFT & 3]}"


def _reserved_reason(entry: _Entry) -> str:
    if entry.level == LAST_LEVEL:
        return "at level 3 a page has bit 1 set"
    granule = format_size(entry.layout.page_size)
    if (entry.layout.page_shift, entry.level) in _WIDE_BLOCKS:
        return f"a block at level {entry.level} of the {granule} granule needs 52-bit addresses"
    return f"there are no blocks at level {entry.level} of the {granule} granule"


_WIDE_BLOCKS = {(12, 0), (14, 1), (16, 1)}
"""Granule and level of the blocks that only 52-bit output addresses allow."""
