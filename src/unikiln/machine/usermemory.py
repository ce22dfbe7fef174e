"""How system calls read and write the program's memory: by pages, through its translation table.

A page that is not there is brought in by the same ``page_fault`` as for the program, with the syndrome
of an abort from the kernel's own level; a bad address fails the call with EFAULT.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from unikiln.machine.addrspace import AddressSpace
from unikiln.machine.counters import Counters
from unikiln.machine.events import EFAULT, GuestSignal
from unikiln.machine.pagefault import ExceptionFrame, page_fault
from unikiln.mmu.aarch64.descriptor import OUTPUT_ADDRESS
from unikiln.mmu.aarch64.el0 import CHECKS, fault_status
from unikiln.mmu.aarch64.layout import PAGE_MASK, PAGE_SIZE, VA_BITS
from unikiln.mmu.aarch64.syndrome import EC_DATA_ABORT_SAME, encode_abort
from unikiln.mmu.leaf import find_leaf
from unikiln.mmu.request import Access

LONGEST_STRING = 4096
"""PATH_MAX: no string that the kernel takes is longer."""


class UserMemory:
    """Reads and writes at virtual addresses; every method raises EFAULT for a bad one."""

    def __init__(self, space: AddressSpace, counters: Counters) -> None:
        self.space = space
        self._counters = counters
        self._bytes = space.memory.bytes

    def read(self, va: int, length: int) -> bytes:
        """``length`` bytes."""
        if (va & PAGE_MASK) + length <= PAGE_SIZE:
            pa = self._translate(va, Access.READ) if length else 0
            return bytes(self._bytes[pa : pa + length])
        return b"".join(
            bytes(self._bytes[pa : pa + size]) for pa, size in self._runs(va, length, Access.READ)
        )

    def write(self, va: int, data: bytes | memoryview) -> None:
        """Store ``data``."""
        done = 0
        view = memoryview(data)
        for pa, size in self._runs(va, len(view), Access.WRITE):
            self._bytes[pa : pa + size] = view[done : done + size]
            done += size

    def string(self, va: int, limit: int = LONGEST_STRING) -> bytes:
        """The bytes before the next NUL.

        :raises Errno: also EFAULT if there is none within ``limit``
        """
        parts: list[bytes] = []
        while limit > 0:
            size = min(PAGE_SIZE - (va & PAGE_MASK), limit)
            part, nul, _ = self.read(va, size).partition(b"\0")
            parts.append(part)
            if nul:
                return b"".join(parts)
            va, limit = va + size, limit - size
        raise EFAULT

    def strings(self, va: int) -> list[bytes]:
        """The strings of a NULL-terminated array of pointers."""
        found = []
        while va and (pointer := self.u64(va)):
            found.append(self.string(pointer, 128 << 10))
            va += 8
        return found

    def u64(self, va: int) -> int:
        """One 64-bit word."""
        return int.from_bytes(self.read(va, 8), "little")

    def unpack(self, layout: str, va: int) -> tuple[Any, ...]:
        """A record of little-endian fields (``struct`` letters)."""
        return struct.unpack("<" + layout, self.read(va, struct.calcsize("<" + layout)))

    def pack(self, layout: str, va: int, *values: Any) -> None:  # noqa: ANN401
        """Store a record."""
        self.write(va, struct.pack("<" + layout, *values))

    def check_writable(self, va: int, length: int) -> None:
        """Bring in every page of a buffer that is about to be filled."""
        for _ in self._runs(va, length, Access.WRITE):
            pass

    def _runs(self, va: int, length: int, access: Access) -> Iterator[tuple[int, int]]:
        while length > 0:
            size = min(PAGE_SIZE - (va & PAGE_MASK), length)
            yield self._translate(va, access), size
            va += size
            length -= size

    def _translate(self, va: int, access: Access) -> int:
        space = self.space
        layout, root = space.table.tables[0]
        if va >> VA_BITS:
            raise EFAULT
        mask, wanted = CHECKS[access]
        while True:
            index, level, entry = find_leaf(space.memory.tables, layout, root, va)
            if entry & mask == wanted:
                offset = layout.size(level) - 1 & va
                return (entry & OUTPUT_ADDRESS) + offset
            self._fault(va, access, fault_status(entry, index, level))

    def _fault(self, va: int, access: Access, status: int) -> None:
        self._counters.kernel_faults += 1
        esr = encode_abort(EC_DATA_ABORT_SAME, status, wnr=access is Access.WRITE)
        try:
            page_fault(self.space, self._counters, ExceptionFrame(self.space, esr, va & ~PAGE_MASK))
        except GuestSignal as signal:
            raise EFAULT from signal
