"""What must follow a change to an entry before the MMU acts on it: the words, and two that answer them.

Arm ARM D8.16 (TLB maintenance) and B2.7 (memory barriers); x86-64 needs the invalidations alone.
"""

from __future__ import annotations

from typing import Protocol


class Barriers(Protocol):
    """The processor's side of a change to a translation table."""

    def dsb(self) -> None:
        """``dsb ish``: entries written and invalidations issued before are complete."""

    def isb(self) -> None:
        """``isb``: this processor's next instruction sees them."""

    def tlbi(self, va: int, size: int) -> None:
        """``tlbi rvaae1is``: translations of ``va`` .. ``va + size``, of all ASIDs and levels."""

    def tlbi_all(self) -> None:
        """``tlbi vmalle1is``: every translation."""


class NoBarriers:
    """For tables that no processor walks meanwhile."""

    def dsb(self) -> None:
        """Nothing to do."""

    def isb(self) -> None:
        """Nothing to do."""

    def tlbi(self, va: int, size: int) -> None:
        """Nothing to do."""

    def tlbi_all(self) -> None:
        """Nothing to do."""
