"""From a node of the tree to the attributes of a znode: a bonus buffer, and a spill buffer for what is left.

The order of attributes is that of ``zfs_mknode`` (zfs_znode_os.c); targets of symbolic links and
extended attributes (``xattr=sa``) follow, in the bonus while they fit, else in the spill block.
"""

from __future__ import annotations

import os
import stat
import struct
from typing import NamedTuple

from unikiln.base.size import round_up
from unikiln.base.tree import Node
from unikiln.errors import UnsupportedError
from unikiln.zfs.format import acl, dnode, nvlist, sa
from unikiln.zfs.format.sa import ATTRIBUTES

XATTRS_MAX = 64 << 10
"""Largest packed list of extended attributes that OpenZFS keeps in a spill block (``DXATTR_MAX_SA_SIZE``)."""
FIRST_LAYOUT = 2
"""Layouts 0 and 1 are those of old znodes and of old bonus buffers."""

_BASE = tuple(
    ATTRIBUTES[f"ZPL_{name}"].number
    for name in [
        "MODE",
        "SIZE",
        "GEN",
        "UID",
        "GID",
        "PARENT",
        "FLAGS",
        "ATIME",
        "MTIME",
        "CTIME",
        "CRTIME",
        "LINKS",
    ]
)
_RDEV = ATTRIBUTES["ZPL_RDEV"].number
_ACL = (ATTRIBUTES["ZPL_DACL_COUNT"].number, ATTRIBUTES["ZPL_DACL_ACES"].number)
_FIXED = struct.Struct("<16Q")
_BILLION = 1_000_000_000


class Place(NamedTuple):
    """What only the writer knows of a node: its parent's object number, its links and entries."""

    parent: int
    links: int
    size: int
    gen: int


class Variable(NamedTuple):
    """An attribute of variable size that comes last: its number and value."""

    number: int
    value: bytes


class Layouts:
    """The layouts in use, numbered as they first appear; registered in the file system at the end."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[int, ...], int] = {}

    def number(self, attributes: tuple[int, ...]) -> int:
        """The number of the layout of these attributes, in this order."""
        return self._numbers.setdefault(attributes, FIRST_LAYOUT + len(self._numbers))

    def items(self) -> list[tuple[int, tuple[int, ...]]]:
        """(number, attributes) of every layout in use."""
        return [(number, attributes) for attributes, number in self._numbers.items()]


def encode(node: Node, place: Place, layouts: Layouts, name: bytes) -> tuple[bytes, bytes | None]:
    """The bonus buffer of ``node``, and its spill buffer (a block) if it needs one.

    :raises UnsupportedError: extended attributes too large for a spill block; ``name`` says whose
    """
    trivial = acl.trivial(node.mode)
    attributes, body = _BASE, _fixed(node, place, trivial.flags)
    if stat.S_ISBLK(node.mode) or stat.S_ISCHR(node.mode):
        attributes, body = (*attributes, _RDEV), body + struct.pack("<Q", device_number(node.rdev))
    attributes += _ACL
    body += struct.pack("<Q", trivial.entries) + trivial.aces
    variables = _variables(node, name)
    if _fits(body, variables, dnode.MAX_BONUS):
        return _buffer(attributes, body, len(trivial.aces), variables, layouts), None
    kept = variables[:1] if _fits(body, variables[:1], dnode.MAX_BONUS - 128) else []
    bonus = _buffer(attributes, body, len(trivial.aces), kept, layouts)
    return bonus, _spill(variables[len(kept) :], layouts)


def _fixed(node: Node, place: Place, flags: int) -> bytes:
    created = min(node.mtime_ns, node.ctime_ns) if node.ctime_ns else node.mtime_ns
    times = [part for ns in (node.atime_ns, node.mtime_ns, node.ctime_ns, created) for part in _time(ns)]
    head = (node.mode, place.size, place.gen, node.uid, node.gid, place.parent, flags)
    return _FIXED.pack(*head, *times, place.links)


def _time(ns: int) -> tuple[int, int]:
    seconds, rest = divmod(ns, _BILLION)
    return seconds & (1 << 64) - 1, rest


def device_number(rdev: int) -> int:
    """The host's device number as Linux keeps it in a znode: 12 bits of major, 20 of minor."""
    return os.major(rdev) << 20 | os.minor(rdev)


def _variables(node: Node, name: bytes) -> list[Variable]:
    found = []
    if stat.S_ISLNK(node.mode):
        found.append(Variable(ATTRIBUTES["ZPL_SYMLINK"].number, node.target))
    if node.xattrs:
        packed = nvlist.encode({os.fsdecode(key): value for key, value in node.xattrs.items()})
        if len(packed) > XATTRS_MAX:
            raise UnsupportedError(
                f"{os.fsdecode(name)}: {len(packed)} bytes of extended attributes, {XATTRS_MAX} fit",
                hint="remove some of them from the source",
            )
        found.append(Variable(ATTRIBUTES["ZPL_DXATTR"].number, packed))
    return found


def _fits(body: bytes, variables: list[Variable], room: int) -> bool:
    used = sa.header_size(1 + len(variables)) + len(body)
    return used + sum(round_up(len(each.value), 8) for each in variables) <= room


def _buffer(
    attributes: tuple[int, ...], body: bytes, aces: int, variables: list[Variable], layouts: Layouts
) -> bytes:
    layout = layouts.number(attributes + tuple(each.number for each in variables))
    head = sa.header(layout, (aces, *(len(each.value) for each in variables)))
    return head + body + _padded(variables)


def _spill(variables: list[Variable], layouts: Layouts) -> bytes:
    layout = layouts.number(tuple(each.number for each in variables))
    data = sa.header(layout, tuple(len(each.value) for each in variables)) + _padded(variables)
    return data.ljust(round_up(len(data), 512), b"\0")


def _padded(variables: list[Variable]) -> bytes:
    return b"".join(each.value.ljust(round_up(len(each.value), 8), b"\0") for each in variables)
