"""Blocks of an encrypted intent log: records are encrypted, what a claim must see is authenticated.

In the plain are the head of the block, the head of each record, and the block pointers in records of
writes and clones (``zio_crypt_init_uios_zil``, module/os/linux/zfs/zio_crypt.c; sys/zil.h).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from unikiln.errors import CorruptError
from unikiln.zfs.codec.crypt import MasterKey
from unikiln.zfs.format import blkptr
from unikiln.zfs.format.blkptr import BlockPointer

_USED_AT = 136
_SEAL_AT = 144
"""Magic and checksum, which are not authenticated; the second half of the checksum is the MAC."""
_MAC_AT = 168
_CHAIN_SIZE = 184
"""Bytes of the head of a log block (``zil_chain_t``)."""
_RECORD = struct.Struct("<2Q16x")
"""``lr_t``: type and length; txg and sequence number."""
_TX_WRITE, _TX_CLONE_RANGE = 9, 24
_POINTERS_AT = 64
"""From here on these two have what is not encrypted: a block pointer, or a count and block pointers."""


def decrypt_log_block(key: MasterKey, pointer: BlockPointer, block: bytes) -> bytes:
    """``block`` with its records in the plain; zeros after the last.

    :raises AuthenticationError: it is not what was written
    :raises CorruptError: records that do not fit into it
    """
    about, spans = [block[:_SEAL_AT]], []
    for at, encrypted, end in _records(block):
        about += [block[at : at + _RECORD.size], *_between(block, at + _RECORD.size, encrypted, end)]
        spans += encrypted
    sealed = b"".join(block[start:end] for start, end in spans)
    mac = block[_MAC_AT:_CHAIN_SIZE]
    opened = key.decrypt(pointer.salt, pointer.iv, mac, sealed, b"".join(about))
    return splice(block[: _used(block)], spans, opened).ljust(len(block), b"\0")


def splice(block: bytes, spans: Sequence[tuple[int, int]], content: bytes) -> bytes:
    """``block`` with ``content``, in order, in place of what is in ``spans``."""
    out, done = bytearray(block), 0
    for start, end in spans:
        out[start:end] = content[done : done + end - start]
        done += end - start
    return bytes(out)


def _used(block: bytes) -> int:
    if len(block) < _CHAIN_SIZE:
        raise CorruptError(f"a log block of {len(block)} bytes")
    (used,) = struct.unpack_from("<Q", block, _USED_AT)
    if not _CHAIN_SIZE <= used <= len(block):
        raise CorruptError(f"a log block that uses {used} of {len(block)} bytes")
    return int(used)


def _records(block: bytes) -> Iterator[tuple[int, list[tuple[int, int]], int]]:
    """(start, encrypted spans, end) of each record."""
    at, end = _CHAIN_SIZE, _used(block)
    while at < end:
        if at + _RECORD.size > end:
            raise CorruptError(f"a log record at {at} of a block that ends at {end}")
        kind, length = _RECORD.unpack_from(block, at)
        least = {_TX_WRITE: _POINTERS_AT + blkptr.SIZE, _TX_CLONE_RANGE: _POINTERS_AT}.get(kind, _RECORD.size)
        if not least <= length <= end - at:
            raise CorruptError(f"a log record of type {kind} of {length} bytes at {at}")
        yield at, _encrypted(kind, at, at + length), at + length
        at += length


def _encrypted(kind: int, at: int, end: int) -> list[tuple[int, int]]:
    start = at + _RECORD.size
    if kind == _TX_CLONE_RANGE:
        return [(start, at + _POINTERS_AT)]
    if kind == _TX_WRITE:
        data = at + _POINTERS_AT + blkptr.SIZE
        return [(start, at + _POINTERS_AT), *([(data, end)] if data < end else [])]
    return [(start, end)]


def _between(block: bytes, start: int, spans: list[tuple[int, int]], end: int) -> Iterator[bytes]:
    """What of ``block`` from ``start`` to ``end`` is not in ``spans``."""
    for first, last in spans:
        yield block[start:first]
        start = last
    yield block[start:end]
