"""ESR_EL1, the exception syndrome: encode, decode, explain (Arm ARM D24.2.45, issue M.a).

The classes are the rows of ``exception_class``; their fields are tables in the ``iss_*`` modules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from unikiln.errors import MmuError
from unikiln.mmu.aarch64 import iss_abort
from unikiln.mmu.aarch64.exception_class import EXCEPTION_CLASSES, exception_class
from unikiln.mmu.aarch64.iss_abort import (
    CM,
    EA,
    EC_DATA_ABORT_LOWER,
    EC_DATA_ABORT_SAME,
    EC_INSTRUCTION_ABORT_LOWER,
    EC_INSTRUCTION_ABORT_SAME,
    FNV,
    ISV,
    S1PTW,
    STATUS_MASK,
    WNR,
)
from unikiln.mmu.aarch64.status import DATA_MEANINGS
from unikiln.mmu.field import Field, decode_all, encode_all

__all__ = [
    "EC_DATA_ABORT_LOWER",
    "EC_DATA_ABORT_SAME",
    "EC_INSTRUCTION_ABORT_LOWER",
    "EC_INSTRUCTION_ABORT_SAME",
    "EC_PC_ALIGNMENT",
    "EC_SHIFT",
    "EC_SP_ALIGNMENT",
    "IL",
    "KIND_MASK",
    "Syndrome",
    "encode",
    "encode_abort",
    "is_write",
]

EC_PC_ALIGNMENT = 0x22
EC_SP_ALIGNMENT = 0x26

EC_SHIFT = 26
IL = 1 << 25
KIND_MASK = 0x3C
"""Of a status code below 0b010000: the kind of fault without its level."""

_ISS_MASK = IL - 1
_ISS2_SHIFT = 32
_ISS_BITS = ((1 << 64) - (1 << _ISS2_SHIFT)) | _ISS_MASK

_SET_FAR = {0x20, 0x21, 0x22, 0x24, 0x25, 0x34, 0x35}
"""Classes that write FAR_EL1 (D24.2.48); an SError may, and says so."""


@dataclass(frozen=True, slots=True)
class Syndrome:
    """ESR_EL1 in its parts; the properties below mean what they say when :attr:`is_abort`.

    ``iss2`` is bits 63:32, of which 63:56 are reserved.
    """

    ec: int
    il: bool
    iss: int
    iss2: int = 0

    @classmethod
    def decode(cls, esr: int) -> Syndrome:
        """The parts of a register value."""
        return cls(esr >> EC_SHIFT & 0x3F, bool(esr & IL), esr & _ISS_MASK, esr >> _ISS2_SHIFT)

    @property
    def value(self) -> int:
        """The register value."""
        return self.iss2 << _ISS2_SHIFT | self.ec << EC_SHIFT | (IL if self.il else 0) | self.iss

    @property
    def is_abort(self) -> bool:
        """Whether this is an instruction or data abort."""
        return iss_abort.is_abort(self.ec)

    @property
    def is_data_abort(self) -> bool:
        """Whether this is a data abort."""
        return iss_abort.is_data_abort(self.ec)

    @property
    def status(self) -> int:
        """DFSC or IFSC."""
        return self.iss & STATUS_MASK

    @property
    def isv(self) -> bool:
        """Whether ISS bits 23:14 describe the instruction."""
        return bool(self.iss & ISV)

    @property
    def fnv(self) -> bool:
        """Whether FAR is *not* valid."""
        return bool(self.iss & FNV)

    @property
    def ea(self) -> bool:
        """External abort type."""
        return bool(self.iss & EA)

    @property
    def cm(self) -> bool:
        """Whether a cache maintenance or address translation instruction aborted."""
        return bool(self.iss & CM)

    @property
    def s1ptw(self) -> bool:
        """Whether stage 2 faulted on the walk of stage 1."""
        return bool(self.iss & S1PTW)

    @property
    def wnr(self) -> bool:
        """Write, not read; also 1 for cache maintenance, which is not a write."""
        return bool(self.iss & WNR)

    @property
    def is_write(self) -> bool:
        """Whether something was about to be stored: WnR without CM, and a data abort."""
        return is_write(self.value)

    def fields(self) -> list[Field]:
        """Every field with its meaning; those of ISS2 last, then bits that are set and should not be."""
        row, value = exception_class(self.ec), self.value
        length = "32-bit instruction, or an exception that always has 1" if self.il else "16-bit instruction"
        return [
            Field("EC", "31:26", self.ec, row.name),
            Field("IL", "25", int(self.il), length),
            *decode_all(row.fields, value, of=_ISS_BITS),
        ]

    @property
    def sentence(self) -> str:
        """What happened, for people."""
        return exception_class(self.ec).explain({field.name: field for field in self.fields()})

    def far_field(self, far: int) -> Field:
        """FAR_EL1 as this exception left it."""
        return Field("FAR_EL1", "63:0", far, self._far_meaning(far))

    def _far_meaning(self, far: int) -> str:
        if not self._sets_far():
            return "unknown: this exception does not set it"
        if self.ec in _SET_FAR and self.ec != EC_PC_ALIGNMENT and self.fnv:
            return "not valid: FnV is 1"
        upper, top = far >> 55 & 1, far >> 56
        tag = f", with {top:#04x} in the top byte" if top != 0xFF * upper else ""
        return f"the faulting address, in the half of TTBR{upper}_EL1{tag}"

    def _sets_far(self) -> bool:
        fields = {field.name: field.value for field in self.fields()}
        return self.ec in _SET_FAR or bool(fields.get("VFV"))

    def __str__(self) -> str:
        name = exception_class(self.ec).name
        text = f"ESR {self.value:#010x}: EC {self.ec:#04x} {name}, IL {int(self.il)}"
        if not self.is_abort:
            return f"{text}, ISS {self.iss:#09x}"
        meaning = DATA_MEANINGS.get(self.status, "reserved status")
        code = f"{'DFSC' if self.is_data_abort else 'IFSC'} {self.status:#04x} {meaning}"
        return f"{text}, {self._flags()}, {code}" if self.is_data_abort else f"{text}, {code}"

    def _flags(self) -> str:
        pairs = (("ISV", self.isv), ("FnV", self.fnv), ("EA", self.ea), ("CM", self.cm))
        rest = (("S1PTW", self.s1ptw), ("WnR", self.wnr))
        return " ".join(f"{name} {int(bit)}" for name, bit in pairs + rest)


def encode(ec: int, fields: Mapping[str, int], *, il: bool = True) -> int:
    """ESR_EL1 of class ``ec`` with ``fields`` by their names in the manual; those left out are 0.

    :raises MmuError: the class is reserved, or the fields are not what the processor can report together
    """
    if ec not in EXCEPTION_CLASSES:
        raise MmuError(f"exception class {ec:#x} is reserved")
    base = ec << EC_SHIFT | (IL if il else 0)
    value = encode_all(EXCEPTION_CLASSES[ec].fields, fields, base)
    if iss_abort.is_abort(ec):
        iss_abort.check(ec, il, fields)
    return value


def encode_abort(
    ec: int, status: int, *, wnr: bool = False, cm: bool = False, s1ptw: bool = False, fnv: bool = False
) -> int:
    """ESR_EL1 of an abort on a 32-bit instruction; ISV is 0, as ever for stage 1. Nothing is checked."""
    flags = (WNR if wnr else 0) | (CM if cm else 0) | (S1PTW if s1ptw else 0) | (FNV if fnv else 0)
    return ec << EC_SHIFT | IL | flags | status


def is_write(esr: int) -> bool:
    """Whether the abort is that of a store: WnR set and CM clear, in a data abort.

    Cache maintenance reports WnR = 1 with CM = 1 and changes nothing; bit 6 of an instruction abort is RES0.
    """
    return esr & (WNR | CM) == WNR and esr >> EC_SHIFT & 0x3E == EC_DATA_ABORT_LOWER
