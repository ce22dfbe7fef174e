"""The intent log of a dataset: its chain of blocks, and the records in them that were not replayed yet.

A block names the next one before that is written, so the chain ends at one whose checksum, seeded
with what its pointer says, fails (``zil_parse``, ``zil_claim`` and ``zil_replay``, zil.c).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from unikiln.errors import CorruptError
from unikiln.zfs.codec.checksum import fletcher_2, fletcher_4
from unikiln.zfs.codec.crypt_block import truncated
from unikiln.zfs.format import blkptr
from unikiln.zfs.format.blkptr import BlockPointer, Checksum
from unikiln.zfs.format.label import MAGIC
from unikiln.zfs.format.zil import Record, records_of
from unikiln.zfs.zio import Reader

_CHAIN = struct.Struct("<8x128s2Q32s")
"""``zil_chain_t``: the next block's pointer, bytes used, magic, checksum."""
_HEADER = struct.Struct("<2Q128s3Q")
"""``zil_header_t``: claimed in, replayed up to, first block, claimed blocks, flags, claimed records."""
_CLAIMED_RECORDS = 0x2
_LOG_AT = 16
_MIN_BLOCK = 4096
_CHAIN_MAX = 1 << 20
_SEQUENCE = 3
"""The word of a log block's checksum seed that counts blocks (``ZIL_ZC_SEQ``)."""


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
        if following is None or not _is_later(following, pointer):
            return
        pointer = following


def log_records(reader: Reader, header: bytes, pool_txg: int) -> Iterator[Record]:
    """The records to replay, in order, of the log whose header (``zil_header_t``) is given.

    A log that an import claimed ends where that said; of any other, everything whole counts. What
    ``pool_txg`` or an earlier replay already holds is left out.

    :raises EncryptionKeyError: the log is encrypted and its key was not given, or is wrong
    """
    claim_txg, replayed, raw, last_block, flags, last_record = _HEADER.unpack_from(header)
    pointer = blkptr.unpack(raw)
    since = claim_txg or pool_txg + 1
    for _ in range(_CHAIN_MAX):
        if pointer.is_hole or (claim_txg and pointer.checksum[_SEQUENCE] > last_block):
            return
        block = _sealed_block(reader, pointer)
        if block is None:
            return
        following, body = _opened(reader.decode(pointer, block), pointer)
        for record in records_of(body):
            if claim_txg and flags & _CLAIMED_RECORDS and record.sequence > last_record:
                return
            if record.sequence > replayed and record.txg >= since:
                yield record
        if not _is_later(following, pointer):
            return
        pointer = following


def _next(reader: Reader, pointer: BlockPointer) -> BlockPointer | None:
    block = _sealed_block(reader, pointer)
    return None if block is None else _opened(block, pointer)[0]


def _is_later(following: BlockPointer, pointer: BlockPointer) -> bool:
    """Whether a block comes after another; a log that leads back into itself has no end."""
    return following.checksum[_SEQUENCE] > pointer.checksum[_SEQUENCE]


def _opened(block: bytes, pointer: BlockPointer) -> tuple[BlockPointer, bytes]:
    """The pointer to the next block, and the records of this one."""
    at = _chain_at(block, pointer)
    used = min(_CHAIN.unpack_from(block, at)[1], at or len(block))
    start = 0 if at else _CHAIN.size
    return blkptr.unpack(block, at + 8), block[start:used]


def _chain_at(block: bytes, pointer: BlockPointer) -> int:
    return 0 if pointer.checksum_type == Checksum.ZILOG2 else len(block) - _CHAIN.size


def _sealed_block(reader: Reader, pointer: BlockPointer) -> bytes | None:
    """A log block, from the first copy that is whole."""
    for copy in reader.copies(pointer):
        try:
            block = reader.read_copy(pointer, copy)
        except CorruptError:
            continue
        at = _chain_at(block, pointer)
        if at >= 0 and _is_sealed(block, at, pointer):
            return block
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
    whole = (fletcher_4 if slim else fletcher_2)(body[:size])
    # of an encrypted one, the other half is the MAC
    words = truncated(pointer.checksum_type, whole) if pointer.encrypted else whole
    sealed: bytes = stated
    return sealed.startswith(struct.pack(f"<{len(words)}Q", *words))
