"""What a processor asks of the MMU: the kind of access, from where, and how (Arm ARM, "AccessDescriptor")."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Access(IntEnum):
    """What the processor wants to do."""

    READ = 0
    WRITE = 1
    EXECUTE = 2


@dataclass(frozen=True, slots=True)
class Request:
    """One access.

    ``privileged``: from EL1, or from rings 0 to 2; ``size``: bytes accessed, for alignment.
    ``atomic``: an exclusive, a compare-and-swap or another atomic, which must be aligned; ``modifies``: it
    reads and writes in one (``access`` is WRITE), as they all do but the exclusives.
    ``zeroes``: AArch64 ``dc zva``; ``cache_maintenance``: another ``dc`` or ``ic`` by address; ``at``: an
    ``AT``, which accesses nothing. ``unprivileged``: ``ldtr`` and ``sttr``: EL1 with the permissions of EL0.
    ``pan``: AArch64 PSTATE.PAN; ``ac``: x86-64 EFLAGS.AC, which lets ring 0 past SMAP.
    """

    access: Access = Access.READ
    privileged: bool = False
    size: int = 1
    atomic: bool = False
    modifies: bool = False
    zeroes: bool = False
    cache_maintenance: bool = False
    at: bool = False
    unprivileged: bool = False
    pan: bool = False
    ac: bool = False

    @property
    def as_privileged(self) -> bool:
        """Whose permissions count: those of the privileged level."""
        return self.privileged and not self.unprivileged
