"""PAR_EL1, the result of an AT instruction (Arm ARM D24.2.142, issue M.a; the 64-bit format)."""

from __future__ import annotations

from dataclasses import dataclass

from unikiln.errors import MmuError
from unikiln.mmu.aarch64.iss_abort import flag
from unikiln.mmu.aarch64.registers import is_device, memory_type
from unikiln.mmu.aarch64.status import DATA_MEANINGS, STATUS_CODES, StatusKind
from unikiln.mmu.field import Field, Spec, decode_all

F = 1 << 0
_PTW = 1 << 8
_S = 1 << 9
_NS = 1 << 9
_ONE = 1 << 11
"""RES1 after a fault; after a success NSE, which is 1 without FEAT_RME."""
_ATTR_SHIFT, _SH_SHIFT, _FST_SHIFT = 56, 7, 1
_PA = (1 << 52) - (1 << 12)
_OUTER_SHAREABLE = 2
_NON_CACHEABLE = 0x44

_ABORTS = {StatusKind.EXTERNAL, StatusKind.EXTERNAL_ON_WALK}
_NOT_OF_AT = {
    StatusKind.TAG_CHECK,
    StatusKind.PARITY,
    StatusKind.ALIGNMENT,
    StatusKind.LOCKDOWN,
    StatusKind.EXCLUSIVE,
}
_FST = {
    **{
        code: text
        for code, text in DATA_MEANINGS.items()
        if STATUS_CODES[code].kind not in _ABORTS | _NOT_OF_AT
    },
    0b111101: "section domain fault (AArch32 short descriptors)",
    0b111110: "page domain fault (AArch32 short descriptors)",
}
"""External aborts are taken as data aborts and leave PAR_EL1 alone."""

_SUCCESS = (
    Spec("ATTR", 63, 56, memory_type),
    Spec("PA", 51, 12, lambda frame: f"physical address {frame << 12:#x}"),
    Spec("NSE", 11, 11, "with NS: the physical address space; 1 without FEAT_RME"),
    Spec("IMPDEF", 10, 10, "implementation defined"),
    Spec("NS", 9, 9, "non-secure; unknown in a non-secure regime"),
    Spec("SH", 8, 7, {0: "non-shareable", 2: "outer shareable", 3: "inner shareable"}),
    Spec("F", 0, 0, "the translation succeeded"),
)

_FAULT = (
    Spec("IMPDEF", 63, 48, "implementation defined"),
    flag("DirtyBit", 15, "not due to the dirty state", "due to the dirty state"),
    flag("Overlay", 14, "not due to overlay permissions", "due to overlay permissions"),
    flag("TopLevel", 13, "not due to TopLevel", "due to TopLevel"),
    flag("AssuredOnly", 12, "not due to AssuredOnly", "due to AssuredOnly"),
    flag("RES1", 11, "reserved, yet not 1", "reserved"),
    flag("S", 9, "stage 1 faulted", "stage 2 faulted"),
    flag("PTW", 8, "not on a walk of stage 1", "stage 2 faulted on a walk of stage 1"),
    Spec("FST", 6, 1, _FST),
    Spec("F", 0, 0, "the translation faulted"),
)


@dataclass(frozen=True, slots=True)
class Par:
    """A value of PAR_EL1."""

    value: int

    @property
    def failed(self) -> bool:
        """F: whether the translation faulted."""
        return bool(self.value & F)

    @property
    def pa(self) -> int:
        """The physical address of the page; low bits of the address are those that were asked for.

        :raises MmuError: the translation faulted
        """
        if self.failed:
            raise MmuError(f"PAR_EL1 {self.value:#x} has no address: {self.sentence}")
        return self.value & _PA

    @property
    def status(self) -> int:
        """FST, the code of a fault."""
        return self.value >> _FST_SHIFT & 0x3F

    def fields(self) -> list[Field]:
        """Every field with its meaning, and bits that are set and should not be."""
        return decode_all(_FAULT if self.failed else _SUCCESS, self.value)

    @property
    def sentence(self) -> str:
        """What happened, for people."""
        fields = {field.name: field.meaning for field in self.fields()}
        if not self.failed:
            return f"translated to {fields['PA']}: {fields['ATTR']}, {fields['SH']}"
        stage = fields["PTW"] if self.value & _PTW else fields["S"]
        return f"not translated: {fields['FST']}; {stage}"


def encode_success(pa: int, attr: int, sh: int, *, ns: bool = True) -> int:
    """PAR_EL1 of a translation to ``pa``, memory of MAIR field ``attr``; low bits of ``pa`` are left out.

    Device and non-cacheable memory is outer shareable, whatever ``sh`` says.

    :raises MmuError: the address has more than 52 bits, or an argument is reserved
    """
    if pa >> 52:
        raise MmuError(f"PAR_EL1 has no room for the address {pa:#x}")
    if is_device(attr) or attr == _NON_CACHEABLE:
        sh = _OUTER_SHAREABLE
    if sh not in (0, 2, 3):
        raise MmuError(f"PAR_EL1.SH has no value {sh}")
    if attr >> 8:
        raise MmuError(f"PAR_EL1.ATTR has no value {attr:#x}")
    return attr << _ATTR_SHIFT | pa & _PA | _ONE | (_NS if ns else 0) | sh << _SH_SHIFT


def encode_fault(status: int, *, stage2: bool = False, on_walk: bool = False) -> int:
    """PAR_EL1 of a fault with the code ``status``; ``on_walk``: stage 2 faulted on a walk of stage 1.

    :raises MmuError: AT reports no such fault here
    """
    if status not in _FST:
        raise MmuError(f"PAR_EL1.FST has no value {status:#x}: {DATA_MEANINGS.get(status, 'reserved')}")
    if on_walk and not stage2:
        raise MmuError("PTW is of stage 2")
    return _ONE | (_S if stage2 else 0) | (_PTW if on_walk else 0) | status << _FST_SHIFT | F
