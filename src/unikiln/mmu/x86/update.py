"""Carry out what a walk would write: the accessed and dirty flags (Intel SDM vol. 3, 4.8 and 8.1.2.1)."""

from __future__ import annotations

from unikiln.mmu.memory import TableMemory
from unikiln.mmu.request import Request
from unikiln.mmu.translation import Translation
from unikiln.mmu.x86.fault import Fault
from unikiln.mmu.x86.regime import Regime
from unikiln.mmu.x86.walk import walk


def apply_changes(memory: TableMemory, result: Translation | Fault) -> bool:
    """Set the flags in the entries; False if one of them is no longer what the walk read.

    The processor sets them by locked operations; the flags that were set before are right in any case.
    """
    read = {entry.pa: entry.value for entry in reversed(result.entries)}
    return all(memory.compare_and_swap(pa >> 3, read[pa], value) for _, pa, value in result.changes)


def access(memory: TableMemory, regime: Regime, va: int, request: Request) -> Translation | Fault:
    """Walk and set the flags, as the processor does; from the start if an entry changed meanwhile."""
    while True:
        result = walk(memory, regime, va, request)
        if apply_changes(memory, result):
            return result
