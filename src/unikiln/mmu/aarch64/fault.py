"""MMU faults: how a walk of stage 1 can end, and the status codes (Arm ARM D23.2.41, ESR_EL1, ISS DFSC)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from unikiln.mmu.request import Access, Request
from unikiln.mmu.translation import Visited


class FaultKind(Enum):
    """A kind of fault; the value is its status code, at level 0 for those that have a level."""

    ADDRESS_SIZE = 0b000000
    TRANSLATION = 0b000100
    ACCESS_FLAG = 0b001000
    PERMISSION = 0b001100
    EXTERNAL_ON_WALK = 0b010100
    ALIGNMENT = 0b100001
    TLB_CONFLICT = 0b110000
    UNSUPPORTED_ATOMIC_UPDATE = 0b110001

    @property
    def has_level(self) -> bool:
        """Whether the status code tells the level."""
        return self.value < FaultKind.ALIGNMENT.value


_LEVEL_MINUS_1 = {
    FaultKind.ADDRESS_SIZE: 0b101001,
    FaultKind.TRANSLATION: 0b101011,
    FaultKind.EXTERNAL_ON_WALK: 0b010011,
}
"""Level -1 (FEAT_LPA2) has codes of its own; its entries are tables, so no others occur there."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an address has no translation: ``kind``, and the ``level`` whose entry said so.

    ``entries`` is what the walk read, root first; ``request`` what was asked.
    """

    kind: FaultKind
    level: int
    va: int
    request: Request = field(default_factory=Request)
    entries: tuple[Visited, ...] = ()
    changes: tuple[Visited, ...] = ()
    """Entries that the walk rewrote before it faulted: hardware sets AF even if the permission is missing."""
    read_allowed: bool = False
    """Of a permission fault of what modifies: it lacked the permission to write alone."""

    @property
    def status_code(self) -> int:
        """DFSC, or IFSC for an instruction abort."""
        if self.level < 0:
            return _LEVEL_MINUS_1[self.kind]
        return self.kind.value | self.level if self.kind.has_level else self.kind.value

    @property
    def is_write(self) -> bool:
        """WnR: what modifies is said to write only if the read alone would not have faulted so."""
        writes = self.request.access is Access.WRITE
        return writes and (self.read_allowed or not self.request.modifies)

    def __str__(self) -> str:
        level = f", level {self.level}" if self.kind.has_level else ""
        return f"{self.kind.name.lower().replace('_', ' ')} fault{level}, at {self.va:#x}"
