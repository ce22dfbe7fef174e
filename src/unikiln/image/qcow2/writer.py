"""Writing a qcow2 image: data clusters as they come, all tables behind them at the end.

A cluster that is only ever written with zeros takes no space. In memory are 8 bytes for each 64 KiB
of data, so 128 KiB for a gigabyte.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count

import numpy as np
import numpy.typing as npt

from unikiln.base.device import Buffer, FileDevice, check_range
from unikiln.base.size import round_up
from unikiln.image.qcow2 import header

CLUSTER_BITS = 16
_CLUSTER = 1 << CLUSTER_BITS
_ENTRIES = _CLUSTER // 8
_REFCOUNTS = _CLUSTER // 2
_COPIED = 1 << 63
"""Set in every entry whose cluster has a reference count of one, as all of ours have."""
_ZEROS = bytes(_CLUSTER)


class Qcow2Writer:
    """A new qcow2 file as a device that grows; whole only after :meth:`flush`."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = FileDevice(path, writable=True)
        self._file.truncate(0)
        self.name = self._file.name
        self._size = 0
        self._tables: dict[int, npt.NDArray[np.uint64]] = {}
        self._clusters = 1  # the header's
        self._freed: list[int] = []
        self._flushed = False

    @property
    def size(self) -> int:
        """Size of the virtual disk in bytes; grows as the device is written past its end."""
        return self._size

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset``; zeros where nothing was written."""
        check_range(self, offset, length)
        return b"".join(self._read_piece(at, size) for at, size in _pieces(offset, length))

    def write_at(self, offset: int, data: Buffer) -> None:
        """Write all of ``data`` at ``offset``."""
        view = memoryview(data).cast("B")
        for at, size in _pieces(offset, len(view)):
            self._write_piece(at, view[at - offset : at - offset + size])
        self._size = max(self._size, offset + len(view))

    def truncate(self, size: int) -> None:
        """Set the size of the virtual disk; what is beyond it is forgotten, what is new reads as zeros."""
        if size < self._size:
            self._forget_from(size)
        self._size = size

    def flush(self) -> None:
        """Write the tables and the header, then ``fsync``: from here on the file is an image."""
        self._drop_tables()
        l1_offset, l1_entries = self._write_mapping()
        refcount_offset, refcount_clusters = self._write_refcounts()
        self._file.write_at(
            0,
            header.encode(
                cluster_bits=CLUSTER_BITS,
                size=self._size,
                l1_offset=l1_offset,
                l1_entries=l1_entries,
                refcount_offset=refcount_offset,
                refcount_clusters=refcount_clusters,
            ),
        )
        self._flushed = True
        self._file.flush()

    def close(self) -> None:
        """Close the file; without :meth:`flush` before it, what is there is no image."""
        self._file.close()

    def _read_piece(self, offset: int, size: int) -> bytes:
        host = self._host(offset)
        if not host:
            return bytes(size)
        at = host + offset % _CLUSTER
        present = max(0, min(size, self._file.size - at))
        return (self._file.read_at(at, present) if present else b"") + bytes(size - present)

    def _write_piece(self, offset: int, data: memoryview) -> None:
        host = self._host(offset)
        if not host:
            if data.tobytes() == _ZEROS[: len(data)]:
                return
            host = self._allocate(offset)
        self._file.write_at(host + offset % _CLUSTER, data)

    def _host(self, offset: int) -> int:
        """Where the cluster of the virtual ``offset`` is in the file, or 0."""
        table = self._tables.get(offset // _CLUSTER // _ENTRIES)
        return 0 if table is None else int(table[offset // _CLUSTER % _ENTRIES])

    def _allocate(self, offset: int) -> int:
        """A new cluster, behind all others, for the virtual ``offset``; it reads as zeros."""
        self._drop_tables()
        host = self._clusters * _CLUSTER
        self._clusters += 1
        index = offset // _CLUSTER
        table = self._tables.get(index // _ENTRIES)
        if table is None:
            table = self._tables[index // _ENTRIES] = np.zeros(_ENTRIES, dtype=np.uint64)
        table[index % _ENTRIES] = host
        return host

    def _drop_tables(self) -> None:
        """Cut off what an earlier flush wrote behind the data, so that new clusters read as zeros."""
        if self._flushed:
            self._file.truncate(self._clusters * _CLUSTER)
            self._flushed = False

    def _forget_from(self, size: int) -> None:
        """Unmap every cluster beyond ``size`` and clear the rest of the one that ``size`` cuts."""
        cut = round_up(size, _CLUSTER)
        if self._host(size) and size % _CLUSTER:
            self._write_piece(size, memoryview(_ZEROS)[: cut - size])
        first = cut // _CLUSTER
        for number, table in self._tables.items():
            begin = min(max(first - number * _ENTRIES, 0), _ENTRIES)
            tail = table[begin:]
            self._freed += [int(host) // _CLUSTER for host in tail[tail != 0]]
            tail[:] = 0

    def _write_mapping(self) -> tuple[int, int]:
        """Write level 2 and level 1 behind the data; (offset, entries) of level 1."""
        l1 = np.zeros(max(1, -(-self._size // (_CLUSTER * _ENTRIES))), dtype=np.uint64)
        end = self._clusters * _CLUSTER
        for number, table in sorted(self._tables.items()):
            if table.any():
                self._file.write_at(
                    end, np.where(table != 0, table | np.uint64(_COPIED), table).astype(">u8").tobytes()
                )
                l1[number] = end | _COPIED
                end += _CLUSTER
        self._file.write_at(end, l1.astype(">u8").tobytes())
        self._file.truncate(end + round_up(l1.nbytes, _CLUSTER))
        return end, len(l1)

    def _write_refcounts(self) -> tuple[int, int]:
        """Write a count for every cluster of the file, theirs too; (offset, clusters) of their table."""
        begin = self._file.size // _CLUSTER
        blocks, tables = _refcount_clusters(begin)
        counts = np.zeros(blocks * _REFCOUNTS, dtype=">u2")
        counts[: begin + blocks + tables] = 1
        counts[self._freed] = 0
        where = (begin + tables + np.arange(blocks, dtype=np.uint64)) * np.uint64(_CLUSTER)
        self._file.write_at(begin * _CLUSTER, where.astype(">u8").tobytes())
        self._file.write_at((begin + tables) * _CLUSTER, counts.tobytes())
        return begin * _CLUSTER, tables


def _refcount_clusters(others: int) -> tuple[int, int]:
    """Clusters of (refcount blocks, refcount table) for ``others`` clusters and themselves."""
    for blocks in count(1):
        tables = -(-blocks // _ENTRIES)
        if others + blocks + tables <= blocks * _REFCOUNTS:
            return blocks, tables
    raise AssertionError("counting ended")


def _pieces(offset: int, length: int) -> Iterator[tuple[int, int]]:
    """``(offset, size)`` of the parts of a range that each lie in one cluster."""
    end = offset + length
    while offset < end:
        size = min(_CLUSTER - offset % _CLUSTER, end - offset)
        yield offset, size
        offset += size
