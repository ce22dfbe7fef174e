"""File systems, for reading: paths, directories, files, links and extended attributes (the ZPL).

Objects of the file system's object set are its inodes; object 1 is the master node, which names the
root directory (zfs_znode.c, zfs_dir.c).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from functools import cached_property

from unikiln.base import lookup
from unikiln.base.filesystem import NamedEntry as DirectoryEntry
from unikiln.errors import (
    CorruptError,
    IsADirectoryInPoolError,
    NotADirectoryInPoolError,
    UnsupportedError,
    UsageError,
)
from unikiln.zfs.attributes import (
    Attributes,
    Layouts,
    check_version,
    inline_target,
    packed_xattrs,
    read_attributes,
)
from unikiln.zfs.format import nvlist
from unikiln.zfs.format.objset import ObjsetType
from unikiln.zfs.normalization import NameRule
from unikiln.zfs.objset import DmuObject, ObjectSet
from unikiln.zfs.zap import Zap, read_zap

MASTER_NODE = 1
_OBJECT_MASK = (1 << 48) - 1
_TARGET_MAX = 1 << 16
_XATTR_MAX = 16 << 20
_READ_MAX = 4 << 30


class FileSystem:
    """A file system or a snapshot of one; nothing is read before it is asked for."""

    def __init__(self, objset: ObjectSet) -> None:
        self.objset = objset
        self.name = objset.name

    @cached_property
    def master(self) -> dict[bytes, int]:
        """The master node: names of what the file system has, to object numbers and settings.

        :raises UnsupportedError: the dataset is no file system, or of an unknown version
        """
        if self.objset.type != ObjsetType.ZFS:
            raise UnsupportedError(f"{self.name} is not a file system")
        master = read_zap(self.objset, MASTER_NODE)
        check_version(master.get(b"VERSION", 0), self.name)
        return master

    @cached_property
    def layouts(self) -> Layouts:
        """How attributes lie in their buffers here."""
        return Layouts(self.objset, self.master.get(b"SA_ATTRS", 0))

    @cached_property
    def name_rule(self) -> NameRule | None:
        """How names are compared, if not byte by byte."""
        return NameRule.of(self.master)

    @property
    def root(self) -> Inode:
        """The root directory."""
        return self.inode(self.master.get(b"ROOT", 0))

    def inode(self, number: int) -> Inode:
        """The inode that is object ``number``.

        :raises CorruptError: there is none
        """
        self.master  # noqa: B018  refuses what is not a file system
        return Inode(self, self.objset.object(number))

    def path(self, path: bytes, *, follow: bool = True) -> Inode:
        """The inode at ``path``, from the root; ``follow`` says whether a last symbolic link is followed.

        Links in between always are; an absolute one starts at the root, and ``..`` never leads above it.

        :raises PathNotFoundError: no such name, or too many links
        :raises NotADirectoryInPoolError: the path goes through something else
        """
        return lookup.find(self.root, path, self.name, follow=follow)


class Inode:
    """A file, directory, symbolic link or special file; immutable."""

    def __init__(self, filesystem: FileSystem, obj: DmuObject) -> None:
        self.filesystem = filesystem
        self.dmu = obj

    @property
    def object(self) -> int:
        """The inode number."""
        return self.dmu.number

    @cached_property
    def attributes(self) -> Attributes:
        """What ``stat`` tells, and more.

        :raises CorruptError: the object is not a file, or its attributes are damaged
        """
        return read_attributes(self.dmu, self.filesystem.layouts)

    @property
    def is_directory(self) -> bool:
        """Whether it has entries."""
        return stat.S_ISDIR(self.attributes.mode)

    @property
    def is_symlink(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.attributes.mode)

    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes from ``offset``: short at the end of the file.

        :raises IsADirectoryInPoolError: a directory
        :raises ChecksumError: a block of which no copy is good
        """
        if self.is_directory:
            raise IsADirectoryInPoolError(f"object {self.object} of {self.filesystem.name} is a directory")
        length = min(length, self.attributes.size - offset)
        if offset < 0 or length <= 0:
            return b""
        if length > _READ_MAX:
            raise UsageError(f"{length} bytes in one read", hint="read large files in pieces")
        return self._stored_bytes(offset, length)

    def _stored_bytes(self, offset: int, length: int) -> bytes:
        return self.dmu.read(offset, length)

    def readlink(self) -> bytes:
        """The target of a symbolic link.

        :raises UsageError: not one
        :raises CorruptError: longer than a path can be
        """
        if not self.is_symlink:
            raise UsageError(f"object {self.object} of {self.filesystem.name} is not a symbolic link")
        size = self.attributes.size
        if size > _TARGET_MAX:
            raise CorruptError(f"object {self.object}: a symbolic link of {size} bytes")
        inline = inline_target(self.dmu, self.filesystem.layouts, size)
        return self.dmu.read(0, size) if inline is None else inline[:size]

    def _zap(self) -> Zap:
        self._require_directory()
        return self._entries

    def _require_directory(self) -> None:
        if not self.is_directory:
            raise NotADirectoryInPoolError(
                f"object {self.object} of {self.filesystem.name} is not a directory"
            )

    @cached_property
    def _entries(self) -> Zap:
        return Zap(self.dmu)

    def entries(self) -> Iterator[DirectoryEntry]:
        """The names in a directory, in no particular order, without ``.`` and ``..``.

        :raises NotADirectoryInPoolError: not a directory
        """
        for name, value in self._zap().numbers():
            yield _entry(name, value)

    def lookup(self, name: bytes) -> Inode | None:
        """What is called ``name`` in a directory, if anything; a large directory is searched by hash.

        :raises NotADirectoryInPoolError: not a directory
        """
        found = self.find(name)
        return None if found is None else self.filesystem.inode(found.object)

    def find(self, name: bytes) -> DirectoryEntry | None:
        """The entry that ``name`` leads to, under the name that it is stored with.

        :raises NotADirectoryInPoolError: not a directory
        """
        zap, rule = self._zap(), self.filesystem.name_rule
        if rule is not None:
            return self._by_key.get(rule.key(name))
        value = zap.get(name)
        return None if value is None else _entry(name, value)

    @cached_property
    def _by_key(self) -> dict[str, DirectoryEntry]:
        """Entries by what their names have in common with all that mean the same."""
        rule = self.filesystem.name_rule
        return {rule.key(entry.name): entry for entry in self.entries()} if rule is not None else {}

    def xattrs(self) -> dict[bytes, bytes]:
        """Extended attributes by full name, from the system attributes and from their directory."""
        found: dict[bytes, bytes] = {}
        directory = self.attributes.xattr_object
        if directory:
            holder = self.filesystem.inode(directory)
            found.update((entry.name, holder._value(entry)) for entry in holder.entries())
        packed = packed_xattrs(self.dmu, self.filesystem.layouts)
        found.update(_unpacked(packed) if packed else {})
        return found

    def _value(self, entry: DirectoryEntry) -> bytes:
        """The content of one attribute's file in a directory of extended attributes."""
        holder = self.filesystem.inode(entry.object)
        if holder.attributes.size > _XATTR_MAX:
            raise CorruptError(
                f"object {entry.object}: an extended attribute of {holder.attributes.size} bytes"
            )
        return holder.read(0, holder.attributes.size)

    def data_ranges(self) -> Iterator[tuple[int, int]]:
        """(offset, length) of what is not a hole, in order, neighbours joined, within the file's size."""
        size, step = self.attributes.size, self.dmu.block_size
        start = end = 0
        for number in self.dmu.data_blocks():
            at = number * step
            if at >= size:
                break
            if at != end or end == start:
                if end > start:
                    yield start, end - start
                start = at
            end = at + step
        if end > start:
            yield start, min(end, size) - start


def _entry(name: bytes, value: int) -> DirectoryEntry:
    return DirectoryEntry(name, value & _OBJECT_MASK, value >> 60)


def _unpacked(packed: bytes) -> dict[bytes, bytes]:
    pairs = nvlist.decode(packed)
    return {os.fsencode(name): value for name, value in pairs.items() if isinstance(value, bytes)}
