"""A pair of translation tables that can be changed: map, unmap, find, enumerate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from unikiln.errors import MmuError
from unikiln.mmu.aarch64.descriptor import LEAF, OUTPUT_ADDRESS, TABLE_OR_PAGE, DescriptorKind, kind_of
from unikiln.mmu.aarch64.granule import GRANULE_4K, LAST_LEVEL, Granule
from unikiln.mmu.aarch64.walk import Found, Roots, find_leaf
from unikiln.mmu.memory import TableMemory


class Mapping(NamedTuple):
    """A leaf entry: the first address it maps, the index of its word, its level and value."""

    va: int
    word: int
    level: int
    entry: int


class PageTable:
    """Tables in ``memory``, of frames that ``allocate`` gives (physical addresses of zeroed granules).

    Tables are not given back one by one: they go with the memory. The last level-3 table that was used is
    remembered, because consecutive pages share it.
    """

    def __init__(
        self, memory: TableMemory, allocate: Callable[[], int], granule: Granule = GRANULE_4K
    ) -> None:
        self.memory = memory
        self.granule = granule
        self._allocate = allocate
        self.roots = Roots(ttbr0=allocate(), ttbr1=allocate())
        self._near_region, self._near_table = -1, 0
        self._region_shift = granule.steps[-2][1]

    def find(self, va: int) -> Found:
        """The leaf for ``va`` as :func:`~unikiln.mmu.aarch64.walk.find_leaf` gives it."""
        return find_leaf(self.memory, self._root(va), va, self.granule)

    def map_page(self, va: int, entry: int) -> int:
        """Make ``entry`` the page entry for ``va``; the index of its word.

        :raises MmuError: ``va`` is not canonical, or a block maps it
        """
        index = self._page_index(va)
        self.memory.word[index] = entry
        return index

    def map_block(self, va: int, entry: int, level: int) -> int:
        """Make ``entry`` (without its low two bits) a block at ``level``; the index of its word.

        :raises MmuError: the level has no blocks, an address is not aligned, or a table is in the way
        """
        size = self.granule.size(level)
        if level not in self.granule.block_levels or (va | entry & OUTPUT_ADDRESS) & size - 1:
            raise MmuError(f"no block of level {level} can map {va:#x} to {entry & OUTPUT_ADDRESS:#x}")
        index = self._descend(va, level)
        if kind_of(self.memory.word[index], level, self.granule) is DescriptorKind.TABLE:
            raise MmuError(f"a level-{level + 1} table already maps pages around {va:#x}")
        self.memory.word[index] = entry & ~TABLE_OR_PAGE | 1
        return index

    def unmap(self, va: int) -> int:
        """Make the leaf for ``va`` invalid; what it was, 0 if there was none."""
        index, _, entry = self.find(va)
        if entry:
            self.memory.word[index] = 0
        return entry

    def mappings(self, start: int = 0, end: int = 1 << 64) -> Iterator[Mapping]:
        """Every leaf that begins in ``start``..``end``, by address; absent tables are skipped whole."""
        for root, base in ((self.roots.ttbr0, 0), (self.roots.ttbr1, 0xFFFF << 48)):
            yield from self._leaves(root, self.granule.first_level, base, start, end)

    def _leaves(self, table: int, level: int, base: int, start: int, end: int) -> Iterator[Mapping]:
        size = self.granule.size(level)
        count = self.granule.index_mask + 1
        first = min(max(0, (start - base) // size), count)
        last = min(max(0, -(-(end - base) // size)), count)
        at = (table >> 3) + first
        for index, entry in enumerate(self.memory.word[at : (table >> 3) + last].tolist(), at):
            if not entry & 1:
                continue
            va = base + (index - (table >> 3)) * size
            if level < LAST_LEVEL and entry & TABLE_OR_PAGE:
                yield from self._leaves(entry & OUTPUT_ADDRESS, level + 1, va, start, end)
            elif va >= start:
                yield Mapping(va, index, level, entry)

    def _root(self, va: int) -> int:
        root = self.roots.of(va)
        if root is None:
            raise MmuError(f"{va:#x} is not a canonical address: bits 63 to 48 differ")
        return root

    def _page_index(self, va: int) -> int:
        region = va >> self._region_shift
        if region != self._near_region:
            index = self._descend(va, LAST_LEVEL)
            self._near_region, self._near_table = region, index & ~self.granule.index_mask
        return self._near_table + (va >> self.granule.shift & self.granule.index_mask)

    def _descend(self, va: int, level: int) -> int:
        """Index of the word for ``va`` at ``level``; tables on the way are made."""
        word, table = self.memory.word, self._root(va)
        for step, shift in self.granule.steps:
            index = (table >> 3) + (va >> shift & self.granule.index_mask)
            if step == level:
                return index
            entry = word[index]
            if not entry & 1:
                entry = word[index] = self._allocate() | LEAF
            elif not entry & TABLE_OR_PAGE:
                raise MmuError(f"a level-{step} block already maps {va:#x}")
            table = entry & OUTPUT_ADDRESS
        raise MmuError(f"there is no level {level}")
