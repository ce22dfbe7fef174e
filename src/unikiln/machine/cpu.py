"""What the machine asks of the processor that runs the guest; an engine answers it."""

from __future__ import annotations

from typing import Protocol


class Cpu(Protocol):
    """One AArch64 processor at EL0."""

    def program_counter(self) -> int:
        """The address of the instruction that trapped, or after it for ``svc``."""

    def registers(self) -> dict[str, int]:
        """``x0`` to ``x30``, ``sp``, ``pc`` and ``nzcv``, in that order."""

    def fault_address(self, page: int, write: bool) -> int:
        """The address in ``page`` that the current instruction accesses, as exactly as it is known."""

    def start(self, pc: int, sp: int) -> None:
        """All registers zero but these two: a new program."""

    def invalidate_tlb(self) -> None:
        """``dsb ishst; tlbi vmalle1is; dsb ish; isb``: no cached translation survives."""

    def invalidate_page(self, va: int) -> None:
        """``dsb ishst; tlbi vaae1is; dsb ish; isb``: no cached translation of the page survives."""

    def synchronize(self) -> None:
        """``dsb ishst; isb``: the table walker sees every entry written before."""

    def forget_code(self) -> None:
        """No translated code survives (``ic ialluis``)."""


class NoCpu:
    """Stands for the processor until an engine takes the machine."""

    def program_counter(self) -> int:
        """Zero."""
        return 0

    def registers(self) -> dict[str, int]:
        """None."""
        return {}

    def fault_address(self, page: int, write: bool) -> int:
        """The page."""
        return page

    def start(self, pc: int, sp: int) -> None:
        """Nothing to do."""

    def invalidate_tlb(self) -> None:
        """Nothing to do."""

    def invalidate_page(self, va: int) -> None:
        """Nothing to do."""

    def synchronize(self) -> None:
        """Nothing to do."""

    def forget_code(self) -> None:
        """Nothing to do."""
