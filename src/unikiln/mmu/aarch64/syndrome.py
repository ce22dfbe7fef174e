"""ESR_EL1 for aborts: encode and decode (Arm ARM D13.2.37, "ISS encoding for ... a Data Abort")."""

from __future__ import annotations

from dataclasses import dataclass

EC_INSTRUCTION_ABORT_LOWER = 0x20
EC_INSTRUCTION_ABORT_SAME = 0x21
EC_PC_ALIGNMENT = 0x22
EC_DATA_ABORT_LOWER = 0x24
EC_DATA_ABORT_SAME = 0x25
EC_SP_ALIGNMENT = 0x26

EC_SHIFT = 26
IL = 1 << 25
ISV = 1 << 24
FNV = 1 << 10
EA = 1 << 9
CM = 1 << 8
S1PTW = 1 << 7
WNR = 1 << 6
STATUS_MASK = 0x3F
KIND_MASK = 0x3C
"""Of a status code below 0b010000: the kind of fault without its level."""

EXCEPTION_CLASSES = {
    0x00: "unknown reason",
    0x07: "access to SVE, Advanced SIMD or floating point",
    0x0E: "illegal execution state",
    0x15: "SVC instruction, AArch64",
    0x18: "trapped MSR, MRS or system instruction",
    EC_INSTRUCTION_ABORT_LOWER: "instruction abort from a lower exception level",
    EC_INSTRUCTION_ABORT_SAME: "instruction abort from the same exception level",
    EC_PC_ALIGNMENT: "PC alignment fault",
    EC_DATA_ABORT_LOWER: "data abort from a lower exception level",
    EC_DATA_ABORT_SAME: "data abort from the same exception level",
    EC_SP_ALIGNMENT: "SP alignment fault",
    0x2C: "floating-point exception, AArch64",
    0x2F: "SError interrupt",
    0x3C: "BRK instruction, AArch64",
}
_ABORTS = {
    EC_INSTRUCTION_ABORT_LOWER,
    EC_INSTRUCTION_ABORT_SAME,
    EC_DATA_ABORT_LOWER,
    EC_DATA_ABORT_SAME,
}
_LEVELLED = {
    0b0000: "address size fault",
    0b0001: "translation fault",
    0b0010: "access flag fault",
    0b0011: "permission fault",
    0b0101: "synchronous external abort on a table walk",
}
STATUS_CODES = {
    **{kind << 2 | level: f"{text}, level {level}" for kind, text in _LEVELLED.items() for level in range(4)},
    0b010000: "synchronous external abort",
    0b010001: "synchronous tag check fault",
    0b011000: "synchronous parity or ECC error",
    0b100001: "alignment fault",
    0b110000: "TLB conflict abort",
    0b110001: "unsupported atomic hardware update fault",
    0b110100: "lockdown fault",
    0b110101: "unsupported exclusive or atomic access",
}


@dataclass(frozen=True, slots=True)
class Syndrome:
    """The fields of ESR_EL1; those of the ISS mean what they say when :attr:`is_abort`."""

    ec: int
    il: bool
    iss: int

    @classmethod
    def decode(cls, esr: int) -> Syndrome:
        """The fields of a register value."""
        return cls(esr >> EC_SHIFT & 0x3F, bool(esr & IL), esr & 0x1FFFFFF)

    @property
    def value(self) -> int:
        """The register value."""
        return self.ec << EC_SHIFT | (IL if self.il else 0) | self.iss

    @property
    def is_abort(self) -> bool:
        """Whether this is an instruction or data abort."""
        return self.ec in _ABORTS

    @property
    def is_data_abort(self) -> bool:
        """Whether this is a data abort."""
        return self.ec in (EC_DATA_ABORT_LOWER, EC_DATA_ABORT_SAME)

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

    def __str__(self) -> str:
        name = EXCEPTION_CLASSES.get(self.ec, "reserved")
        text = f"ESR {self.value:#010x}: EC {self.ec:#04x} {name}, IL {int(self.il)}"
        if not self.is_abort:
            return f"{text}, ISS {self.iss:#09x}"
        meaning = STATUS_CODES.get(self.status, "reserved status")
        code = f"{'DFSC' if self.is_data_abort else 'IFSC'} {self.status:#04x} {meaning}"
        return f"{text}, {self._flags()}, {code}" if self.is_data_abort else f"{text}, {code}"

    def _flags(self) -> str:
        pairs = (("ISV", self.isv), ("FnV", self.fnv), ("EA", self.ea), ("CM", self.cm))
        rest = (("S1PTW", self.s1ptw), ("WnR", self.wnr))
        return " ".join(f"{name} {int(bit)}" for name, bit in pairs + rest)


def encode_abort(
    ec: int, status: int, *, wnr: bool = False, cm: bool = False, s1ptw: bool = False, fnv: bool = False
) -> int:
    """ESR_EL1 of an abort on a 32-bit instruction; ISV is 0, as it always is for stage 1."""
    flags = (WNR if wnr else 0) | (CM if cm else 0) | (S1PTW if s1ptw else 0) | (FNV if fnv else 0)
    return ec << EC_SHIFT | IL | flags | status


def is_write(esr: int) -> bool:
    """Whether the abort is that of a store: WnR set and CM clear, in a data abort.

    Cache maintenance reports WnR = 1 with CM = 1 and changes nothing; bit 6 of an instruction abort is RES0.
    """
    return esr & (WNR | CM) == WNR and esr >> EC_SHIFT & 0x3E == EC_DATA_ABORT_LOWER
