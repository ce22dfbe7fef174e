"""MMU faults: how a walk of stage 1 can end, and the status codes (Arm ARM D13.2.37, ISS DFSC)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum


class Access(IntEnum):
    """What the processor wanted to do."""

    READ = 0
    WRITE = 1
    EXECUTE = 2


class FaultKind(Enum):
    """A kind of fault; the value is its status code at level 0, to which the level is added."""

    ADDRESS_SIZE = 0b000000
    TRANSLATION = 0b000100
    ACCESS_FLAG = 0b001000
    PERMISSION = 0b001100
    EXTERNAL_ON_WALK = 0b010100


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an address has no translation: ``kind``, and the ``level`` whose entry said so."""

    kind: FaultKind
    level: int
    va: int

    @property
    def status_code(self) -> int:
        """DFSC, or IFSC for an instruction abort."""
        return self.kind.value | self.level

    def __str__(self) -> str:
        return f"{self.kind.name.lower().replace('_', ' ')} fault, level {self.level}, at {self.va:#x}"
