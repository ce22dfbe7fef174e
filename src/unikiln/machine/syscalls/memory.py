"""The address space: mapping, protecting, the heap."""

from __future__ import annotations

import errno

from unikiln.base.size import round_up
from unikiln.machine.addrspace import LOWEST, STACK_TOP
from unikiln.machine.events import Errno
from unikiln.machine.process import Process
from unikiln.machine.syscalls.table import descriptor, signed, system_call
from unikiln.machine.vfs.node import Node
from unikiln.machine.vma import PROT_READ, PROT_WRITE, Vma
from unikiln.mmu.aarch64.layout import PAGE_MASK, PAGE_SIZE

MAP_SHARED, MAP_PRIVATE, MAP_TYPE, MAP_FIXED, MAP_ANONYMOUS = 1, 2, 0xF, 0x10, 0x20
MAP_POPULATE, MAP_FIXED_NOREPLACE = 0x8000, 0x100000
MADV_DONTNEED, MADV_FREE = 4, 8
MREMAP_MAYMOVE, MREMAP_FIXED = 1, 2
LARGEST_HEAP = 1 << 36


def _range(start: int, length: int) -> tuple[int, int]:
    """First and last address of a page-aligned range.

    :raises Errno: EINVAL, ENOMEM
    """
    if start & PAGE_MASK:
        raise Errno(errno.EINVAL)
    end = start + round_up(length, PAGE_SIZE)
    if end > STACK_TOP:
        raise Errno(errno.ENOMEM)
    return start, end


@system_call(222)
def mmap(process: Process, hint: int, length: int, prot: int, flags: int, fd: int, offset: int) -> int:
    """``mmap``. A shared writable mapping of a file is refused: the image is read-only (EACCES)."""
    if not length or offset & PAGE_MASK or flags & MAP_TYPE not in (MAP_SHARED, MAP_PRIVATE, 3):
        raise Errno(errno.EINVAL)
    shared = flags & MAP_TYPE != MAP_PRIVATE
    node, name = _backing(process, prot, flags, shared, fd)
    size = round_up(length, PAGE_SIZE)
    start = _where(process, hint, size, flags)
    area = Vma(start, start + size, prot & 7, shared, node, offset if node else 0, name)
    process.space.add(area)
    if flags & MAP_POPULATE:
        _populate(process, area)
    return start


def _backing(process: Process, prot: int, flags: int, shared: bool, fd: int) -> tuple[Node | None, str]:
    if flags & MAP_ANONYMOUS:
        return None, ""
    file = process.files.file(descriptor(fd))
    if not file.node.is_regular:
        raise Errno(errno.ENODEV)
    if file.flags & 3 == 1 or (shared and prot & PROT_WRITE):
        raise Errno(errno.EACCES)
    return file.node, file.place.path.decode(errors="replace") if file.place else ""


def _where(process: Process, hint: int, size: int, flags: int) -> int:
    if not flags & (MAP_FIXED | MAP_FIXED_NOREPLACE):
        return process.space.place(size, hint & ~PAGE_MASK)
    start, end = _range(hint, size)
    if start < LOWEST:
        raise Errno(errno.EPERM)
    if flags & MAP_FIXED_NOREPLACE and process.space.areas.overlapping(start, end):
        raise Errno(errno.EEXIST)
    return start


def _populate(process: Process, area: Vma) -> None:
    last = area.end if area.node is None else min(area.end, area.start + area.node.size - area.offset)
    for page in range(area.start, last, PAGE_SIZE):
        process.space.populate(area, page, write=area.writable)


@system_call(215)
def munmap(process: Process, start: int, length: int) -> int:
    """``munmap``."""
    if not length:
        raise Errno(errno.EINVAL)
    process.space.remove(*_range(start, length))
    return 0


@system_call(226)
def mprotect(process: Process, start: int, length: int, prot: int) -> int:
    """``mprotect``."""
    start, end = _range(start, length)
    if start == end:
        return 0
    areas = process.space.areas.overlapping(start, end)
    if sum(min(each.end, end) - max(each.start, start) for each in areas) != end - start:
        raise Errno(errno.ENOMEM)
    if prot & PROT_WRITE and any(each.shared and each.node for each in areas):
        raise Errno(errno.EACCES)
    process.space.protect(start, end, prot & 7)
    return 0


@system_call(214)
def brk(process: Process, wanted: int) -> int:
    """``brk``: the end of the heap, unchanged when ``wanted`` cannot be had."""
    old, new = round_up(process.heap_end, PAGE_SIZE), round_up(wanted, PAGE_SIZE)
    if wanted < process.heap_start or wanted - process.heap_start > LARGEST_HEAP:
        return process.heap_end
    if new > old:
        if process.space.areas.overlapping(old, new):
            return process.heap_end
        process.space.add(Vma(old, new, PROT_READ | PROT_WRITE, name="[heap]"))
    elif new < old:
        process.space.remove(new, old)
    process.heap_end = wanted
    return wanted


@system_call(216)
def mremap(process: Process, start: int, old: int, new: int, flags: int) -> int:
    """``mremap``, without MREMAP_FIXED."""
    start, end = _range(start, old)
    size = round_up(new, PAGE_SIZE)
    area = process.space.areas.find(start)
    if not size or flags & ~MREMAP_MAYMOVE:
        raise Errno(errno.EINVAL)
    if area is None or area.end < end:
        raise Errno(errno.EFAULT)
    if start + size <= end:
        process.space.remove(start + size, end)
        return start
    if _grow(process, area, start, end, size):
        return start
    if not flags & MREMAP_MAYMOVE:
        raise Errno(errno.ENOMEM)
    to = process.space.place(size)
    process.space.move(start, end - start, to)
    moved = process.space.areas.find(to)
    assert moved is not None
    _grow(process, moved, to, to + end - start, size)
    return to


def _grow(process: Process, area: Vma, start: int, end: int, size: int) -> bool:
    if area.end != end or process.space.areas.overlapping(end, start + size):
        return False
    area.end = start + size
    return True


@system_call(233)
def madvise(process: Process, start: int, length: int, advice: int) -> int:
    """``madvise``: MADV_DONTNEED drops the pages of private memory, the rest is taken note of."""
    start, end = _range(start, length)
    if advice == MADV_DONTNEED:
        process.space.discard(start, end)
    return 0


@system_call(227)
def msync(process: Process, start: int, length: int, flags: int) -> int:
    """``msync``: no mapping of a file is ever dirty on its behalf."""
    _range(start, length)
    return 0


@system_call(228)
def mlock(process: Process, start: int, length: int) -> int:
    """``mlock``: nothing is paged out."""
    return 0


@system_call(229)
def munlock(process: Process, start: int, length: int) -> int:
    """``munlock``."""
    return 0


@system_call(232)
def mincore(process: Process, start: int, length: int, va: int) -> int:
    """``mincore``: which pages have an entry."""
    start, end = _range(start, length)
    pages = bytearray((end - start) // PAGE_SIZE)
    for leaf in process.space.table.mappings(start, end):
        pages[signed(leaf.va - start) // PAGE_SIZE] = 1
    process.user.write(va, bytes(pages))
    return 0
