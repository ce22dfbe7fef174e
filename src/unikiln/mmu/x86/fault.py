"""How a walk can fail: page faults, the general-protection exception, and tables where no memory is.

Intel SDM vol. 3, 4.7 ("Page-fault exceptions") and vol. 1, 3.3.7.1 ("Canonical addressing").
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from unikiln.mmu.request import Request
from unikiln.mmu.translation import Visited
from unikiln.mmu.x86.entry import LEVEL_NAMES
from unikiln.mmu.x86.permission import Denial

GENERAL_PROTECTION = 13
PAGE_FAULT = 14


class FaultKind(Enum):
    """Why there is no access; the value says it."""

    NON_CANONICAL = "the address is not canonical"
    NOT_PRESENT = "not present"
    RESERVED_BIT = "a reserved bit is set"
    PROTECTION = "not allowed"
    NO_MEMORY = "the entry lies where no memory is"
    """No exception of the MMU: what the processor reads there is the chipset's affair."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an access fails: ``kind``, and the ``level`` of the entry that said so (0 if none was read).

    ``entries`` is what the walk read, root first; ``changes`` the entries whose accessed flag it had set by
    then. ``error_code`` is that of the exception; :mod:`unikiln.mmu.x86.error_code` explains it.
    """

    kind: FaultKind
    level: int
    va: int
    request: Request
    entries: tuple[Visited, ...] = ()
    changes: tuple[Visited, ...] = ()
    error_code: int = 0
    denial: Denial | None = None

    @property
    def vector(self) -> int | None:
        """The exception, None for :attr:`FaultKind.NO_MEMORY`."""
        if self.kind is FaultKind.NO_MEMORY:
            return None
        return GENERAL_PROTECTION if self.kind is FaultKind.NON_CANONICAL else PAGE_FAULT

    @property
    def cr2(self) -> int | None:
        """What CR2 gets; None where it keeps its value."""
        return self.va if self.vector == PAGE_FAULT else None

    def __str__(self) -> str:
        if self.kind is FaultKind.NON_CANONICAL:
            return f"general protection, at {self.va:#x}: {self.kind.value}"
        reason = f"the page {self.denial.value}" if self.denial else self.kind.value
        name = "no memory" if self.vector is None else f"page fault {self.error_code:#x}"
        return f"{name}, {LEVEL_NAMES[self.level]}, at {self.va:#x}: {reason}"
