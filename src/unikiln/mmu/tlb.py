"""A TLB: translations that were made once, kept until they are invalidated or pushed out (Arm ARM D8.16)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from unikiln.mmu.translation import Translation


class TlbEntry(NamedTuple):
    """``size`` bytes from ``va``, which lead to ``pa``; ``asid`` is None for a global entry.

    One entry holds a whole contiguous run. ``effective``: the leaf with what the tables above it restrict.
    """

    va: int
    size: int
    pa: int
    asid: int | None
    effective: int
    translation: Translation

    def translates(self, va: int, asid: int) -> bool:
        """Whether the entry answers for ``va`` in the address space ``asid``."""
        return self.va <= va < self.va + self.size and self.asid in (None, asid)


class Tlb:
    """At most ``capacity`` entries; the one that was used longest ago goes first."""

    def __init__(self, capacity: int = 64) -> None:
        self.capacity = capacity
        self._entries: dict[TlbEntry, None] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def lookup(self, va: int, asid: int) -> list[TlbEntry]:
        """All entries that answer for ``va``: more than one is a conflict unless they agree."""
        found = [entry for entry in self._entries if entry.translates(va, asid)]
        for entry in found:
            del self._entries[entry]
            self._entries[entry] = None
        return found

    def fill(self, entry: TlbEntry) -> None:
        """Keep ``entry``."""
        self._entries.pop(entry, None)
        self._entries[entry] = None
        while len(self._entries) > self.capacity:
            del self._entries[next(iter(self._entries))]

    def invalidate(self, va: int, size: int, asid: int | None = None) -> None:
        """``tlbi rvae1`` (``asid`` given: its entries and global ones) or ``rvaae1`` (all address spaces)."""
        self._drop(
            lambda entry: (
                entry.va < va + size
                and va < entry.va + entry.size
                and (asid is None or entry.asid in (None, asid))
            )
        )

    def invalidate_asid(self, asid: int) -> None:
        """``tlbi aside1``: all that is not global of one address space."""
        self._drop(lambda entry: entry.asid == asid)

    def invalidate_all(self) -> None:
        """``tlbi vmalle1``."""
        self._entries.clear()

    def _drop(self, condemned: Callable[[TlbEntry], bool]) -> None:
        self._entries = {entry: None for entry in self._entries if not condemned(entry)}
