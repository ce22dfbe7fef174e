"""Records of the intent log: what was promised to be durable before its transaction group was (sys/zil.h).

Every record starts with its type, length, txg and sequence number; all else is the type's own.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from unikiln.errors import CorruptError

_HEAD = struct.Struct("<4Q")
_ANY_CASE = 1 << 63
"""Set in a type when names are to be found whatever their case (``TX_CI``)."""
_XVATTR_TAIL = 56
_FUID_INDEX = 32


class Tx(IntEnum):
    """``TX_*``: what a record is about."""

    CREATE = 1
    MKDIR = 2
    MKXATTR = 3
    SYMLINK = 4
    REMOVE = 5
    RMDIR = 6
    LINK = 7
    RENAME = 8
    WRITE = 9
    TRUNCATE = 10
    SETATTR = 11
    ACL_V0 = 12
    ACL = 13
    CREATE_ACL = 14
    CREATE_ATTR = 15
    CREATE_ACL_ATTR = 16
    MKDIR_ACL = 17
    MKDIR_ATTR = 18
    MKDIR_ACL_ATTR = 19
    WRITE2 = 20
    SETSAXATTR = 21
    RENAME_EXCHANGE = 22
    RENAME_WHITEOUT = 23
    CLONE_RANGE = 24


class Record(NamedTuple):
    """A record; ``data`` is all of it, its head too, so that offsets are those of sys/zil.h."""

    type: int
    txg: int
    sequence: int
    data: bytes

    def words(self, count: int, start: int = _HEAD.size) -> tuple[int, ...]:
        """``count`` 64-bit words from byte ``start``.

        :raises CorruptError: the record ends before them
        """
        if start + 8 * count > len(self.data):
            raise CorruptError(f"a log record of type {self.type} ends after {len(self.data)} bytes")
        return struct.unpack_from(f"<{count}Q", self.data, start)

    def names(self, count: int, start: int) -> list[bytes]:
        """``count`` strings from byte ``start``, without the NUL that ends each.

        :raises CorruptError: there are fewer
        """
        found = self.data[start:].split(b"\0", count)
        if len(found) <= count:
            raise CorruptError(f"a log record of type {self.type} has no {count} names")
        return found[:count]


class Create(NamedTuple):
    """``lr_create_t`` and its kin: a new object of that ``mode`` under ``name`` in ``directory``.

    ``target`` is that of a symbolic link; ``aces`` are (count, bytes) of an ACL that came along.
    """

    directory: int
    object: int
    mode: int
    uid: int
    gid: int
    gen: int
    created_ns: int
    rdev: int
    name: bytes
    target: bytes
    aces: tuple[int, bytes] | None


_CREATE = 104
_ACL_CREATE = 144
_WITH_ACL = (Tx.CREATE_ACL, Tx.CREATE_ACL_ATTR, Tx.MKDIR_ACL, Tx.MKDIR_ACL_ATTR)
_WITH_ATTRIBUTES = (Tx.CREATE_ATTR, Tx.CREATE_ACL_ATTR, Tx.MKDIR_ATTR, Tx.MKDIR_ACL_ATTR)
_OBJECT = (1 << 48) - 1
_BILLION = 1_000_000_000


def object_of(word: int) -> int:
    """The object number in a word whose upper bits say how large its dnode is (``LR_FOID_GET_OBJ``)."""
    return word & _OBJECT


def nanoseconds(seconds: int, rest: int) -> int:
    """A time as the log has it, in nanoseconds since 1970."""
    return (seconds - (1 << 64) if seconds >> 63 else seconds) * _BILLION + rest


def decode_create(record: Record) -> Create:
    """What a record says that makes an object.

    :raises CorruptError: it is cut off
    """
    directory, number, mode, uid, gid, gen, seconds, rest, rdev = record.words(9)
    at, aces = _CREATE, None
    if record.type in _WITH_ACL:
        at, aces = _skip_acl(record)
    elif record.type in _WITH_ATTRIBUTES:
        at += _attributes_size(record, at)
    if record.type not in (*_WITH_ACL, Tx.SYMLINK, Tx.MKXATTR):
        at += sum(len(domain) + 1 for domain in record.names(_domains(uid, gid), at))
    name = b"" if record.type == Tx.MKXATTR else record.names(1, at)[0]
    target = record.names(2, at)[1] if record.type == Tx.SYMLINK else b""
    return Create(
        directory,
        object_of(number),
        mode,
        uid,
        gid,
        gen,
        nanoseconds(seconds, rest),
        rdev,
        name,
        target,
        aces,
    )


def _skip_acl(record: Record) -> tuple[int, tuple[int, bytes]]:
    """Where the name starts in a record with an ACL, and the ACL."""
    count, domains, fuids, length, _ = record.words(5, _CREATE)
    at = _ACL_CREATE + (_attributes_size(record, _ACL_CREATE) if record.type in _WITH_ATTRIBUTES else 0)
    aces = record.data[at : at + length]
    at += -(-length // 8) * 8 + 8 * fuids
    if at > len(record.data) or domains > len(record.data):
        raise CorruptError(f"a log record of type {record.type} with an ACL of {length} bytes")
    return at + sum(len(domain) + 1 for domain in record.names(domains, at)), (count, aces)


def _attributes_size(record: Record, at: int) -> int:
    """Bytes of the optional attributes at ``at`` (``ZIL_XVAT_SIZE``)."""
    words = record.words(1, at)[0] & 0xFFFFFFFF
    return 4 + 4 * words + _XVATTR_TAIL


def _domains(uid: int, gid: int) -> int:
    """How many domains' names come before the file's (``zfs_replay_domain_cnt``)."""
    return len({each >> _FUID_INDEX for each in (uid, gid)} - {0})


def records_of(block: bytes) -> Iterator[Record]:
    """The records in the used part of a log block; a damaged one ends it, as at a replay."""
    at = 0
    while at + _HEAD.size <= len(block):
        kind, length, txg, sequence = _HEAD.unpack_from(block, at)
        if length < _HEAD.size or at + length > len(block):
            return
        yield Record(kind & ~_ANY_CASE, txg, sequence, block[at : at + length])
        at += length
