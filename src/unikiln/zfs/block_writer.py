"""The write half of the pipeline: compress, checksum, allocate, write, and point to what was written.

Encoding a block is pure and holds no lock, so threads do it; placing it gives it an address, which
happens in one thread and in one order, so that the same input gives the same image.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from unikiln.base.device import BlockDevice
from unikiln.zfs.alloc import Allocator
from unikiln.zfs.codec.checksum import Words4, fletcher_4
from unikiln.zfs.codec.compression import lz4_compress
from unikiln.zfs.format import blkptr, label
from unikiln.zfs.format.blkptr import EMBEDDED_MAX, BlockPointer, Checksum, Compression
from unikiln.zfs.format.dmu import is_metadata

_STREAM = 1 << 20
"""Bytes gathered before they are written, a stream for each copy."""


@dataclass(slots=True)
class Usage:
    """Space that an object or a dataset takes: bytes allocated, compressed, and before compression."""

    used: int = 0
    compressed: int = 0
    uncompressed: int = 0

    def add(self, other: Usage) -> None:
        """Count ``other`` too."""
        self.used += other.used
        self.compressed += other.compressed
        self.uncompressed += other.uncompressed


@dataclass(slots=True, frozen=True)
class Policy:
    """How blocks are encoded; ``embed`` allows embedded block pointers (feature ``embedded_data``)."""

    compress: bool
    ashift: int
    embed: bool = False


@dataclass(slots=True, frozen=True)
class Encoded:
    """A block ready to be placed: its bytes (compressed, padded) and what its pointer says of them."""

    data: bytes
    lsize: int
    compression: int
    checksum: Words4
    embedded: bool = False


@lru_cache(maxsize=32)
def _zeros(size: int) -> bytes:
    return bytes(size)


def encode(data: bytes, policy: Policy) -> Encoded | None:
    """The block ``data`` compressed if that saves an eighth and a sector; None for zeros, a hole.

    As ``zio_write_compress`` does: a compressed block is padded to whole sectors, an embedded one not.
    """
    size = len(data)
    if data == _zeros(size):
        return None
    if policy.compress:
        packed = lz4_compress(data)
        if policy.embed and len(packed) <= EMBEDDED_MAX:
            return Encoded(packed, size, Compression.LZ4, (0, 0, 0, 0), embedded=True)
        psize = -(-len(packed) >> policy.ashift) << policy.ashift
        if len(packed) <= size - (size >> 3) and psize < size:
            packed = packed.ljust(psize, b"\0")
            return Encoded(packed, size, Compression.LZ4, fletcher_4(packed))
    return encode_plain(data)


def encode_plain(data: bytes) -> Encoded:
    """The block as it is, zeros or not."""
    return Encoded(data, len(data), Compression.OFF, fletcher_4(data))


class BlockWriter:
    """Places encoded blocks on a device that holds one vdev, all born in transaction group ``txg``."""

    def __init__(self, device: BlockDevice, allocator: Allocator, txg: int) -> None:
        self.device = device
        self.allocator = allocator
        self.txg = txg
        self._streams = [_Stream(device) for _ in range(3)]

    def place(
        self, block: Encoded, kind: int, usage: Usage, *, level: int = 0, fill: int = 1, copies: int = 1
    ) -> bytes:
        """Write ``copies`` copies and give the packed block pointer; ``usage`` counts them.

        :raises NoSpaceError: the pool is full
        """
        if block.embedded:
            usage.uncompressed += block.lsize
            return self._embedded(block, kind)
        offsets = self.reserve(len(block.data), copies)
        data = block.data.ljust(self.allocator.asize(len(block.data)), b"\0")
        for stream, offset in zip(self._streams, offsets, strict=False):
            stream.write(label.START + offset, data)
        return self.point(block, kind, usage, offsets, level=level, fill=fill)

    def _embedded(self, block: Encoded, kind: int) -> bytes:
        return blkptr.pack(
            BlockPointer(
                (),
                lsize=block.lsize,
                psize=len(block.data),
                compression=block.compression,
                checksum_type=Checksum.OFF,
                type=kind,
                level=0,
                birth=self.txg,
                fill=1,
                payload=block.data,
            )
        )

    def reserve(self, size: int, copies: int) -> list[int]:
        """Offsets for a block of ``size`` bytes whose content is not known yet."""
        asize = self.allocator.asize(size)
        return [self.allocator.allocate(asize, copy) for copy in range(copies)]

    def write_reserved(
        self, block: Encoded, kind: int, offsets: list[int], *, level: int = 0, fill: int = 1
    ) -> bytes:
        """Write a block where :meth:`reserve` put it, and give its pointer."""
        for offset in offsets:
            self.device.write_at(label.START + offset, block.data)
        return self.point(block, kind, Usage(), offsets, level=level, fill=fill)

    def point(
        self, block: Encoded, kind: int, usage: Usage, offsets: list[int], *, level: int, fill: int
    ) -> bytes:
        """The packed pointer to copies of ``block`` at ``offsets``."""
        asize = self.allocator.asize(len(block.data))
        usage.used += asize * len(offsets)
        usage.compressed += len(block.data)
        metadata = level > 0 or is_metadata(kind)
        usage.uncompressed += len(block.data) if metadata else block.lsize
        return blkptr.pack_plain(
            offsets,
            asize,
            block.lsize,
            len(block.data),
            block.compression,
            kind,
            level,
            self.txg,
            fill,
            block.checksum,
        )

    def flush(self) -> None:
        """Write what is still gathered."""
        for stream in self._streams:
            stream.flush()


class _Stream:
    """Gathers writes that follow one another into large ones."""

    def __init__(self, device: BlockDevice) -> None:
        self._device = device
        self._pieces: list[bytes] = []
        self._start = self._end = 0

    def write(self, offset: int, data: bytes) -> None:
        if offset != self._end or self._end - self._start >= _STREAM:
            self.flush()
            self._start = self._end = offset
        self._pieces.append(data)
        self._end += len(data)

    def flush(self) -> None:
        if self._pieces:
            self._device.write_at(self._start, b"".join(self._pieces))
            self._pieces = []
            self._start = self._end
