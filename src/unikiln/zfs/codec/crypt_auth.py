"""What message authentication codes are made over: block pointers, dnodes and object sets in part.

A raw send carries neither addresses nor checksums nor accounting, so none of these are in it
(module/os/linux/zfs/zio_crypt.c): of a block pointer its MAC and some of its properties, of a dnode
its head without what it uses. A tree of these MACs leads from data to the object set.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from unikiln.errors import AuthenticationError, CorruptError
from unikiln.zfs.codec.crypt import MasterKey
from unikiln.zfs.format import blkptr, dnode, objset
from unikiln.zfs.format.cryptokey import CURRENT_VERSION, MAC_SIZE
from unikiln.zfs.format.dmu import is_encrypted

_FLAGS_AT, _USED_AT = 7, 24
_KEPT_FLAGS = dnode.SPILL_BLKPTR
_OBJSET_MAC_SIZE = 32
_OBJSET_TYPE_AT = dnode.SIZE + 192
_PORTABLE_MAC_AT = _OBJSET_TYPE_AT + 16
_LOCAL_MAC_AT = _PORTABLE_MAC_AT + _OBJSET_MAC_SIZE

_CHECKSUM = 0xFF << 40
_DEDUP = 1 << 62
_PSIZE = 0xFFFF << 16
_COMPRESSION = 0x7F << 32
_BYTE_ORDER = 1 << 63
_EMBEDDED = 1 << 39
_LEVEL = 0x1F << 56


def portable_pointers(raw: bytes, version: int = CURRENT_VERSION) -> bytes:
    """What MACs have of packed block pointers: properties and MAC of each (``blkptr_auth_buf_t``)."""
    words = np.frombuffer(raw, dtype="<u8").reshape(-1, blkptr.SIZE // 8)
    out = np.zeros((len(words), 4 if version else 3), dtype="<u8")
    out[:, 0] = _portable_properties(words, version)
    out[:, 1:3] = words[:, 14:16]
    return out.tobytes()


def _portable_properties(words: npt.NDArray[np.uint64], version: int) -> npt.NDArray[np.uint64]:
    properties = words[:, 6]
    if version == 0:
        return properties & _without(_DEDUP | _CHECKSUM | _PSIZE)
    above = (properties & np.uint64(_LEVEL)) != 0
    data = properties & _without(_DEDUP | _CHECKSUM)
    indirect = data & _without(_BYTE_ORDER | _COMPRESSION | _PSIZE)
    hole = ~words[:, :2].any(axis=1) & ((properties & np.uint64(_EMBEDDED)) == 0)
    found: npt.NDArray[np.uint64] = np.where(hole, np.uint64(0), np.where(above, indirect, data))
    return found


def _without(bits: int) -> np.uint64:
    return np.uint64(~bits & (1 << 64) - 1)


def check_indirect(block: bytes, mac: bytes) -> None:
    """Check an indirect block, decompressed, against the checksum of MACs in its pointer. It needs no key.

    :raises AuthenticationError: a MAC in it is not what it was
    """
    for version in (CURRENT_VERSION, 0):
        if hashlib.sha512(portable_pointers(block, version)).digest()[:MAC_SIZE] == mac:
            return
    raise AuthenticationError("the MACs in it do not have the checksum that its pointer states")


class Span(NamedTuple):
    """Where the bonus buffer of a dnode lies in a block of dnodes, all of its room."""

    start: int
    end: int


class DnodeParts(NamedTuple):
    """What of a block of dnodes is only authenticated, and where it is encrypted."""

    about: bytes
    encrypted: Sequence[tuple[int, int]]


def dnode_parts(block: bytes, version: int = CURRENT_VERSION) -> DnodeParts:
    """Take a block of dnodes apart: bonus buffers of some types are encrypted, the rest is not.

    :raises CorruptError: a dnode that reaches beyond the block
    """
    heads: list[tuple[int, Span]] = []
    at = 0
    while at < len(block):
        heads.append((at, _bonus(block, at)))
        at += dnode.SIZE * (block[at + 12] + 1)
    about: list[bytes] = []
    encrypted: list[Span] = []
    for (at, bonus), portable in zip(heads, _portable_dnodes(block, heads, version), strict=True):
        about.append(portable)
        if _is_bonus_encrypted(block, at):
            encrypted.append(bonus)
        else:
            about.append(block[bonus.start : bonus.end])
    return DnodeParts(b"".join(about), encrypted)


def _is_bonus_encrypted(block: bytes, at: int) -> bool:
    return bool(block[at]) and is_encrypted(block[at + 4]) and block[at + 10 : at + 12] != b"\0\0"


def _bonus(block: bytes, at: int) -> Span:
    end = at + dnode.SIZE * (block[at + 12] + 1)
    start = at + dnode.CORE + blkptr.SIZE * block[at + 3]
    limit = end - (blkptr.SIZE if block[at + _FLAGS_AT] & dnode.SPILL_BLKPTR else 0)
    if start > limit or end > len(block):
        raise CorruptError(f"a dnode with {block[at + 3]} block pointers in {end - at} bytes")
    return Span(start, limit)


def _portable_dnodes(block: bytes, heads: Sequence[tuple[int, Span]], version: int) -> list[bytes]:
    """The head and the pointers of each dnode; those of all are converted at once."""
    pointers = [_pointers(block, at, bonus) for at, bonus in heads]
    converted = portable_pointers(b"".join(pointers), version)
    size = len(converted) * blkptr.SIZE // max(1, sum(map(len, pointers)))
    found, done = [], 0
    for (at, _), own in zip(heads, pointers, strict=True):
        end = done + len(own) // blkptr.SIZE * size
        found.append(_portable_core(block, at) + converted[done:end])
        done = end
    return found


def _portable_core(block: bytes, at: int) -> bytes:
    core = bytearray(block[at : at + dnode.CORE])
    core[_FLAGS_AT] &= _KEPT_FLAGS
    core[_USED_AT : _USED_AT + 8] = bytes(8)
    return bytes(core)


def _pointers(block: bytes, at: int, bonus: Span) -> bytes:
    own = block[at + dnode.CORE : bonus.start]
    has_spill = block[at + _FLAGS_AT] & dnode.SPILL_BLKPTR
    return own + block[bonus.end : bonus.end + blkptr.SIZE] if has_spill else own


def check_objset(key: MasterKey, block: bytes) -> None:
    """Check both MACs of an object set: of its objects, and of what counts its users.

    :raises AuthenticationError: one is not right
    :raises CorruptError: too short, or a dnode in it makes no sense
    """
    if len(block) < objset.SIZE_V1:
        raise CorruptError(f"an object set of {len(block)} bytes")
    (kind,) = struct.unpack_from("<Q", block, _OBJSET_TYPE_AT)
    no_flags = bytes(8)
    # the type, of all that is in it, is big-endian
    portable = struct.pack(">Q", kind) + no_flags + _dnodes_at(block, [0], key.version)
    stated = block[_PORTABLE_MAC_AT:_LOCAL_MAC_AT]
    if not hmac.compare_digest(key.authenticate(portable, _OBJSET_MAC_SIZE), stated):
        raise AuthenticationError("the MAC of its objects is not right")
    local = _local_part(block, key.version)
    stated = block[_LOCAL_MAC_AT : _LOCAL_MAC_AT + _OBJSET_MAC_SIZE]
    if local and not hmac.compare_digest(key.authenticate(local, _OBJSET_MAC_SIZE), stated):
        raise AuthenticationError("the MAC of its accounting of users is not right")


def _dnodes_at(block: bytes, places: Sequence[int], version: int) -> bytes:
    return b"".join(_portable_dnodes(block, [(at, _bonus(block, at)) for at in places], version))


def _local_part(block: bytes, version: int) -> bytes:
    """What the local MAC is made over; nothing if users and groups are not counted, or not yet."""
    (flags,) = struct.unpack_from("<Q", block, _OBJSET_TYPE_AT + 8)
    places = [objset.SIZE_V1, objset.SIZE_V1 + dnode.SIZE] if len(block) >= objset.SIZE_V2 else []
    if not flags & objset.USERACCOUNTING_COMPLETE or not any(block[at] for at in places):
        return b""
    places += [objset.SIZE_V2] if len(block) >= objset.SIZE_V3 else []
    return struct.pack("<Q", flags) + _dnodes_at(block, [at for at in places if block[at]], version)
