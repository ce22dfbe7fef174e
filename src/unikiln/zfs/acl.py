"""The access control list of a file, wherever its file system's version keeps it (zfs_acl.c).

Version 5 keeps it among the system attributes; older ones in the znode, or in an object of its own when it
is long. Entries that Linux calls POSIX ACLs are extended attributes beside it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from unikiln.errors import CorruptError
from unikiln.zfs.attributes import OLD_ZNODE, attribute_values
from unikiln.zfs.filesystem import Inode
from unikiln.zfs.format.acl_entries import Ace, PosixEntry, decode, decode_old, decode_posix
from unikiln.zfs.format.dmu import ObjectType
from unikiln.zfs.replay import ReplayedInode

_PHYS = struct.Struct("<QIHH72s")
"""``zfs_acl_phys_t``: an object with more, size (first version: count), version, count, entries."""
_ACL_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class Acl:
    """NFSv4 ``entries``, of which every file has some; POSIX ones in ``access`` and ``default``, if any."""

    entries: tuple[Ace, ...]
    access: tuple[PosixEntry, ...] = ()
    default: tuple[PosixEntry, ...] = ()


def read_acl(inode: Inode) -> Acl:
    """The ACL of ``inode``.

    :raises CorruptError: it is damaged
    """
    xattrs = inode.xattrs()
    access, default = (xattrs.get(f"system.posix_acl_{name}".encode()) for name in ("access", "default"))
    return Acl(
        _entries(inode),
        decode_posix(access) if access else (),
        decode_posix(default) if default else (),
    )


def _entries(inode: Inode) -> tuple[Ace, ...]:
    if isinstance(inode, ReplayedInode) and inode.node.aces is not None:
        count, data = inode.node.aces
        return decode(data, count)
    dn = inode.dmu.dnode
    if dn.bonus_type == ObjectType.ZNODE:
        return _from_phys(inode, dn.bonus[OLD_ZNODE.size - _PHYS.size : OLD_ZNODE.size])
    if dn.bonus_type != ObjectType.SA:
        return ()
    values = attribute_values(inode.dmu, inode.filesystem.layouts)
    if "ZPL_ZNODE_ACL" in values:
        return _from_phys(inode, values["ZPL_ZNODE_ACL"])
    count = int.from_bytes(values.get("ZPL_DACL_COUNT", b""), "little")
    return decode(values.get("ZPL_DACL_ACES", b""), count)


def _from_phys(inode: Inode, data: bytes) -> tuple[Ace, ...]:
    if len(data) < _PHYS.size:
        raise CorruptError(f"object {inode.object}: an ACL of {len(data)} bytes")
    elsewhere, size, version, count, entries = _PHYS.unpack(data)
    if not version:
        count, size = size, 12 * size
    if elsewhere:
        if size > _ACL_MAX:
            raise CorruptError(f"object {inode.object}: an ACL of {size} bytes")
        entries = inode.filesystem.objset.object(elsewhere).read(0, size)
    return decode(entries, count) if version else decode_old(entries, count)
