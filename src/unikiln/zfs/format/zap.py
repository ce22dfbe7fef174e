"""Micro ZAPs: names of up to 49 bytes to 64-bit values, in one block (sys/zap_impl.h).

The fat form is in :mod:`unikiln.zfs.format.fatzap`. Both hash names with CRC-64 from a salt.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import NamedTuple

from fastcrc import crc64

from unikiln.base.size import round_up
from unikiln.errors import CorruptError

MICRO = (1 << 63) + 3
"""``ZBT_MICRO``, the first word of a micro ZAP."""
HEADER = (1 << 63) + 1
"""``ZBT_HEADER``, the first word of a fat ZAP."""
MICRO_NAME_MAX = 49
MICRO_BLOCK_MAX = 128 << 10

_ENTRY = struct.Struct("<QIH50s")
_MICRO_HEAD = 64
HASH_BITS = 28
"""Bits of a hash that count, in all but a few ZAPs."""
_ONES = (1 << 64) - 1


class Entry(NamedTuple):
    """A name and its values; ``width`` is the size of each integer in bytes."""

    name: bytes
    values: tuple[int, ...]
    width: int = 8


def hash_name(name: bytes, salt: int, bits: int = HASH_BITS) -> int:
    """The 64-bit hash of a name, of which a ZAP uses the upper ``bits`` (``zap_hash``, zap_micro.c).

    CRC-64 (ECMA, reflected) started from the salt; a terminating NUL is not hashed.
    """
    raw = crc64.xz(name, salt ^ _ONES) ^ _ONES
    return raw >> 64 - bits << 64 - bits


def fits_micro(entries: Mapping[bytes, int]) -> bool:
    """Whether the names are short and few enough for a micro ZAP."""
    room = MICRO_BLOCK_MAX // _ENTRY.size - 1
    return len(entries) <= room and all(len(name) <= MICRO_NAME_MAX for name in entries)


def encode_micro(entries: Mapping[bytes, int], salt: int, normalization: int = 0) -> bytes:
    """The block, a multiple of 512 bytes, of a micro ZAP with these entries.

    Names with equal hashes are told apart by their ``cd``, which must differ (``mze_cd``).
    """
    head = struct.pack("<3Q", MICRO, salt, normalization).ljust(_MICRO_HEAD, b"\0")
    seen: dict[int, int] = {}
    chunks = [head]
    for name, value in entries.items():
        digest = hash_name(name, salt)
        cd = seen.get(digest, 0)
        seen[digest] = cd + 1
        chunks.append(_ENTRY.pack(value, cd, 0, name))
    block = b"".join(chunks)
    return block.ljust(round_up(len(block), 512), b"\0")


def decode_micro(block: bytes) -> dict[bytes, int]:
    """Names and values of a micro ZAP.

    :raises CorruptError: not one
    """
    if len(block) < _MICRO_HEAD or struct.unpack_from("<Q", block)[0] != MICRO:
        raise CorruptError("not a micro ZAP")
    whole = len(block) // _ENTRY.size * _ENTRY.size
    entries = _ENTRY.iter_unpack(block[_MICRO_HEAD:whole])
    return {name.split(b"\0", 1)[0]: value for value, _, _, name in entries if name[0]}
