"""The intent log's chain of blocks, for accounting: which blocks a log that was not replayed holds.

A block names the next one before that is written, so the chain ends at one whose checksum, seeded
with what its pointer says, fails (``zil_parse``, zil.c).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from unikiln.errors import CorruptError
from unikiln.zfs.codec.checksum import fletcher_2, fletcher_4
from unikiln.zfs.format import blkptr
from unikiln.zfs.format.blkptr import BlockPointer, Checksum
from unikiln.zfs.format.label import MAGIC
from unikiln.zfs.zio import Reader

_CHAIN = struct.Struct("<8x128s2Q32s")
"""``zil_chain_t``: the next block's pointer, bytes used, magic, checksum."""
_LOG_AT = 16
_MIN_BLOCK = 4096
_CHAIN_MAX = 1 << 20


def log_blocks(reader: Reader, header: bytes, pool_txg: int) -> Iterator[BlockPointer]:
    """Pointers of the log blocks that are allocated, of the log whose header (``zil_header_t``) is given.

    Blocks that are newer than ``pool_txg`` and that no import has claimed yet are not.
    """
    (claim_txg,) = struct.unpack_from("<Q", header)
    pointer = blkptr.unpack(header, _LOG_AT)
    for _ in range(_CHAIN_MAX):
        if pointer.is_hole or (claim_txg == 0 and pointer.birth > pool_txg):
            return
        yield pointer
        following = _next(reader, pointer)
        if following is None:
            return
        pointer = following


def _next(reader: Reader, pointer: BlockPointer) -> BlockPointer | None:
    for copy in reader.copies(pointer):
        try:
            block = reader.read_copy(pointer, copy)
        except CorruptError:
            continue
        at = 0 if pointer.checksum_type == Checksum.ZILOG2 else len(block) - _CHAIN.size
        if at >= 0 and _is_sealed(block, at, pointer):
            return blkptr.unpack(block, at + 8)
    return None


def _is_sealed(block: bytes, at: int, pointer: BlockPointer) -> bool:
    if len(block) < _CHAIN.size:
        return False
    _, used, magic, stated = _CHAIN.unpack_from(block, at)
    if magic != MAGIC:
        return False
    slim = pointer.checksum_type == Checksum.ZILOG2
    size = -(-used // _MIN_BLOCK) * _MIN_BLOCK if slim else len(block)
    if size > len(block):
        return False
    place = at + _CHAIN.size - 32
    body = block[:place] + struct.pack("<4Q", *pointer.checksum) + block[place + 32 : size]
    words = (fletcher_4 if slim else fletcher_2)(body[:size])
    return bool(struct.pack("<4Q", *words) == stated)
