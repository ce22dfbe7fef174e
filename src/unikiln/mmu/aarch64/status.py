"""Fault status codes: DFSC and IFSC of ESR_EL1, FST of PAR_EL1 (Arm ARM D24.2.45, "ISS encoding for ...")."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from unikiln.errors import MmuError


class StatusKind(Enum):
    """Kinds of fault; the value is what the manual calls it."""

    ADDRESS_SIZE = "address size fault"
    TRANSLATION = "translation fault"
    ACCESS_FLAG = "access flag fault"
    PERMISSION = "permission fault"
    EXTERNAL = "synchronous external abort"
    EXTERNAL_ON_WALK = "synchronous external abort on a table walk"
    TAG_CHECK = "synchronous tag check fault"
    PARITY = "synchronous parity or ECC error"
    PARITY_ON_WALK = "synchronous parity or ECC error on a table walk"
    ALIGNMENT = "alignment fault"
    GRANULE_PROTECTION = "granule protection fault"
    GRANULE_PROTECTION_ON_WALK = "granule protection fault on a table walk"
    TLB_CONFLICT = "TLB conflict abort"
    ATOMIC_UPDATE = "unsupported atomic hardware update fault"
    LOCKDOWN = "implementation defined fault (lockdown)"
    EXCLUSIVE = "implementation defined fault (unsupported exclusive or atomic access)"


_NOT_OF_FETCHES = {StatusKind.TAG_CHECK, StatusKind.ALIGNMENT, StatusKind.LOCKDOWN, StatusKind.EXCLUSIVE}
_KIND_FEATURES = {
    StatusKind.TAG_CHECK: "FEAT_MTE2",
    StatusKind.GRANULE_PROTECTION: "FEAT_RME",
    StatusKind.GRANULE_PROTECTION_ON_WALK: "FEAT_RME",
    StatusKind.ATOMIC_UPDATE: "FEAT_HAFDBS",
}
_LEVEL_FEATURES = {-2: "FEAT_D128", -1: "FEAT_LPA2"}
_LEAF_KINDS = {StatusKind.ACCESS_FLAG, StatusKind.PERMISSION}


class Status(NamedTuple):
    """One code; ``level`` is that of the entry, None where the code tells none."""

    code: int
    kind: StatusKind
    level: int | None

    @property
    def is_of_fetches(self) -> bool:
        """Whether an instruction abort can have it."""
        return self.kind not in _NOT_OF_FETCHES

    @property
    def features(self) -> tuple[str, ...]:
        """What a processor must have to report it."""
        block_at_0 = self.level == 0 and self.kind in _LEAF_KINDS
        level = "FEAT_LPA2" if block_at_0 else _LEVEL_FEATURES.get(3 if self.level is None else self.level)
        return tuple(each for each in (level, _KIND_FEATURES.get(self.kind)) if each)

    def __str__(self) -> str:
        text = self.kind.value
        if self.level is not None:
            text += f", level {self.level}"
        if self.code == 0:
            text += " or the table base register"
        return f"{text} ({', '.join(self.features)})" if self.features else text


_LEVELS = {
    StatusKind.ADDRESS_SIZE: {-2: 0b101100, -1: 0b101001, 0: 0b000000},
    StatusKind.TRANSLATION: {-2: 0b101010, -1: 0b101011, 0: 0b000100},
    StatusKind.ACCESS_FLAG: {0: 0b001000},
    StatusKind.PERMISSION: {0: 0b001100},
    StatusKind.EXTERNAL_ON_WALK: {-2: 0b010010, -1: 0b010011, 0: 0b010100},
    StatusKind.PARITY_ON_WALK: {-1: 0b011011, 0: 0b011100},
    StatusKind.GRANULE_PROTECTION_ON_WALK: {-2: 0b100010, -1: 0b100011, 0: 0b100100},
}
"""Levels 1 to 3 follow that of level 0; entries above level 0 are always tables, so no leaf faults there."""

_SINGLE = {
    StatusKind.EXTERNAL: 0b010000,
    StatusKind.TAG_CHECK: 0b010001,
    StatusKind.PARITY: 0b011000,
    StatusKind.ALIGNMENT: 0b100001,
    StatusKind.GRANULE_PROTECTION: 0b101000,
    StatusKind.TLB_CONFLICT: 0b110000,
    StatusKind.ATOMIC_UPDATE: 0b110001,
    StatusKind.LOCKDOWN: 0b110100,
    StatusKind.EXCLUSIVE: 0b110101,
}


def _table() -> dict[int, Status]:
    rows = [Status(code, kind, None) for kind, code in _SINGLE.items()]
    for kind, codes in _LEVELS.items():
        codes = codes | {level: codes[0] + level for level in (1, 2, 3)}
        rows += [Status(code, kind, level) for level, code in codes.items()]
    return {row.code: row for row in sorted(rows, key=lambda row: row.code)}


STATUS_CODES = _table()
"""Every code that is not reserved."""

DATA_MEANINGS = {code: str(status) for code, status in STATUS_CODES.items()}
"""DFSC, and FST of PAR_EL1."""

FETCH_MEANINGS = {code: str(status) for code, status in STATUS_CODES.items() if status.is_of_fetches}
"""IFSC."""

_CODES = {(status.kind, status.level): code for code, status in STATUS_CODES.items()}


def kind_of(code: int) -> StatusKind | None:
    """The kind of fault that a code tells of, None for a reserved one."""
    status = STATUS_CODES.get(code)
    return status.kind if status else None


def status_code(kind: StatusKind, level: int | None = None) -> int:
    """The code of a kind of fault at a level.

    :raises MmuError: there is none
    """
    try:
        return _CODES[kind, level]
    except KeyError:
        where = "without a level" if level is None else f"at level {level}"
        raise MmuError(f"there is no status code for a {kind.value} {where}") from None
