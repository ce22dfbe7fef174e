"""Writing a few bytes into a qcow2 image that is there already, in place.

Bytes of allocated clusters are overwritten; where there is no cluster, a new one goes to the end of the
file. The order is QEMU's: counts, content, then the tables that lead there, each on the disk before
the next is written, so that an interruption loses at most space.
"""

from __future__ import annotations

import struct

from unikiln.base.device import Buffer, FileDevice, check_range
from unikiln.errors import ImageError, UnsupportedError
from unikiln.image.qcow2 import header
from unikiln.image.qcow2.reader import Qcow2Reader
from unikiln.image.qcow2.refcounts import Refcounts

_OFFSET = 0x00FFFFFFFFFFFE00
_COPIED = 1 << 63
"""The cluster that the entry leads to is counted once: it may be written."""
_COMPRESSED = 1 << 62
_ZERO = 1


class Qcow2Editor:
    """The virtual disk of a qcow2 file, to be read and written; its size stays.

    :raises UnsupportedError: snapshots, a backing file, bitmaps: what a write here could damage
    :raises ImageError: a damaged image, or one that was not closed
    """

    def __init__(self, file: FileDevice) -> None:
        self.name = file.name
        self._file = file
        self._header = header.decode(file.read_at(0, min(file.size, 1 << 16)), file.name)
        _refuse(self._header, file.name)
        self._cluster = 1 << self._header.cluster_bits
        self._refcounts = Refcounts(file, self._header)

    @property
    def size(self) -> int:
        """Size of the virtual disk in bytes."""
        return self._header.size

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset`` of the virtual disk."""
        return Qcow2Reader(self._file).read_at(offset, length)  # new: what is written leaves tables behind

    def write_at(self, offset: int, data: Buffer) -> None:
        """Write all of ``data`` at ``offset`` of the virtual disk.

        :raises UnsupportedError: into a compressed cluster
        """
        view = memoryview(data).cast("B")
        check_range(self, offset, len(view))
        while view:
            within = offset % self._cluster
            piece = view[: self._cluster - within]
            self._write(offset - within, within, piece)
            offset += len(piece)
            view = view[len(piece) :]

    def flush(self) -> None:
        """``fsync`` the file."""
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, cluster_at: int, within: int, data: memoryview) -> None:
        """Write into the one cluster of the disk at ``cluster_at``."""
        index = cluster_at // self._cluster
        per_table = self._cluster // 8
        l1_at = self._header.l1_offset + index // per_table * 8
        table = self._single(l1_at, _OFFSET) or self._link(l1_at, bytes(self._cluster))
        entry_at = table + index % per_table * 8
        (entry,) = struct.unpack(">Q", self._file.read_at(entry_at, 8))
        if entry & _COMPRESSED:
            raise UnsupportedError(
                f"{self.name}: byte {cluster_at + within} of the disk is in a compressed cluster",
                hint="qemu-img convert makes a copy that is not compressed",
            )
        reads_as_zeros = self._header.version >= 3 and entry & _ZERO
        host = 0 if reads_as_zeros else self._single(entry_at, _OFFSET)
        if host:
            self._file.write_at(host + within, data)
        else:
            content = bytearray(self._cluster)
            content[within : within + len(data)] = data
            self._link(entry_at, bytes(content), self._single(entry_at, _OFFSET))

    def _single(self, entry_at: int, mask: int) -> int:
        """Where the entry at ``entry_at`` leads (0: nowhere), to a cluster that only it leads to."""
        (entry,) = struct.unpack(">Q", self._file.read_at(entry_at, 8))
        host: int = entry & mask
        if host % self._cluster or host >= max(self._file.size, 1):
            raise ImageError(f"{self.name}: the entry at byte {entry_at:#x} leads to {host:#x}")
        if host and not entry & _COPIED:
            raise UnsupportedError(
                f"{self.name}: the cluster at {host:#x} is shared", hint="qemu-img convert makes a plain copy"
            )
        return host

    def _link(self, entry_at: int, content: bytes, host: int = 0) -> int:
        """Write a whole cluster, a new one unless ``host`` is given, and let the entry lead to it."""
        host = host or self._refcounts.take()
        self._file.flush()
        self._file.write_at(host, content)
        self._file.flush()
        self._file.write_at(entry_at, struct.pack(">Q", host | _COPIED))
        return host


def _refuse(head: header.Header, name: str) -> None:
    reasons = {
        f"has {head.snapshots} snapshots": head.snapshots,
        f"stands on the backing file {head.backing_file!r}": head.backing_file is not None,
        "has bitmaps or other things that a change would make wrong": head.autoclear,
    }
    for reason, applies in reasons.items():
        if applies:
            raise UnsupportedError(
                f"{name}: {reason}, so it is not changed in place",
                hint="qemu-img convert makes a plain copy",
            )
    if head.dirty:
        raise ImageError(f"{name}: was not closed after it was last written", hint="qemu-img check -r all")
