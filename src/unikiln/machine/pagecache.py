"""Frames that hold pages of files, shared by every mapping of them."""

from __future__ import annotations

from unikiln.machine.memory import GuestMemory
from unikiln.machine.vfs.node import Node
from unikiln.mmu.aarch64.layout import PAGE_SIZE

READ_AROUND = 32
"""Pages read at once: 128 KiB, the usual record of a ZFS file, which is decompressed whole anyway."""


class PageCache:
    """By (file, page number); holds one reference to each frame, mappings hold their own."""

    def __init__(self, memory: GuestMemory) -> None:
        self._memory = memory
        self._frames: dict[tuple[int, int], int] = {}
        self.bytes_read = 0
        memory.reclaim = self.reclaim

    def __len__(self) -> int:
        return len(self._frames)

    def frame(self, node: Node, page: int) -> int:
        """The frame with ``page`` of ``node``, with a reference for the caller; past the end it is zero."""
        if not node.immutable:
            return self._read_single(node, page)
        frame = self._frames.get((node.number, page))
        if frame is None:
            frame = self._read(node, page)
        self._memory.hold(frame)
        return frame

    def reclaim(self) -> int:
        """Give back the frames that nothing maps; how many."""
        idle = [key for key, frame in self._frames.items() if self._memory.references(frame) == 1]
        for key in idle:
            self._memory.release(self._frames.pop(key))
        return len(idle)

    def _read(self, node: Node, page: int) -> int:
        first = page - page % READ_AROUND
        last = min(first + READ_AROUND, -(-node.size // PAGE_SIZE))
        run = self._memory.allocate_run(last - first) if last > page else None
        if run is None:
            frame = self._frames[node.number, page] = self._read_single(node, page)
            return frame
        self._fill(run, node.read(first * PAGE_SIZE, (last - first) * PAGE_SIZE))
        for number in range(first, last):
            self._keep(node, number, run + (number - first) * PAGE_SIZE)
        return self._frames[node.number, page]

    def _keep(self, node: Node, page: int, frame: int) -> None:
        if self._frames.setdefault((node.number, page), frame) != frame:
            self._memory.release(frame)

    def _read_single(self, node: Node, page: int) -> int:
        frame = self._memory.allocate()
        self._fill(frame, node.read(page * PAGE_SIZE, PAGE_SIZE))
        return frame

    def _fill(self, frame: int, data: bytes) -> None:
        self._memory.bytes[frame : frame + len(data)] = data
        self.bytes_read += len(data)
