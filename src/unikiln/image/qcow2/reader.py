"""Reading a qcow2 image: guest offset to level 1, level 2, cluster; or to the backing file."""

from __future__ import annotations

import importlib
import io
import zlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from unikiln.base.device import BlockDevice, Buffer, FileDevice, check_range
from unikiln.errors import ImageError, UnsupportedError
from unikiln.image.qcow2 import header

_OFFSET = 0x00FFFFFFFFFFFE00
_COMPRESSED = 1 << 62
_ZERO = 1
_L2_TABLES_KEPT = 64
_CLUSTERS_KEPT = 16

Table = npt.NDArray[np.uint64]
Value = TypeVar("Value")


class Qcow2Reader:
    """The virtual disk of a qcow2 file, to be read.

    :param open_backing: opens the backing file by the name and format that the header gives
    """

    def __init__(
        self, file: FileDevice, open_backing: Callable[[str, str | None], BlockDevice] | None = None
    ) -> None:
        self.name = file.name
        self._file = file
        self._header = header.decode(file.read_at(0, min(file.size, 1 << 16)), file.name)
        self._cluster = 1 << self._header.cluster_bits
        self._l1 = self._table(self._header.l1_offset, self._header.l1_entries)
        self._l2 = _Recent[Table](_L2_TABLES_KEPT)
        self._inflated = _Recent[bytes](_CLUSTERS_KEPT)
        self._backing = self._open_backing(open_backing)

    @property
    def size(self) -> int:
        """Size of the virtual disk in bytes."""
        return self._header.size

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset`` of the virtual disk."""
        check_range(self, offset, length)
        pieces = []
        end = offset + length
        while offset < end:
            within = offset & (self._cluster - 1)
            count = min(self._cluster - within, end - offset)
            pieces.append(self._read_cluster(offset, within, count))
            offset += count
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def write_at(self, offset: int, data: Buffer) -> None:
        """Refuse.

        :raises ImageError: always
        """
        raise ImageError(f"{self.name}: opened for reading only")

    def flush(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Close the file, and the backing file."""
        self._file.close()
        if self._backing is not None:
            self._backing.close()

    def _open_backing(self, opener: Callable[[str, str | None], BlockDevice] | None) -> BlockDevice | None:
        backing = self._header.backing_file
        if backing is None:
            return None
        if opener is None:
            raise UnsupportedError(f"{self.name}: needs its backing file {backing!r}")
        return opener(backing, self._header.backing_format)

    def _read_cluster(self, offset: int, within: int, count: int) -> bytes:
        entry = self._l2_entry(offset)
        if entry & _COMPRESSED:
            return self._inflate(entry)[within : within + count]
        if self._header.version >= 3 and entry & _ZERO:
            return bytes(count)
        host = entry & _OFFSET
        if not host:
            return self._read_backing(offset, count)
        self._check_aligned(host)
        return self._read_host(host + within, count)

    def _l2_entry(self, offset: int) -> int:
        index = offset >> self._header.cluster_bits
        entries = self._cluster // 8
        table_at = int(self._l1[index // entries]) & _OFFSET
        if not table_at:
            return 0
        table = self._l2.get(table_at, lambda: self._table(table_at, entries))
        return int(table[index % entries])

    def _table(self, offset: int, entries: int) -> Table:
        self._check_aligned(offset)
        return np.frombuffer(self._file.read_at(offset, entries * 8), dtype=">u8").astype(np.uint64)

    def _check_aligned(self, offset: int) -> None:
        if offset & (self._cluster - 1):
            raise ImageError(f"{self.name}: points at byte {offset:#x}, which is not a cluster's start")

    def _read_host(self, offset: int, count: int) -> bytes:
        """Bytes of the file; its last cluster may be cut short, and then ends in zeros."""
        present = self._file.size - offset
        if 0 <= present < count and self._file.size % self._cluster:
            return self._file.read_at(offset, present) + bytes(count - present)
        return self._file.read_at(offset, count)

    def _read_backing(self, offset: int, count: int) -> bytes:
        if self._backing is None:
            return bytes(count)
        present = max(0, min(count, self._backing.size - offset))
        return self._backing.read_at(offset, present) + bytes(count - present) if present else bytes(count)

    def _inflate(self, entry: int) -> bytes:
        """The cluster of a compressed entry: an offset in bytes, and how many more sectors it touches."""
        split = 62 - (self._header.cluster_bits - 8)
        offset = entry & ((1 << split) - 1)
        sectors = (entry & (_COMPRESSED - 1)) >> split
        length = min((sectors + 1) * 512 - offset % 512, max(0, self._file.size - offset))
        return self._inflated.get(entry, lambda: self._decompress(self._file.read_at(offset, length), offset))

    def _decompress(self, data: bytes, offset: int) -> bytes:
        inflate = _inflate_zstd if self._header.compression == header.ZSTD else _inflate_raw
        try:
            cluster = inflate(data, self._cluster)
        except (zlib.error, EOFError, OSError, ValueError) as error:
            raise ImageError(
                f"{self.name}: the compressed cluster at {offset:#x} is damaged: {error}"
            ) from error
        if len(cluster) != self._cluster:
            raise ImageError(f"{self.name}: the compressed cluster at {offset:#x} is cut short")
        return cluster


def _inflate_raw(data: bytes, size: int) -> bytes:
    return zlib.decompressobj(-15).decompress(data, size)


def _inflate_zstd(data: bytes, size: int) -> bytes:
    try:
        zstandard: Any = importlib.import_module("zstandard")
    except ImportError:
        raise UnsupportedError(
            "a qcow2 image with zstd clusters needs the Python package 'zstandard'",
            hint="install it, or convert the image with qemu-img convert",
        ) from None
    try:
        with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)) as stream:
            return bytes(stream.read(size))
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error


class _Recent(Generic[Value]):
    """The last few values by key."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[int, Value] = OrderedDict()

    def get(self, key: int, make: Callable[[], Value]) -> Value:
        """The value of ``key``, made if it is not among the last."""
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        value = self._values[key] = make()
        if len(self._values) > self._most:
            self._values.popitem(last=False)
        return value
