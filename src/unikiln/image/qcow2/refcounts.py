"""Reference counts of a qcow2 file: which of its clusters are in use, and taking one more.

A table of offsets, one a block; a block is a cluster of counts of 1 to 64 bits, most significant byte
first, and within a byte from the least significant bit (``docs/interop/qcow2.txt``).
"""

from __future__ import annotations

import struct

from unikiln.base.device import FileDevice
from unikiln.base.size import round_up
from unikiln.errors import ImageError, UnsupportedError
from unikiln.image.qcow2.header import Header

_WIDEST = 64
_OFFSET = 0xFFFFFFFFFFFFFE00


class Refcounts:
    """The counts of an open file that may be written."""

    def __init__(self, file: FileDevice, header: Header) -> None:
        self._file = file
        self._cluster = 1 << header.cluster_bits
        self._bits = header.refcount_bits
        self._table_at = header.refcount_offset
        self._table_entries = header.refcount_clusters * self._cluster // 8
        self._per_block = self._cluster * 8 // header.refcount_bits
        if header.refcount_bits > _WIDEST or header.refcount_offset % self._cluster:
            raise ImageError(f"{file.name}: the qcow2 header tells of no usable reference counts")

    def take(self) -> int:
        """Offset of a new cluster of zeros at the end of the file, counted once."""
        number = self._free()
        self._extend_to(number + 1)
        self._set(number, 1)
        return number * self._cluster

    def _free(self) -> int:
        """The first cluster behind the file's end that nothing counts."""
        number = round_up(self._file.size, self._cluster) // self._cluster
        while self._get(number):
            number += 1
        return number

    def _extend_to(self, clusters: int) -> None:
        if self._file.size < clusters * self._cluster:
            self._file.truncate(clusters * self._cluster)

    def _get(self, cluster: int) -> int:
        block = self._block(cluster)
        if not block:
            return 0
        at, shift = self._place(cluster)
        return self._load(block + at) >> shift & (1 << self._bits) - 1

    def _set(self, cluster: int, count: int) -> None:
        block = self._block(cluster) or self._new_block(cluster)
        at, shift = self._place(cluster)
        mask = (1 << self._bits) - 1 << shift
        value = self._load(block + at) & ~mask | count << shift
        self._file.write_at(block + at, value.to_bytes(max(self._bits // 8, 1), "big"))

    def _place(self, cluster: int) -> tuple[int, int]:
        """Byte within the block, and bits by which the count is shifted there."""
        bit = cluster % self._per_block * self._bits
        return bit // 8, bit % 8

    def _load(self, offset: int) -> int:
        return int.from_bytes(self._file.read_at(offset, max(self._bits // 8, 1)), "big")

    def _block(self, cluster: int) -> int:
        """Offset of the block with the count of ``cluster``; 0 if there is none yet."""
        index = cluster // self._per_block
        if index >= self._table_entries:
            raise UnsupportedError(
                f"{self._file.name}: its table of reference counts is full",
                hint="qemu-img convert makes a copy with a larger one",
            )
        (entry,) = struct.unpack(">Q", self._file.read_at(self._table_at + index * 8, 8))
        block: int = entry & _OFFSET
        if block % self._cluster or block >= self._file.size:
            raise ImageError(f"{self._file.name}: a block of reference counts at byte {block:#x}")
        return block

    def _new_block(self, cluster: int) -> int:
        """A block for the counts around ``cluster``, behind it; it counts itself if it can."""
        number, index = cluster + 1, cluster // self._per_block
        while number // self._per_block != index and self._get(number):
            number += 1
        self._extend_to(number + 1)
        if number // self._per_block == index:
            at, shift = self._place(number)
            self._file.write_at(
                number * self._cluster + at, (1 << shift).to_bytes(max(self._bits // 8, 1), "big")
            )
        self._file.write_at(self._table_at + index * 8, struct.pack(">Q", number * self._cluster))
        if number // self._per_block != index:
            self._set(number, 1)
        return number * self._cluster
