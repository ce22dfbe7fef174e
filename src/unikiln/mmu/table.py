"""Translation tables that can be changed: find, map, unmap, protect, enumerate.

A change to an entry that a TLB may hold goes by break-before-make where the architecture asks for it: make
the entry invalid, invalidate the TLB, then write the new one (Arm ARM D8.16.1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from unikiln.errors import MmuError
from unikiln.mmu.barriers import Barriers, NoBarriers
from unikiln.mmu.layout import Layout, Step, Tables
from unikiln.mmu.leaf import Found, find_leaf
from unikiln.mmu.leaves import Leaves, leaves
from unikiln.mmu.memory import TableMemory, Words
from unikiln.mmu.runs import Run, mappings


class PageTable:
    """The tables of ``layouts`` in ``memory``, of frames that ``allocate`` gives (addresses of zeroed pages).

    ``roots``: where the tables of each layout begin, allocated if not given. Tables are not given back one
    by one: they go with the memory. ``barriers`` is told of every change that the range operations make; who
    uses :meth:`map_page` sees to them himself. The last page table that was used is remembered, because
    consecutive pages share it.
    """

    def __init__(
        self,
        memory: TableMemory,
        allocate: Callable[[], int],
        layouts: tuple[Layout, ...],
        *,
        roots: tuple[int, ...] | None = None,
        barriers: Barriers | None = None,
    ) -> None:
        self.memory = memory
        self.barriers = barriers or NoBarriers()
        self._allocate = allocate
        self.tables: Tables = tuple(zip(layouts, roots or [allocate() for _ in layouts], strict=True))
        self._near = range(0)
        self._near_shift, self._near_mask, self._near_table = 0, 0, 0

    # -- one address

    def half(self, va: int) -> tuple[Layout, int]:
        """The layout and root that translate ``va``.

        :raises MmuError: none does
        """
        for layout, root in self.tables:
            if layout.covers(va):
                return layout, root
        raise MmuError(f"{va:#x} is not a canonical address: no table translates it")

    def find(self, va: int) -> Found:
        """The leaf for ``va`` as :func:`~unikiln.mmu.leaf.find_leaf` gives it.

        :raises MmuError: ``va`` is not canonical
        """
        layout, root = self.half(va)
        return find_leaf(self.memory, layout, root, va)

    def map_page(self, va: int, entry: int) -> int:
        """Make ``entry`` the page entry for ``va``; the index of its word. Barriers are the caller's.

        :raises MmuError: ``va`` is not canonical, or a block maps it
        """
        index = self._page_index(va)
        self.memory.store(index, entry)
        return index

    # -- ranges

    def map(self, va: int, pa: int, size: int, attributes: int, *, contiguous: bool = False) -> None:
        """Map ``size`` bytes with the largest leaves that fit; ``attributes``: their other bits.

        ``contiguous``: mark aligned runs of entries, so that one TLB entry can hold each.

        :raises MmuError: not whole pages, out of range, or something is mapped there (nothing is undone)
        """
        layout, root = self._range(va, size, pa)
        if attributes & layout.address_bits((1 << 52) - 1):
            raise MmuError(f"attributes {attributes:#x} have address bits of this layout")
        while size:
            step, index = self._place(layout, root, va, pa, size)
            room = min(size >> step.shift, step.mask + 1 - (va >> step.shift & step.mask))
            taken = np.flatnonzero(self.memory.words[index : index + room] & np.uint64(1))
            count = int(taken[0]) if len(taken) else room
            if not count:
                raise MmuError(f"something is mapped already at {va:#x}")
            bits = layout.attributes_for(step.level, attributes)
            entries = _entries(layout, step, va, pa, count, bits, contiguous)
            self.memory.scatter(np.arange(index, index + count), entries)
            done = count << step.shift
            va, pa, size = va + done, pa + done, size - done
        self.barriers.dsb()
        self.barriers.isb()

    def unmap(self, va: int, size: int) -> int:
        """Remove every mapping of the range; how many leaves went. Blocks that reach out of it are split.

        :raises MmuError: not aligned to pages, or out of range
        """
        return self._rewrite(va, size, lambda group: np.zeros_like(group.entry))

    def protect(self, va: int, size: int, attributes: int) -> int:
        """Give every mapping of the range new attribute bits (those of a page); how many leaves changed.

        Address, access flag, dirty state and software's bits stay.

        :raises MmuError: not aligned to pages, or out of range
        """
        layout, _ = self._range(va, size)
        masks = [layout.attributes_at(step.level) for step in layout.steps]
        values = [layout.attributes_for(step.level, attributes) for step in layout.steps]
        change = np.array(masks, dtype=np.uint64)
        new = np.array(values, dtype=np.uint64) & change

        def changed(group: Leaves) -> Words:
            at = layout.step_index(group.level)
            return group.entry & ~change[at] | new[at]

        return self._rewrite(va, size, changed)

    def leaves(self, start: int = 0, end: int = 1 << 64) -> Iterator[tuple[int, int, int, int]]:
        """Every leaf that begins in the range: its address, the index of its word, its level and value."""
        for layout, root in self.tables:
            for group in leaves(self.memory, layout, root, start, end):
                yield from zip(
                    group.va.tolist(),
                    (group.at >> np.uint64(3)).tolist(),
                    group.level.tolist(),
                    group.entry.tolist(),
                    strict=True,
                )

    def mappings(self, start: int = 0, end: int = 1 << 64, *, by_address: bool = False) -> Iterator[Run]:
        """The range's leaves as runs with equal attributes (see :func:`unikiln.mmu.runs.mappings`)."""
        for layout, root in self.tables:
            yield from mappings(self.memory, layout, root, start, end, by_address=by_address)

    # -- how

    def _range(self, va: int, size: int, pa: int = 0) -> tuple[Layout, int]:
        layout, root = self.half(va)
        if size <= 0 or (va | pa | size) & layout.page_size - 1:
            raise MmuError(f"{size:#x} bytes at {va:#x} are no whole pages of {layout.page_size} bytes")
        if va + size - 1 > layout.last_va:
            raise MmuError(f"{size:#x} bytes at {va:#x} reach past {layout.last_va:#x}")
        last = pa + size - layout.page_size
        if layout.output_address(layout.address_bits(last)) != last:
            raise MmuError(f"physical address {pa + size - 1:#x} does not fit into an entry")
        return layout, root

    def _rewrite(self, va: int, size: int, change: Callable[[Leaves], Words]) -> int:
        layout, root = self._range(va, size)
        self._split_at(layout, root, va)
        self._split_at(layout, root, va + size)
        changed = 0
        for group in leaves(self.memory, layout, root, va, va + size):
            new = change(group)
            differs = new != group.entry
            indices = (group.at[differs] >> np.uint64(3)).astype(np.int64)
            self._replace(layout, va, size, indices, group.entry[differs], new[differs])
            changed += len(indices)
        return changed

    def _replace(
        self, layout: Layout, va: int, size: int, indices: np.ndarray[tuple[int], np.dtype[np.int64]],
        old: Words, new: Words,
    ) -> None:  # fmt: skip
        """Write ``new`` over ``old``, by break-before-make if the difference needs it."""
        must_break = np.uint64(~layout.in_place & (1 << 64) - 1)
        if (((old ^ new) & must_break != 0) & (new != 0)).any():
            self.memory.scatter(indices, np.zeros_like(new))
            self._invalidate(va, size)
        self.memory.scatter(indices, new)
        self._invalidate(va, size)

    def _invalidate(self, va: int, size: int) -> None:
        self.barriers.dsb()
        self.barriers.tlbi(va, size)
        self.barriers.dsb()
        self.barriers.isb()

    def _split_at(self, layout: Layout, root: int, va: int) -> None:
        """See to it that no leaf and no contiguous run reaches across ``va``."""
        while va <= layout.last_va:
            index, level, entry = find_leaf(self.memory, layout, root, va)
            step = layout.step(level)
            length = layout.run_length(level) if entry & layout.contiguous else 1
            if not entry or not va & (length << step.shift) - 1:
                return
            if length > 1:
                self._end_run(layout, step, va, index & -length, length)
            else:
                self._split(layout, step, va & -(1 << step.shift), index, entry)

    def _end_run(self, layout: Layout, step: Step, va: int, first: int, length: int) -> None:
        indices = np.arange(first, first + length)
        old = self.memory.words[indices]
        new = old & np.uint64(~layout.contiguous & (1 << 64) - 1)
        self._replace(layout, va & -(length << step.shift), length << step.shift, indices, old, new)

    def _split(self, layout: Layout, step: Step, va: int, index: int, entry: int) -> None:
        """A table of smaller leaves in place of the block at ``index``."""
        below = layout.step_below(step)
        table, pa = self._allocate(), layout.output_address(entry) & -(1 << step.shift)
        rest = entry & ~layout.address_bits((1 << 52) - 1) & ~step.leaf_mask
        in_block, in_page = layout.moved
        if entry & in_block:
            rest |= in_page if below.level == layout.last_level else in_block
        count = below.mask + 1
        entries = _entries(layout, below, va, pa, count, rest, contiguous=False)
        self.memory.scatter(np.arange(table >> 3, (table >> 3) + count), entries)
        self.memory.store(index, 0)
        self._invalidate(va, 1 << step.shift)
        self.memory.store(index, layout.address_bits(table) | layout.table_bits)
        self.barriers.dsb()
        self.barriers.isb()

    def _place(self, layout: Layout, root: int, va: int, pa: int, size: int) -> tuple[Step, int]:
        """The highest level where a leaf fits and no table is in its place; the word for ``va`` there."""
        for step in layout.steps:
            if step.leaf_mask and size >> step.shift and not (va | pa) & (1 << step.shift) - 1:
                index = self._descend(layout, root, va, step.level)
                if self.memory.word[index] & step.table_mask != step.table_value:
                    return step, index
        raise AssertionError("a page always fits")

    def _page_index(self, va: int) -> int:
        if va not in self._near:
            layout, root = self.half(va)
            page = layout.steps[-1]
            size = page.mask + 1 << page.shift
            index = self._descend(layout, root, va, page.level)
            self._near = range(va & -size, (va & -size) + size)
            self._near_shift, self._near_mask = page.shift, page.mask
            self._near_table = index - (va >> page.shift & page.mask)
        return self._near_table + (va >> self._near_shift & self._near_mask)

    def _descend(self, layout: Layout, root: int, va: int, level: int) -> int:
        """Index of the word for ``va`` at ``level``; tables on the way are made."""
        memory, table = self.memory, root
        for step in layout.steps:
            index = (table >> 3) + (va >> step.shift & step.mask)
            if step.level == level:
                return index
            entry = memory.word[index]
            if not entry & 1:
                entry = layout.address_bits(self._allocate()) | layout.table_bits
                memory.store(index, entry)
            elif entry & step.table_mask != step.table_value:
                raise MmuError(f"a level-{step.level} block already maps {va:#x}")
            table = layout.output_address(entry)
        raise MmuError(f"there is no level {level}")


def _entries(
    layout: Layout, step: Step, va: int, pa: int, count: int, attributes: int, contiguous: bool
) -> Words:
    """``count`` leaves at ``step`` for consecutive addresses."""
    addresses = np.uint64(pa) + (np.arange(count, dtype=np.uint64) << np.uint64(step.shift))
    entries = layout.entries_for(addresses) | np.uint64(attributes | step.leaf_value)
    length = layout.run_length(step.level)
    run = length << step.shift
    if contiguous and length > 1 and not (va ^ pa) & run - 1:
        first = (-va & run - 1) >> step.shift
        last = first + max(0, count - first) // length * length
        entries[first:last] |= np.uint64(layout.contiguous)
    return entries
