"""Uberblocks: the root of everything, one slot of a ring in each label (sys/uberblock_impl.h)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from unikiln.zfs.format import blkptr

MAGIC = 0x00BAB10C
_HEAD = struct.Struct("<5Q")


@dataclass(slots=True, frozen=True)
class Uberblock:
    """``uberblock_t``; ``root`` is the packed block pointer of the meta object set."""

    version: int
    txg: int
    guid_sum: int
    timestamp: int
    root: bytes
    software_version: int = 5000

    def pack(self) -> bytes:
        """The uberblock, without the padding and checksum of its slot."""
        head = _HEAD.pack(MAGIC, self.version, self.txg, self.guid_sum, self.timestamp)
        return head + self.root + struct.pack("<Q", self.software_version)


def unpack(data: bytes, offset: int = 0) -> Uberblock | None:
    """The uberblock at ``offset``, or None where there is none."""
    magic, version, txg, guid_sum, timestamp = _HEAD.unpack_from(data, offset)
    if magic != MAGIC:
        return None
    start = offset + _HEAD.size
    root = bytes(data[start : start + blkptr.SIZE])
    return Uberblock(
        version, txg, guid_sum, timestamp, root, *struct.unpack_from("<Q", data, start + blkptr.SIZE)
    )
