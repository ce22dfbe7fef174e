"""The error code of a page fault: its flags and the sentence they make (Intel SDM vol. 3, 4.7).

Bit 31 is AMD's (APM vol. 2, 8.4.2, "RMP").
"""

from __future__ import annotations

from dataclasses import dataclass

from unikiln.errors import MmuError
from unikiln.mmu.bits import Bits
from unikiln.mmu.field import Field, Spec

P = 1 << 0
WR = 1 << 1
US = 1 << 2
RSVD = 1 << 3
ID = 1 << 4
PK = 1 << 5

_FLAGS = (
    Spec("P", 0, 0, {0: "an entry was not present", 1: "every entry was present"}),
    Spec("W/R", 1, 1, {0: "not a write", 1: "a write"}),
    Spec("U/S", 2, 2, {0: "supervisor mode", 1: "user mode"}),
    Spec("RSVD", 3, 3, {0: "no reserved bit", 1: "an entry sets a reserved bit"}),
    Spec("I/D", 4, 4, {0: "not known as an instruction fetch", 1: "an instruction fetch"}),
    Spec("PK", 5, 5, {0: "no protection key denied it", 1: "a protection key denied it"}),
    Spec("SS", 6, 6, {0: "not a shadow-stack access", 1: "a shadow-stack access"}),
    Spec("HLAT", 7, 7, {0: "ordinary paging", 1: "a fault in the tables of the hypervisor (HLAT)"}),
    Spec("SGX", 15, 15, {0: "not of SGX", 1: "SGX refused it, not paging"}),
    Spec("RMP", 31, 31, {0: "not of SEV-SNP", 1: "SEV-SNP's reverse map refused it"}),
)
_KNOWN = sum(1 << flag.low for flag in _FLAGS)


@dataclass(frozen=True, slots=True)
class PageFaultCode:
    """A page-fault error code."""

    value: int

    present = Bits(0)
    write = Bits(1)
    user = Bits(2)
    reserved = Bits(3)
    fetch = Bits(4)
    key = Bits(5)
    shadow_stack = Bits(6)
    hlat = Bits(7)
    sgx = Bits(15)
    rmp = Bits(31)

    @classmethod
    def decode(cls, code: int) -> PageFaultCode:
        """The code that the exception pushed.

        :raises MmuError: it has more than 32 bits, or bits that no processor sets
        """
        if code & ~_KNOWN:
            raise MmuError(
                f"{code:#x} is no page-fault error code: no processor sets bits {code & ~_KNOWN:#x}",
                hint="bits 0 to 7, 15 and 31 have a meaning",
            )
        return cls(code)

    def fields(self) -> list[Field]:
        """Every flag, the highest first."""
        return [flag.decode(self.value) for flag in reversed(_FLAGS)]

    @property
    def access(self) -> str:
        """The access that faulted, as a phrase."""
        mode = "user" if self.user else "supervisor"
        if self.shadow_stack:
            kind = f"shadow-stack {'write' if self.write else 'read'}"
        elif self.fetch:
            kind = "instruction fetch"
        else:
            # Without NXE and SMEP a fetch is reported as a read.
            kind = "write" if self.write else "read"
        return f"{'an' if kind[0] == 'i' else 'a'} {kind} in {mode} mode"

    @property
    def reason(self) -> str:
        """What was wrong with the page, as a phrase."""
        if self.sgx:
            return "to a page that SGX keeps for an enclave"
        if self.rmp:
            return "to a page that the reverse map gives to another guest"
        if self.reserved:
            return "through an entry that sets a reserved bit"
        if not self.present:
            return "to a page that is not present"
        if self.key:
            return "to a page whose protection key denies it"
        return f"to a page that is present and {self._denial()}"

    def _denial(self) -> str:
        if self.shadow_stack:
            return "is no shadow stack, or not writable as one"
        if self.user:
            return _USER_DENIALS["fetch" if self.fetch else "write" if self.write else "read"]
        return _SUPERVISOR_DENIALS["fetch" if self.fetch else "write" if self.write else "read"]

    def __str__(self) -> str:
        return f"{self.access} {self.reason}"


_USER_DENIALS = {
    "fetch": "execute-disabled or for supervisor mode",
    "write": "read-only or for supervisor mode",
    "read": "for supervisor mode",
}
_SUPERVISOR_DENIALS = {
    "fetch": "execute-disabled, or for user mode (SMEP)",
    "write": "read-only (CR0.WP), or for user mode (SMAP)",
    "read": "for user mode (SMAP)",
}
