"""The machine under the checker of :mod:`unikiln.mmu.check`: every barrier that it issues is told."""

from __future__ import annotations

from unikiln.machine.cpu import Cpu
from unikiln.mmu.aarch64.layout import PAGE_MASK, PAGE_SIZE
from unikiln.mmu.check import Checker


class CheckedCpu:
    """Does what ``cpu`` does, and says it to ``checker`` in the architecture's words."""

    def __init__(self, cpu: Cpu, checker: Checker) -> None:
        self._checker = checker
        self._cpu = cpu
        self.program_counter = cpu.program_counter
        self.registers = cpu.registers
        self.fault_address = cpu.fault_address
        self.start = cpu.start
        self.forget_code = cpu.forget_code

    def invalidate_tlb(self) -> None:
        """``dsb ishst; tlbi vmalle1is; dsb ish; isb``."""
        self._invalidate(0, 1 << 64)
        self._cpu.invalidate_tlb()

    def invalidate_page(self, va: int) -> None:
        """``dsb ishst; tlbi vaae1is; dsb ish; isb``."""
        self._invalidate(va & ~PAGE_MASK, PAGE_SIZE)
        self._cpu.invalidate_page(va)

    def synchronize(self) -> None:
        """``dsb ishst; isb``."""
        self._checker.dsb()
        self._checker.isb()
        self._cpu.synchronize()

    def _invalidate(self, va: int, size: int) -> None:
        checker = self._checker
        checker.dsb()
        checker.tlbi(va, size)
        checker.dsb()
        checker.isb()
