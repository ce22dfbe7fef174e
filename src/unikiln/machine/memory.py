"""Guest memory: one buffer that the host, the guest and the MMU model share, and its page frames."""

from __future__ import annotations

import ctypes
import mmap
from array import array
from collections.abc import Callable

import numpy as np

from unikiln.base.size import format_size
from unikiln.errors import GuestMemoryError
from unikiln.mmu.aarch64.layout import PAGE_SIZE
from unikiln.mmu.memory import TableMemory

ZERO_FRAME = 0
"""Frame 0 stays zero: every page that was only read maps it."""

SMALLEST = 1 << 20


class GuestMemory:
    """``size`` bytes of physical memory from address 0, handed out in reference-counted frames of 4 KiB.

    The host takes memory for a frame when it is first written, so a large ``size`` costs little.

    ``tables``: how changes of translation tables are made, or watched.

    :raises GuestMemoryError: too small to hold a machine, or the host has no such memory
    """

    def __init__(self, size: int, tables: type[TableMemory] = TableMemory) -> None:
        if size < SMALLEST:
            raise GuestMemoryError(
                f"{format_size(size)} of memory is not enough for a machine", hint="give --memory 16M or more"
            )
        self.size = size & -PAGE_SIZE
        try:
            self.buffer = mmap.mmap(-1, self.size)
        except OSError as error:
            raise GuestMemoryError(f"the host refuses {format_size(size)}: {error.strerror}") from error
        self.bytes = memoryview(self.buffer)
        self.tables = tables(np.frombuffer(self.buffer, dtype=np.uint64))
        self.executed: set[int] = set()
        self.reclaim: Callable[[], int] = lambda: 0
        self.forget_code: Callable[[], None] = lambda: None
        self._free: list[int] = []
        self._fresh = PAGE_SIZE
        self._references = array("I", bytes(4 * (self.size // PAGE_SIZE)))

    @property
    def host_address(self) -> int:
        """Where the buffer lies in the host's address space."""
        return ctypes.addressof(ctypes.c_char.from_buffer(self.buffer))

    @property
    def used(self) -> int:
        """Bytes in frames that are in use."""
        return self._fresh - len(self._free) * PAGE_SIZE

    def allocate(self) -> int:
        """The physical address of a zeroed frame with one reference.

        :raises GuestMemoryError: none is left, and nothing could be reclaimed
        """
        free = self._free
        if not free and self._fresh < self.size:
            frame = self._fresh
            self._fresh += PAGE_SIZE
        elif free or self.reclaim():
            frame = free.pop()
            self.bytes[frame : frame + PAGE_SIZE] = _ZEROS
            if frame in self.executed:
                self._retire_code(frame)
        else:
            raise GuestMemoryError(
                f"the guest needs more than its {format_size(self.size)} of memory",
                hint="give it more with --memory",
            )
        self._references[frame >> 12] = 1
        return frame

    def allocate_run(self, count: int) -> int | None:
        """``count`` zeroed frames in a row, if the part of memory that was never used still has them."""
        frame = self._fresh
        if frame + count * PAGE_SIZE > self.size:
            return None
        self._fresh += count * PAGE_SIZE
        for number in range(frame >> 12, (frame >> 12) + count):
            self._references[number] = 1
        return frame

    def hold(self, frame: int) -> None:
        """One more reference."""
        self._references[frame >> 12] += 1

    def release(self, frame: int) -> None:
        """One reference less; without any, the frame is free."""
        if frame == ZERO_FRAME:
            return
        self._references[frame >> 12] -= 1
        if not self._references[frame >> 12]:
            self._free.append(frame)

    def references(self, frame: int) -> int:
        """How many hold the frame."""
        return self._references[frame >> 12]

    def _retire_code(self, frame: int) -> None:
        """The frame gets other content: what was translated from it must not run again."""
        self.executed.discard(frame)
        self.forget_code()


_ZEROS = bytes(PAGE_SIZE)
