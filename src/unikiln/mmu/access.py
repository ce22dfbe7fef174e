"""The access flag in software: what the handler of an access flag fault does, and what a scanner does.

A processor without FEAT_HAFDBS raises an access flag fault at the first access through an entry whose
AF is 0 (Arm ARM D5.4.12, "The Access flag"); software sets the flag and returns to the instruction.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from unikiln.errors import MmuError
from unikiln.mmu.aarch64.descriptor import AF, AP_READ_ONLY, DBM, SOFTWARE_DIRTY
from unikiln.mmu.aarch64.granule import GRANULE_4K, Granule
from unikiln.mmu.aarch64.walk import find_leaf
from unikiln.mmu.memory import Indices, TableMemory

Barrier = Callable[[], None]

_AF_WORD = np.uint64(AF)
_NOT_AF = np.uint64(~AF & (1 << 64) - 1)


def no_barrier() -> None:
    """For memory that no processor's table walker watches."""


def set_accessed(
    memory: TableMemory,
    root: int,
    va: int,
    *,
    write: bool,
    barrier: Barrier = no_barrier,
    granule: Granule = GRANULE_4K,
) -> int:
    """Set AF in the entry that maps ``va`` (page or block, at its level); the entry as it now stands.

    ``write``: the access that faulted is a store; then the entry becomes dirty too, if it allows stores.
    A store through a read-only entry faults again, for its permission, and that handler decides.
    ``barrier`` is called after the entry is written (``dsb ishst; isb``): the walker must see it before
    the access is tried again.

    The entry is exchanged, not stored: between reading and writing it, another processor may have
    unmapped it or a scanner cleared it (Linux, arch/arm64/mm/fault.c, ``ptep_set_access_flags``).

    :raises MmuError: nothing maps ``va`` (any more)
    """
    while True:
        index, level, entry = find_leaf(memory, root, va, granule)
        if not entry:
            raise MmuError(f"no entry maps {va:#x}: the walk ends at level {level}")
        new = entry | AF
        if write and (not entry & AP_READ_ONLY or entry & DBM):
            new |= SOFTWARE_DIRTY
        if new == entry or memory.compare_and_swap(index, entry, new):
            break
    barrier()
    return new


def test_and_clear_accessed(memory: TableMemory, indices: Indices) -> Indices:
    """Clear AF in the entries at ``indices``; those of them that had it set.

    The caller invalidates the TLB afterwards: until then, a cached translation hides accesses.
    """
    entries = memory.words[indices]
    accessed: Indices = indices[(entries & _AF_WORD) != 0]
    memory.words[accessed] &= _NOT_AF
    return accessed


test_and_clear_accessed.__test__ = False  # type: ignore[attr-defined]  # pytest takes the name for a test
