"""The access flag in software: what the handler of an access flag fault does, and what a scanner does.

A processor without FEAT_HAFDBS raises an access flag fault at the first access through an entry whose
AF is 0 (Arm ARM D8.5.1, "The Access flag"); software sets the flag and returns to the instruction.
"""

from __future__ import annotations

from collections.abc import Callable

from unikiln.errors import MmuError
from unikiln.mmu.bulk import test_and_clear_accessed
from unikiln.mmu.layout import Layout
from unikiln.mmu.leaf import find_leaf
from unikiln.mmu.memory import Indices, TableMemory

Barrier = Callable[[], None]


def no_barrier() -> None:
    """For memory that no processor's table walker watches."""


def set_accessed(
    memory: TableMemory, layout: Layout, root: int, va: int, *, write: bool, barrier: Barrier = no_barrier
) -> int:
    """Set the access flag in the leaf that maps ``va``, at whatever level; the entry as it now stands.

    ``write``: the access that faulted is a store; then the entry becomes dirty too, if it allows stores.
    A store through a read-only entry faults again, for its permission, and that handler decides.
    ``barrier`` is called after the entry is written (``dsb ishst; isb``): the walker must see it before
    the access is tried again.

    The entry is exchanged, not stored: between reading and writing it, another processor may have
    unmapped it or a scanner cleared it (Linux, arch/arm64/mm/fault.c, ``ptep_set_access_flags``).

    :raises MmuError: nothing maps ``va`` (any more)
    """
    read_only, is_read_only = layout.read_only
    while True:
        index, level, entry = find_leaf(memory, layout, root, va)
        if not entry:
            raise MmuError(f"no entry maps {va:#x}: the walk ends at level {level}")
        new = entry | layout.accessed
        if write and (entry & read_only != is_read_only or entry & layout.will_write):
            new |= layout.dirty
        if new == entry or memory.compare_and_swap(index, entry, new):
            break
    barrier()
    return new


def clear_accessed(memory: TableMemory, layout: Layout, indices: Indices) -> Indices:
    """Clear the access flag in the entries at ``indices``; those of them that had it set.

    The caller invalidates the TLB afterwards: until then, a cached translation hides accesses.
    """
    entries = memory.words[indices]
    accessed = test_and_clear_accessed(entries, layout)
    found: Indices = indices[accessed]
    memory.scatter(found, entries[accessed])
    return found
