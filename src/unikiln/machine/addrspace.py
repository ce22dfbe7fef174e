"""The program's address space: areas, the translation table that realises them, and demand paging."""

from __future__ import annotations

import errno

import numpy as np

from unikiln.machine.cpu import Cpu, NoCpu
from unikiln.machine.events import Errno
from unikiln.machine.memory import ZERO_FRAME, GuestMemory
from unikiln.machine.pagecache import PageCache
from unikiln.machine.vma import Vma, VmaMap
from unikiln.mmu.aarch64.descriptor import (
    AF,
    AP_READ_ONLY,
    OUTPUT_ADDRESS,
    SOFTWARE_COPY_ON_WRITE,
    SOFTWARE_DIRTY,
    user_page,
)
from unikiln.mmu.aarch64.layout import KERNEL_48, PAGE_MASK, PAGE_SIZE, USER_48
from unikiln.mmu.memory import Indices
from unikiln.mmu.table import PageTable

LOWEST = 0x10000
"""As ``vm.mmap_min_addr``: page zero stays unmapped, so null pointers fault."""
MMAP_TOP = 0xFFFF_F7FF_0000
STACK_TOP = 0xFFFF_FFFF_F000


class AddressSpace:
    """Pages appear when they are touched.

    Invariant: an entry allows stores only if it is dirty. A page is mapped read-only and clean by a read,
    and becomes writable by the permission fault of its first store, which also copies it if it is shared.
    """

    def __init__(self, memory: GuestMemory, cache: PageCache, cpu: Cpu | None = None) -> None:
        self.memory = memory
        self.cache = cache
        self.cpu: Cpu = cpu or NoCpu()
        self.table = PageTable(memory.tables, memory.allocate, (USER_48, KERNEL_48))
        self.areas = VmaMap()
        self._file_words: dict[int, None] = {}
        self._file_indices: Indices | None = None

    # -- areas

    def place(self, length: int, hint: int = 0) -> int:
        """Where ``length`` bytes are free: at ``hint`` if that is free, else as high as possible.

        :raises Errno: ENOMEM
        """
        if hint >= LOWEST and hint + length <= STACK_TOP and not self.areas.overlapping(hint, hint + length):
            return hint
        start = self.areas.gap_below(MMAP_TOP, length, LOWEST)
        if start is None:
            raise Errno(errno.ENOMEM)
        return start

    def add(self, area: Vma) -> None:
        """Put an area in place of whatever is there."""
        self.remove(area.start, area.end)
        self.areas.insert(area)

    def remove(self, start: int, end: int) -> None:
        """Unmap ``start``..``end``: areas, entries, frames."""
        if self.areas.remove(start, end):
            self._discard_pages(start, end)

    def discard(self, start: int, end: int) -> None:
        """Drop the pages but keep the areas: they fill anew (MADV_DONTNEED)."""
        self._discard_pages(start, end)

    def protect(self, start: int, end: int, prot: int) -> None:
        """Change the protection of every area in the range, and of the pages that are there."""
        for area in self.areas.remove(start, end):
            area.prot = prot
            self.areas.insert(area)
            for _, word, _, entry in self.table.leaves(area.start, area.end):
                self._rewrite(area, word, entry)
        self.cpu.invalidate_tlb()

    def move(self, start: int, length: int, to: int) -> None:
        """Move the areas of ``start``..``start + length`` and their pages to the free range at ``to``."""
        leaves = list(self.table.leaves(start, start + length))
        for area in self.areas.remove(start, start + length):
            self.areas.insert(
                Vma(area.start - start + to, area.end - start + to, area.prot, area.shared, area.node,
                    area.offset, area.name)
            )  # fmt: skip
        for va, word, _, entry in leaves:
            self.memory.tables.store(word, 0)
            is_file = self._forget_file_word(word)
            self._write(va - start + to, entry, is_file=is_file)
        self.cpu.invalidate_tlb()

    # -- demand paging

    def populate(self, area: Vma, va: int, *, write: bool) -> None:
        """Map the page of ``va``, for which there is no entry yet.

        :raises Errno: EFAULT, the page lies wholly past the end of its file (SIGBUS)
        """
        page = va & ~PAGE_MASK
        frame = self._frame_for(area, page)
        if not write:
            is_file = area.node is not None
            self._write(page, self._clean_entry(area, frame), is_file=is_file)
            return
        if frame == ZERO_FRAME:
            frame = self.memory.allocate()
        elif self.memory.references(frame) > 1:
            frame = self._private_copy(frame)
        self._write(page, self._dirty_entry(area, frame), is_file=False)

    def make_writable(self, area: Vma, va: int) -> None:
        """The first store to a page that is mapped read-only: copy it unless it is ours alone.

        A copy lies elsewhere, and a valid entry must not change its address: break before make.
        """
        index, _, entry = self.table.find(va)
        frame = old = entry & OUTPUT_ADDRESS
        if frame == ZERO_FRAME:
            frame = self.memory.allocate()
        elif self.memory.references(frame) > 1:
            frame = self._private_copy(frame)
        self._forget_file_word(index)
        new = self._dirty_entry(area, frame)
        if frame != old:
            self.memory.tables.store(index, 0)
            self.cpu.invalidate_page(va)
            self.memory.tables.store(index, new)
            self.cpu.synchronize()
        else:
            self.memory.tables.store(index, new)
            self.cpu.invalidate_page(va)

    # -- what the scanner looks at

    def file_entries(self) -> Indices:
        """Words of the entries that map pages of files."""
        if self._file_indices is None:
            self._file_indices = np.fromiter(self._file_words, np.int64, len(self._file_words))
        return self._file_indices

    def dirty_pages(self) -> int:
        """How many entries have the dirty state now."""
        return sum(1 for _, _, _, entry in self.table.leaves() if entry & SOFTWARE_DIRTY)

    # -- entries

    def _frame_for(self, area: Vma, page: int) -> int:
        if area.node is None:
            return self.memory.allocate() if area.shared else ZERO_FRAME
        offset = area.offset + page - area.start
        if offset >= area.node.size:
            raise Errno(errno.EFAULT)
        return self.cache.frame(area.node, offset // PAGE_SIZE)

    def _private_copy(self, frame: int) -> int:
        copy = self.memory.allocate()
        view = self.memory.bytes
        view[copy : copy + PAGE_SIZE] = view[frame : frame + PAGE_SIZE]
        self.memory.release(frame)
        return copy

    def _clean_entry(self, area: Vma, frame: int) -> int:
        self._note_code(area, frame)
        entry = user_page(
            frame, writable=False, executable=area.executable, dirty=False, readable=area.prot != 0
        )
        return entry | SOFTWARE_COPY_ON_WRITE if area.writable and not area.shared else entry

    def _dirty_entry(self, area: Vma, frame: int) -> int:
        self._note_code(area, frame)
        return user_page(frame, writable=True, executable=area.executable, dirty=True)

    def _note_code(self, area: Vma, frame: int) -> None:
        if area.executable:
            self.memory.executed.add(frame)

    def _rewrite(self, area: Vma, word: int, entry: int) -> None:
        """The entry again, for the area's new protection; frame, AF and dirty state stay."""
        frame = entry & OUTPUT_ADDRESS
        if area.executable and frame in self.memory.executed:
            self.cpu.forget_code()
        new = self._clean_entry(area, frame) & ~AF | entry & (AF | SOFTWARE_DIRTY)
        if area.writable and entry & SOFTWARE_DIRTY:
            new &= ~(AP_READ_ONLY | SOFTWARE_COPY_ON_WRITE)
        self.memory.tables.store(word, new)

    def _write(self, page: int, entry: int, *, is_file: bool) -> None:
        word = self.table.map_page(page, entry)
        if is_file:
            self._file_words[word] = None
            self._file_indices = None
        self.cpu.synchronize()

    def _forget_file_word(self, word: int) -> bool:
        if word not in self._file_words:
            return False
        del self._file_words[word]
        self._file_indices = None
        return True

    def _discard_pages(self, start: int, end: int) -> None:
        found = False
        for _, word, _, entry in self.table.leaves(start, end):
            found = True
            self.memory.tables.store(word, 0)
            self._forget_file_word(word)
            self.memory.release(entry & OUTPUT_ADDRESS)
        if found:
            self.cpu.invalidate_tlb()
