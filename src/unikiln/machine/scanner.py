"""A pass over the entries that map file pages: clear the access flag, so that the next access shows.

The duty cycle and the word to the ARC come with the full page cache; this pass runs once a period.
"""

from __future__ import annotations

from unikiln.base.trace import tracepoint
from unikiln.machine.addrspace import AddressSpace
from unikiln.machine.counters import Counters
from unikiln.mmu.aarch64.layout import USER_48
from unikiln.mmu.access import clear_accessed

trace_access_scanner = tracepoint("access_scanner", "scanned=%u, cleared=%u")


class AccessScanner:
    """Clears AF in bulk, then invalidates the TLB: a cached translation would hide accesses."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def scan(self, space: AddressSpace) -> int:
        """One pass; how many entries had been accessed since the last."""
        entries = space.file_entries()
        cleared = len(clear_accessed(space.memory.tables, USER_48, entries))
        if cleared:
            space.cpu.invalidate_tlb()
        self._counters.scans += 1
        self._counters.flags_cleared += cleared
        trace_access_scanner(len(entries), cleared)
        return cleared
