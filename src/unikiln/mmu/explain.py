"""Tables, entries and faults of either architecture in words."""

from __future__ import annotations

from unikiln.base.size import format_size
from unikiln.mmu.aarch64 import fault as arm_fault
from unikiln.mmu.aarch64 import regime as arm
from unikiln.mmu.aarch64.describe import summary as arm_summary
from unikiln.mmu.aarch64.report import fault_syndrome
from unikiln.mmu.aarch64.syndrome import Syndrome
from unikiln.mmu.layout import Layout
from unikiln.mmu.request import Access, Request
from unikiln.mmu.space import Fault, Space
from unikiln.mmu.translation import Visited
from unikiln.mmu.x86.describe import summary as x86_summary
from unikiln.mmu.x86.entry import LEVEL_NAMES
from unikiln.mmu.x86.registers import EFER_NXE

PRIVILEGES = {"aarch64": ("EL1", "EL0"), "x86_64": ("kernel", "user")}
"""What the two levels of privilege are called, the higher first."""
"""The exception class by whether it is a fetch, and whether it is from EL1."""
_ACCESSES = {Access.READ: "read", Access.WRITE: "write", Access.EXECUTE: "instruction fetch"}


def access(space: Space, request: Request) -> str:
    """Such as "read from EL1"."""
    return f"{_ACCESSES[request.access]} from {PRIVILEGES[space.arch][not request.privileged]}"


def tables(space: Space, layout: Layout) -> str:
    """Which register leads to the tables of ``layout``, and what they translate."""
    bits = f"{layout.va_bits}-bit addresses"
    regime, upper = space.regime, bool(layout.first_va)
    if isinstance(regime, arm.Regime):
        value = regime.ttbr1 if upper else regime.ttbr0
        return f"TTBR{upper:d}_EL1 {value:#x}: {bits}, {format_size(layout.page_size)} granule"
    return f"CR3 {regime.cr3:#x}, {'upper' if upper else 'lower'} half: {bits}, {len(layout.steps)} levels"


def entry(space: Space, layout: Layout, visited: Visited) -> str:
    """An entry that a walk read, by itself: without what tables above it restrict."""
    if isinstance(space.regime, arm.Regime):
        mair = space.regime.mair if space.mair_known else None
        granule, wide = layout.page_shift, bool(layout.high_address)
        return arm_summary(visited.value, visited.level, granule=granule, wide=wide, mair=mair)
    config, nxe = space.regime.config, bool(space.regime.efer & EFER_NXE)
    text = x86_summary(
        visited.value, visited.level, pa_bits=config.pa_bits, pages_1g=config.pages_1g, nxe=nxe
    )
    return text.removeprefix(f"{LEVEL_NAMES[visited.level]}: ")


def level_name(layout: Layout, level: int) -> str:
    """A level as the architecture's manual calls it."""
    return LEVEL_NAMES[level] if layout.arch == "x86_64" else str(level)


def fault(found: Fault) -> str:
    """The fault, and what the processor would report."""
    if not isinstance(found, arm_fault.Fault):
        return str(found) if found.cr2 is None else f"{found}; CR2 would be {found.cr2:#x}"
    esr = fault_syndrome(found)
    return f"{found}; ESR_EL1 would be {esr:#x}: {Syndrome.decode(esr).sentence}"
