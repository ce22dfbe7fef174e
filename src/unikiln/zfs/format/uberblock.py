"""Uberblocks: the root of everything, one slot of a ring in each label (sys/uberblock_impl.h)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from unikiln.zfs.format import blkptr

MAGIC = 0x00BAB10C
MMP_MAGIC = 0xA11CEA11
_WORDS = 5 + blkptr.SIZE // 8 + 6
SIZE = 8 * _WORDS
"""Bytes of an uberblock with all fields; older ones have zeros, or nothing we look at, at the end."""
_HEAD = struct.Struct("<5Q")
_TAIL = struct.Struct("<6Q")
_SHORTEST = _HEAD.size + blkptr.SIZE + 8
_SEQUENCE_VALID = 1 << 1
_REFLOW_BITS = 55
_SCRATCH_VALID = 1


@dataclass(slots=True, frozen=True)
class Uberblock:
    """``uberblock_t``; ``root`` is the packed block pointer of the meta object set.

    ``mmp_delay`` and ``mmp_config`` are of pools that several hosts may see (multihost); ``checkpoint_txg``
    is the txg of the pool's checkpoint, or 0; ``reflow_info`` tells how far a RAID-Z expansion got.
    """

    version: int
    txg: int
    guid_sum: int
    timestamp: int
    root: bytes
    software_version: int = 5000
    mmp_magic: int = 0
    mmp_delay: int = 0
    mmp_config: int = 0
    checkpoint_txg: int = 0
    reflow_info: int = 0

    def pack(self) -> bytes:
        """The uberblock up to the version of the software, as a writer needs it."""
        head = _HEAD.pack(MAGIC, self.version, self.txg, self.guid_sum, self.timestamp)
        return head + self.root + struct.pack("<Q", self.software_version)

    @property
    def has_mmp(self) -> bool:
        """Whether the fields of multihost are in use."""
        return self.mmp_magic == MMP_MAGIC

    @property
    def mmp_sequence(self) -> int:
        """Counts uberblocks that one txg wrote to say that the host lives; 0 if it did not."""
        return self.mmp_config >> 32 & 0xFFFF if self.has_mmp and self.mmp_config & _SEQUENCE_VALID else 0

    @property
    def reflow(self) -> tuple[int, bool]:
        """Bytes of a RAID-Z that an expansion moved so far, and whether they are in the scratch area."""
        offset = (self.reflow_info & (1 << _REFLOW_BITS) - 1) << blkptr.SECTOR_SHIFT
        return offset, self.reflow_info >> _REFLOW_BITS == _SCRATCH_VALID

    @property
    def age(self) -> tuple[int, int, int]:
        """What newer ones have more of (``vdev_uberblock_compare``)."""
        return self.txg, self.timestamp, self.mmp_sequence


def unpack(data: bytes, offset: int = 0) -> Uberblock | None:
    """The uberblock of either byte order at ``offset``, or None where there is none."""
    raw = data[offset : offset + SIZE]
    if len(raw) < _SHORTEST:
        return None
    raw = raw.ljust(SIZE, b"\0")
    if int.from_bytes(raw[:8], "big") == MAGIC:
        raw = np.frombuffer(raw, dtype=">u8").astype("<u8").tobytes()
    magic, version, txg, guid_sum, timestamp = _HEAD.unpack_from(raw)
    if magic != MAGIC:
        return None
    root = bytes(raw[_HEAD.size : _HEAD.size + blkptr.SIZE])
    return Uberblock(
        version, txg, guid_sum, timestamp, root, *_TAIL.unpack_from(raw, _HEAD.size + blkptr.SIZE)
    )
