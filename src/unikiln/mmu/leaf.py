"""The quick walk: to the leaf that maps an address, by plain integers and without permissions."""

from __future__ import annotations

from unikiln.mmu.layout import Layout
from unikiln.mmu.memory import TableMemory

Found = tuple[int, int, int]
"""Index of the word where a walk ended, its level, and its value; the value is 0 if it is no leaf."""

OUTSIDE = -1
"""The index of a :data:`Found` whose walk left the memory: a table address that is no RAM."""


def find_leaf(memory: TableMemory, layout: Layout, root: int, va: int) -> Found:
    """Walk to the page or block entry for ``va``, or to the invalid entry that ends the walk.

    This runs at every miss of the embedded machine's TLB. ``va`` must lie in the layout's range.
    """
    word, table, address_mask, wide = memory.word, root, layout.address_mask, layout.high_address
    for level, shift, mask, table_mask, table_value, leaf_mask, leaf_value in layout.steps:
        index = (table >> 3) + (va >> shift & mask)
        try:
            entry: int = word[index]
        except IndexError:
            return OUTSIDE, level, 0
        if entry & table_mask != table_value:
            return index, level, entry if entry & leaf_mask == leaf_value else 0
        table = layout.output_address(entry) if wide else entry & address_mask
    raise AssertionError("the last level has no tables")
