"""What a walk gives when it succeeds; the same record for every architecture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Visited(NamedTuple):
    """An entry that a walk read or wrote: its level, its own physical address, its value."""

    level: int
    pa: int
    value: int


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a mapping allows and what memory it is, after all that tables above it restrict.

    ``user`` and ``privileged`` are ``rwx`` with dashes; ``flags`` are further names, for people.
    """

    user: str
    privileged: str
    memory_type: str
    shareability: str = ""
    is_global: bool = False
    flags: tuple[str, ...] = ()

    def __str__(self) -> str:
        words = (f"{self.privileged}/{self.user}", self.memory_type, self.shareability, *self.flags)
        return " ".join(word for word in words if word)


@dataclass(frozen=True, slots=True)
class Translation:
    """Where ``va`` leads.

    ``size``: bytes that the leaf maps; ``entries``: what was read on the way, root first; ``changes``: the
    entries that the walk rewrote with their new values (hardware management of the access flag and the
    dirty state), of which the last is the leaf.
    """

    va: int
    pa: int
    size: int
    entries: tuple[Visited, ...]
    attributes: Attributes
    changes: tuple[Visited, ...] = ()
    effective: int = 0
    """The leaf as permissions go by it: writable if a store makes it so; tables above restrict it."""

    @property
    def leaf(self) -> Visited:
        """The entry that maps the address, as it was read."""
        return self.entries[-1]

    @property
    def level(self) -> int:
        """The level of the leaf."""
        return self.leaf.level

    @property
    def updated(self) -> int:
        """The leaf as the walk leaves it."""
        return (
            self.changes[-1].value
            if self.changes and self.changes[-1].pa == self.leaf.pa
            else self.leaf.value
        )

    def __str__(self) -> str:
        return f"{self.va:#x} -> {self.pa:#x} (level {self.level}, {self.size:#x} bytes) {self.attributes}"
