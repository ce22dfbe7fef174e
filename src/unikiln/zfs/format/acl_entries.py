"""Entries of access control lists as they are stored: NFSv4 ones in two forms, POSIX ones in an xattr.

(``zfs_oldace_t``, ``zfs_ace_t`` and ``zfs_object_ace_t``, sys/zfs_acl.h; linux/posix_acl_xattr.h)
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from unikiln.errors import CorruptError
from unikiln.zfs.format.acl import EVERYONE, OWNER

GROUP = 0x2000
IDENTIFIER_GROUP = 0x40
_WHO = OWNER | GROUP | EVERYONE
TYPES = ("allow", "deny", "audit", "alarm")
_OBJECT_TYPES = (5, 6, 7, 8, 11, 12, 15, 16)
"""Types of entries with two guids after them."""
_OLD = struct.Struct("<IIHH")
_HEAD = struct.Struct("<HHI")
_FUID = 8
_GUIDS = 32
_PERMISSIONS = (
    ("r", 0x1), ("w", 0x2), ("x", 0x20), ("p", 0x4), ("D", 0x40), ("d", 0x10000), ("a", 0x80), ("A", 0x100),
    ("R", 0x8), ("W", 0x10), ("c", 0x20000), ("C", 0x40000), ("o", 0x80000), ("s", 0x100000),
)  # fmt: skip
_INHERITANCE = (("f", 0x1), ("d", 0x2), ("i", 0x8), ("n", 0x4), ("S", 0x10), ("F", 0x20), ("I", 0x80))
_POSIX_HEAD, _POSIX = struct.Struct("<I"), struct.Struct("<HHI")
_POSIX_VERSION = 2
_POSIX_TAGS = {0x1: "user", 0x2: "user", 0x4: "group", 0x8: "group", 0x10: "mask", 0x20: "other"}
_NAMED = (0x2, 0x8)


class Ace(NamedTuple):
    """An NFSv4 entry: ``mask`` are ``ACE_READ_DATA`` and the like, ``flags`` say who and how it is inherited.

    ``who`` is a FUID, for entries that name a user or a group.
    """

    type: int
    flags: int
    mask: int
    who: int = 0

    @property
    def principal(self) -> str:
        """``owner@``, ``group@``, ``everyone@``, ``user:N`` or ``group:N``."""
        kind = self.flags & _WHO
        if kind == OWNER:
            return "owner@"
        if kind == EVERYONE:
            return "everyone@"
        if kind & GROUP:
            return "group@"
        return f"{'group' if self.flags & IDENTIFIER_GROUP else 'user'}:{self.who}"

    def __str__(self) -> str:
        """As ``getfacl`` of FreeBSD prints it: ``owner@:rw-p--aARWcCos:-------:allow``."""
        permissions = "".join(letter if self.mask & bit else "-" for letter, bit in _PERMISSIONS)
        inheritance = "".join(letter if self.flags & bit else "-" for letter, bit in _INHERITANCE)
        kind = TYPES[self.type] if self.type < len(TYPES) else str(self.type)
        return f"{self.principal}:{permissions}:{inheritance}:{kind}"


class PosixEntry(NamedTuple):
    """An entry of a POSIX ACL: ``tag`` as ``getfacl`` has it, ``id`` for those that name someone."""

    tag: str
    id: int | None
    permissions: int

    def __str__(self) -> str:
        """``user:1001:rw-``."""
        letters = "".join(
            letter if self.permissions & bit else "-" for letter, bit in (("r", 4), ("w", 2), ("x", 1))
        )
        return f"{self.tag}:{'' if self.id is None else self.id}:{letters}"


def decode_old(data: bytes, count: int) -> tuple[Ace, ...]:
    """``count`` entries of the first form, each of 12 bytes.

    :raises CorruptError: there are fewer
    """
    if count * _OLD.size > len(data):
        raise CorruptError(f"an ACL claims {count} entries and has {len(data)} bytes")
    rows = _OLD.iter_unpack(data[: count * _OLD.size])
    return tuple(Ace(kind, flags, mask, who) for who, mask, flags, kind in rows)


def decode(data: bytes, count: int) -> tuple[Ace, ...]:
    """``count`` entries of the form with FUIDs, whose size depends on whom they are about.

    :raises CorruptError: there are fewer
    """
    found: list[Ace] = []
    at = 0
    for _ in range(count):
        if at + _HEAD.size > len(data):
            raise CorruptError(f"an ACL claims {count} entries and has {len(data)} bytes")
        kind, flags, mask = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        who = 0
        if kind in _OBJECT_TYPES or flags & _WHO not in (OWNER, EVERYONE, GROUP):
            who = int.from_bytes(data[at : at + _FUID], "little")
            at += _FUID + (_GUIDS if kind in _OBJECT_TYPES else 0)
        found.append(Ace(kind, flags, mask, who))
    return tuple(found)


def decode_posix(data: bytes) -> tuple[PosixEntry, ...]:
    """The entries in a ``system.posix_acl_*`` attribute.

    :raises CorruptError: not of the version that Linux has, or cut off
    """
    if len(data) < _POSIX_HEAD.size or _POSIX_HEAD.unpack_from(data)[0] != _POSIX_VERSION:
        raise CorruptError("a POSIX ACL without its header")
    body = data[_POSIX_HEAD.size :]
    if len(body) % _POSIX.size:
        raise CorruptError(f"a POSIX ACL of {len(data)} bytes")
    return tuple(
        PosixEntry(_POSIX_TAGS.get(tag, str(tag)), who if tag in _NAMED else None, permissions)
        for tag, permissions, who in _POSIX.iter_unpack(body)
    )
