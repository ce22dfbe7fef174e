"""The attributes of files: from system attributes (ZPL version 5) or from an old znode (1 to 4).

Both come out as :class:`Attributes`, times in nanoseconds since 1970 (zfs_sa.c, zfs_znode.h).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from unikiln.errors import CorruptError, UnsupportedError
from unikiln.zfs.format import sa
from unikiln.zfs.format.blkptr import SIZE as POINTER_SIZE
from unikiln.zfs.format.blkptr import unpack as unpack_pointer
from unikiln.zfs.format.dmu import ObjectType
from unikiln.zfs.format.sa import Attribute
from unikiln.zfs.objset import DmuObject, ObjectSet
from unikiln.zfs.zap import Zap, read_zap

OLD_ZNODE = struct.Struct("<22Q88x")
"""``znode_phys_t``: the bonus of a file before system attributes."""
_MODE_MAX = 0xFFFF
_SECOND = 1_000_000_000
_MINOR_BITS = 20
_MINOR_MASK = (1 << _MINOR_BITS) - 1
_ID_MASK = (1 << 32) - 1
_HAS_PROJECT = 1 << 47
"""In ``z_pflags``: there is a project (``ZFS_PROJID``)."""


@dataclass(slots=True)
class Attributes:
    """What ``stat`` tells and what ZFS keeps beside it.

    ``mode`` is a whole ``st_mode``; sizes in bytes, ``blocks`` in units of 512; ``rdev`` as ``os.makedev``
    makes it; ``flags`` are ``z_pflags``; ``xattr_object`` the directory of extended attributes, or 0;
    ``project`` the number of the project whose quota it counts for.
    """

    object: int
    mode: int
    uid: int
    gid: int
    size: int
    nlink: int
    rdev: int
    parent: int
    gen: int
    flags: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    crtime_ns: int
    block_size: int
    blocks: int
    xattr_object: int = 0
    project: int = 0


class Layouts:
    """The attributes that a file system registers and the layouts it has given numbers to."""

    def __init__(self, objset: ObjectSet, sa_master: int) -> None:
        self._layouts: dict[int, tuple[Attribute, ...]] = {}
        self._places: dict[tuple[int, int], Places] = {}
        if sa_master:
            self._load(objset, read_zap(objset, sa_master))

    def _load(self, objset: ObjectSet, master: dict[bytes, int]) -> None:
        registry, layouts = master.get(b"REGISTRY"), master.get(b"LAYOUTS")
        if registry is None or layouts is None:
            return
        known = [
            sa.decode_registration(os.fsdecode(name), value)
            for name, value in read_zap(objset, registry).items()
        ]
        by_number = {attribute.number: attribute for attribute in known}
        for entry in Zap(objset.object(layouts)).entries():
            if entry.name.isdigit():
                unknown = [number for number in entry.values if number not in by_number]
                if unknown:
                    raise CorruptError(
                        f"{objset.name}: a layout has attribute {unknown[0]}, which is not registered"
                    )
                self._layouts[int(entry.name)] = tuple(by_number[number] for number in entry.values)

    def attributes(self, data: bytes) -> Sequence[Attribute]:
        """The layout of a bonus or spill buffer.

        :raises CorruptError: no such layout
        """
        number = sa.layout_of(data)
        if number not in self._layouts:
            raise CorruptError(f"system attributes in layout {number}, which does not exist")
        return self._layouts[number]

    def places(self, data: bytes) -> Places:
        """Where the fixed attributes at the start of a buffer lie; worked out once a layout."""
        if len(data) < 8:
            raise CorruptError("system attributes without their header")
        key = int.from_bytes(data[:4], "little"), int.from_bytes(data[4:6], "little")
        found = self._places.get(key)
        if found is None:
            found = self._places[key] = Places(self.attributes(data), (key[1] >> 10) * 8)
        return found


class Places:
    """Word positions of fixed-size attributes that come before any of variable size."""

    def __init__(self, layout: Sequence[Attribute], start: int) -> None:
        position: dict[str, int] = {}
        word = 0
        for attribute in layout:
            if attribute.length == 0 or attribute.length % 8:
                break
            position[attribute.name] = word
            word += attribute.length // 8
        self.start = start
        self.struct = struct.Struct(f"<{word}Q")
        self.late = frozenset(attribute.name for attribute in layout) - position.keys()
        """What comes after them."""
        basic = [position.get(name) for name in _BASIC]
        self.basic = tuple(at if at is not None else word for at in basic)
        """Places of :data:`_BASIC`; one past the end, where the reader puts a zero, for what is absent."""
        self.misses = frozenset(name for name, at in zip(_BASIC, basic, strict=True) if at is None)

    def words(self, data: bytes) -> tuple[int, ...]:
        """The words of the fixed attributes, and a zero.

        :raises CorruptError: the buffer ends before them
        """
        if self.start + self.struct.size > len(data):
            raise CorruptError("system attributes end after their buffer")
        return (*self.struct.unpack_from(data, self.start), 0)


_BASIC = (
    "ZPL_MODE", "ZPL_UID", "ZPL_GID", "ZPL_SIZE", "ZPL_LINKS", "ZPL_RDEV", "ZPL_PARENT", "ZPL_GEN",
    "ZPL_FLAGS", "ZPL_ATIME", "ZPL_MTIME", "ZPL_CTIME", "ZPL_CRTIME", "ZPL_XATTR", "ZPL_PROJID",
)  # fmt: skip
_TIMES = ("ZPL_ATIME", "ZPL_MTIME", "ZPL_CTIME", "ZPL_CRTIME")
_NEEDED = frozenset({"ZPL_MODE", "ZPL_SIZE", "ZPL_PARENT", "ZPL_LINKS"})


def read_attributes(obj: DmuObject, layouts: Layouts) -> Attributes:
    """The attributes of a file's object.

    :raises CorruptError: they are damaged, or the object is no file
    """
    if obj.dnode.bonus_type == ObjectType.SA:
        found = _from_sa(obj, layouts)
    elif obj.dnode.bonus_type == ObjectType.ZNODE:
        found = _from_znode(obj)
    else:
        raise CorruptError(f"object {obj.number} is not a file: it has no attributes")
    if found.mode > _MODE_MAX:
        raise CorruptError(f"object {obj.number} has mode {found.mode:o}")
    return found


def _from_sa(obj: DmuObject, layouts: Layouts) -> Attributes:
    data = obj.dnode.bonus
    places = layouts.places(data)
    if places.misses & _NEEDED:
        return _from_values(obj, layouts)
    words = places.words(data)
    (
        mode, uid, gid, size, links, rdev, parent, gen, flags, atime, mtime, ctime, crtime, xattr, project,
    ) = places.basic  # fmt: skip
    last = len(words) - 1
    return Attributes(
        obj.number, words[mode], words[uid] & _ID_MASK, words[gid] & _ID_MASK, words[size], words[links],
        host_device(words[rdev]), words[parent], words[gen], words[flags],
        _time(words, atime, last), _time(words, mtime, last),
        _time(words, ctime, last), _time(words, crtime, last),
        obj.dnode.block_size, obj.dnode.used + 511 >> 9,
        words[xattr] or _late(obj, layouts, places, "ZPL_XATTR"),
        words[project] or (_late(obj, layouts, places, "ZPL_PROJID") if words[flags] & _HAS_PROJECT else 0),
    )  # fmt: skip


def _time(words: tuple[int, ...], at: int, last: int) -> int:
    return 0 if at >= last else _nanoseconds(words[at], words[at + 1])


def _nanoseconds(seconds: int, nanoseconds: int) -> int:
    return (seconds - (1 << 64) if seconds >> 63 else seconds) * _SECOND + nanoseconds


def _late(obj: DmuObject, layouts: Layouts, places: Places, name: str) -> int:
    """A number that comes after attributes of variable size, or in the spill block; 0 if there is none."""
    if not obj.dnode.spill and name not in places.late:
        return 0
    return int.from_bytes(attribute_values(obj, layouts).get(name, b""), "little")


def _from_values(obj: DmuObject, layouts: Layouts) -> Attributes:
    """The slow way, for layouts in which variable attributes come first, or that spill."""
    values = attribute_values(obj, layouts)
    missing = sorted(_NEEDED - values.keys())
    if missing:
        raise CorruptError(f"object {obj.number} has no attribute {missing[0]}")
    number = {name: int.from_bytes(values.get(name, b"")[:8], "little") for name in _BASIC}
    atime, mtime, ctime, crtime = (_stamp(values.get(name, b"")) for name in _TIMES)
    return Attributes(
        obj.number, number["ZPL_MODE"], number["ZPL_UID"] & _ID_MASK, number["ZPL_GID"] & _ID_MASK,
        number["ZPL_SIZE"], number["ZPL_LINKS"], host_device(number["ZPL_RDEV"]), number["ZPL_PARENT"],
        number["ZPL_GEN"], number["ZPL_FLAGS"], atime, mtime, ctime, crtime,
        obj.dnode.block_size, obj.dnode.used + 511 >> 9, number["ZPL_XATTR"],
        number["ZPL_PROJID"],
    )  # fmt: skip


def _stamp(value: bytes) -> int:
    return _nanoseconds(*struct.unpack("<2Q", value)) if len(value) == 16 else 0


def packed_xattrs(obj: DmuObject, layouts: Layouts) -> bytes:
    """The nvlist of extended attributes that is one of the system attributes, or nothing."""
    if obj.dnode.bonus_type != ObjectType.SA:
        return b""
    if obj.dnode.spill is None and "ZPL_DXATTR" not in layouts.places(obj.dnode.bonus).late:
        return b""
    return attribute_values(obj, layouts).get("ZPL_DXATTR", b"")


def attribute_values(obj: DmuObject, layouts: Layouts) -> dict[str, bytes]:
    """Every system attribute of a file, raw, from the bonus and the spill block."""
    values: dict[str, bytes] = {}
    for data in (obj.dnode.bonus, spill_block(obj)):
        if data:
            values.update(sa.decode(data, layouts.attributes(data)))
    return values


def spill_block(obj: DmuObject) -> bytes:
    """The block where attributes continue, or nothing."""
    if obj.dnode.spill is None or len(obj.dnode.spill) != POINTER_SIZE:
        return b""
    pointer = unpack_pointer(obj.dnode.spill)
    return b"" if pointer.is_hole else obj.reader.read(pointer)


def _from_znode(obj: DmuObject) -> Attributes:
    if len(obj.dnode.bonus) < OLD_ZNODE.size:
        raise CorruptError(f"object {obj.number} has a znode of {len(obj.dnode.bonus)} bytes")
    words = OLD_ZNODE.unpack_from(obj.dnode.bonus)
    atime, mtime, ctime, crtime = (_nanoseconds(words[at], words[at + 1]) for at in (0, 2, 4, 6))
    gen, mode, size, parent, links, xattr, rdev, flags, uid, gid = words[8:18]
    return Attributes(
        obj.number, mode, uid & _ID_MASK, gid & _ID_MASK, size, links, host_device(rdev), parent, gen, flags,
        atime, mtime, ctime, crtime, obj.dnode.block_size, obj.dnode.used + 511 >> 9, xattr,
    )  # fmt: skip


@lru_cache(maxsize=256)
def host_device(rdev: int) -> int:
    """A device number as Linux stores it (12 bits major, 20 minor) in the form of ``os.makedev``."""
    return os.makedev(rdev >> _MINOR_BITS & _ID_MASK >> _MINOR_BITS, rdev & _MINOR_MASK) if rdev else 0


def inline_target(obj: DmuObject, layouts: Layouts, size: int) -> bytes | None:
    """The target of a symbolic link that is kept among its attributes; None if it is in a block."""
    if obj.dnode.bonus_type == ObjectType.SA:
        return attribute_values(obj, layouts).get("ZPL_SYMLINK")
    end = OLD_ZNODE.size + size
    return obj.dnode.bonus[OLD_ZNODE.size : end] if end <= len(obj.dnode.bonus) else None


def check_version(version: int, name: str) -> None:
    """Refuse a file system of a version that does not exist yet.

    :raises UnsupportedError: not 1 to 5
    """
    if not 1 <= version <= 5:
        raise UnsupportedError(f"file system {name} has version {version}, which is none that we know")
