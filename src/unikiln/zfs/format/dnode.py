"""Dnodes: one object each - its type, its block sizes, its block pointers and its bonus buffer.

512 bytes and multiples of it (``dnode_phys_t``, sys/dnode.h): a 64-byte head, one to three block
pointers, the bonus, and in the last 128 bytes a pointer to the spill block if there is one.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from unikiln.errors import CorruptError
from unikiln.zfs.format import blkptr
from unikiln.zfs.format.dmu import ObjectType

SIZE = 512
CORE = 64
"""Bytes before the first block pointer."""
PER_BLOCK = 32
"""Dnodes of 512 bytes in a block of the meta-dnode."""
BLOCK = SIZE * PER_BLOCK
"""Block size of the meta-dnode, 16 KiB (``DNODE_BLOCK_SIZE``)."""
INDIRECT_SHIFT = 17
"""Indirect blocks of 128 KiB, 1024 pointers, as OpenZFS makes them."""
OLD_INDIRECT_SHIFT = 14
"""Indirect blocks of 16 KiB, the largest that ZFS made until 2016."""
MAX_BONUS = 320
"""Largest bonus of a 512-byte dnode with one block pointer (``DN_OLD_MAX_BONUSLEN``)."""

USED_BYTES = 1 << 0
"""``dn_used`` counts bytes, not sectors."""
USERUSED_ACCOUNTED = 1 << 1
SPILL_BLKPTR = 1 << 2

_HEAD = struct.Struct("<8BHH4BQQ32x")


@dataclass(slots=True)
class Dnode:
    """A dnode; ``block_size`` and ``used`` in bytes, ``pointers`` as packed block pointers."""

    type: int
    block_size: int
    indirect_shift: int = INDIRECT_SHIFT
    levels: int = 1
    bonus_type: int = ObjectType.NONE
    bonus: bytes = b""
    checksum: int = 0
    compression: int = 0
    flags: int = USED_BYTES
    max_block: int = 0
    used: int = 0
    pointers: tuple[bytes, ...] = (blkptr.HOLE,)
    spill: bytes | None = None
    slots: int = 1

    def pack(self) -> bytes:
        """The dnode's ``slots`` x 512 bytes."""
        head = _HEAD.pack(
            self.type,
            self.indirect_shift,
            self.levels,
            len(self.pointers),
            self.bonus_type,
            self.checksum,
            self.compression,
            self.flags | (SPILL_BLKPTR if self.spill is not None else 0),
            self.block_size >> 9,
            len(self.bonus),
            self.slots - 1,
            0,
            0,
            0,
            self.max_block,
            self.used,
        )
        body = b"".join((head, *self.pointers, self.bonus))
        room = SIZE * self.slots - (blkptr.SIZE if self.spill is not None else 0)
        if len(body) > room:
            raise CorruptError(f"a dnode of {len(body)} bytes does not fit its {room}")
        return body.ljust(room, b"\0") + (self.spill or b"")


def unpack(data: bytes | memoryview, offset: int = 0) -> Dnode:
    """The dnode at ``offset``; ``data`` must reach to its last slot.

    :raises CorruptError: counts, shifts or lengths that no dnode can have
    """
    (
        kind, indirect_shift, levels, count, bonus_type, checksum, compression, flags,
        sectors, bonus_length, extra, _, _, _, max_block, used,
    ) = _HEAD.unpack_from(data, offset)  # fmt: skip
    raw = bytes(data[offset : offset + SIZE * (extra + 1)])
    room = SIZE * (extra + 1) - CORE - blkptr.SIZE * count - (blkptr.SIZE if flags & SPILL_BLKPTR else 0)
    if kind and not (1 <= count <= 3 and 1 <= levels <= 6 + 1 and 7 < indirect_shift < 31):
        raise CorruptError(f"a dnode with {count} pointers, {levels} levels, indirect shift {indirect_shift}")
    if kind and (bonus_length > room or len(raw) < SIZE * (extra + 1)):
        raise CorruptError(f"a dnode whose bonus of {bonus_length} bytes does not fit")
    start = CORE + blkptr.SIZE * count
    return Dnode(
        kind,
        block_size=sectors << 9,
        indirect_shift=indirect_shift,
        levels=levels,
        bonus_type=bonus_type,
        bonus=raw[start : start + bonus_length],
        checksum=checksum,
        compression=compression,
        flags=flags,
        max_block=max_block,
        used=used if flags & USED_BYTES else used << 9,
        pointers=tuple(raw[CORE + blkptr.SIZE * i : CORE + blkptr.SIZE * (i + 1)] for i in range(count)),
        spill=raw[-blkptr.SIZE :] if flags & SPILL_BLKPTR else None,
        slots=extra + 1,
    )
