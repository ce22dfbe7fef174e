"""Reading a bootfs: as what an OSv kernel makes of it in its ramfs, where everybody may do everything."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from unikiln.base import lookup
from unikiln.base.device import BlockDevice
from unikiln.base.filesystem import Contents, NamedEntry, PlainAttributes
from unikiln.bootfs import format as disk
from unikiln.errors import ImageError, IsADirectoryInPoolError, NotADirectoryInPoolError, UsageError

_PERMISSIONS = 0o777
_BLOCK = 512
_RECORDS_AT_ONCE = 512
_LINKS_MAX = 40
_TARGET_MAX = 1 << 12
_MOST_INODES = 1 << 18
"""A small file can name very many folders: more than these are no kernel's."""


class FileSystem:
    """A device that holds a bootfs; what is in it is unpacked, in memory, by the records alone.

    :raises ImageError: it does not, or a record makes no sense
    """

    def __init__(self, device: BlockDevice) -> None:
        self.device = device
        self.name = device.name
        self.records = list(_records(device))
        self._inodes: list[Inode] = []
        self._new(stat.S_IFDIR)
        for record in self.records:
            self._unpack(record)

    @property
    def root(self) -> Inode:
        """The root directory."""
        return self._inodes[0]

    @property
    def size(self) -> int:
        """Bytes of the device that it takes."""
        ends = (record.offset + record.size for record in self.records)
        return max(ends, default=0) or disk.RECORD

    def inode(self, object: int) -> Inode:
        """The inode with that number.

        :raises ImageError: there is none
        """
        if not 1 <= object <= len(self._inodes):
            raise ImageError(f"{self.name}: the bootfs has no inode {object}")
        return self._inodes[object - 1]

    @property
    def contents(self) -> Contents:
        """How much is in it."""
        attributes = [inode.attributes for inode in self._inodes]
        sizes = [each.size for each in attributes if stat.S_ISREG(each.mode)]
        directories = sum(stat.S_ISDIR(each.mode) for each in attributes)
        return Contents(len(attributes), len(attributes) - directories, sum(sizes))

    def path(self, path: bytes, *, follow: bool = True) -> Inode:
        """The inode at ``path``; see :func:`unikiln.base.lookup.find`."""
        return lookup.find(self.root, path, self.name, follow=follow)

    def _new(self, kind: int, offset: int = 0, size: int = 0) -> Inode:
        if len(self._inodes) >= _MOST_INODES:
            raise ImageError(f"{self.name}: more than {_MOST_INODES} files and folders in the bootfs")
        made = Inode(self, len(self._inodes) + 1, kind, offset, size)
        self._inodes.append(made)
        return made

    def _unpack(self, record: disk.Record) -> None:
        """Make what ``record`` tells of; of two files with one name, the later stays."""
        names = [name for name in record.name.split(b"/") if name not in (b"", b".")]
        if record.is_directory:
            self._directory(names, record)
            return
        if not names or record.name.endswith(b"/") or names[-1] == b"..":
            raise ImageError(f"{self.name}: a bootfs record is called {_show(record)}")
        folder = self._directory(names[:-1], record)
        present = folder.children.get(names[-1])
        if present is not None and present.is_directory:
            raise ImageError(f"{self.name}: bootfs has {_show(record)} as a directory and as a file")
        kind, size = stat.S_IFREG, record.size
        if record.type == disk.SYMLINK:
            kind, size = stat.S_IFLNK, len(self._target(record))
        folder.children[names[-1]] = self._new(kind, record.offset, size)

    def _directory(self, names: list[bytes], record: disk.Record) -> Inode:
        """The directory ``names`` of the root, made as needed; links on the way are followed."""
        trail = [self.root]
        left = names[::-1]
        followed = 0
        while left:
            name = left.pop()
            if name == b"..":
                trail = trail[:-1] or trail
                continue
            child = trail[-1].children.get(name) or self._new(stat.S_IFDIR)
            if child.is_symlink:
                followed += 1
                target = child.readlink()
                left += [part for part in reversed(target.split(b"/")) if part not in (b"", b".")]
                trail = trail[:1] if target.startswith(b"/") else trail
            elif child.is_directory:
                trail[-1].children[name] = child
                trail.append(child)
            if not (child.is_directory or child.is_symlink) or followed > _LINKS_MAX:
                raise ImageError(
                    f"{self.name}: bootfs record {_show(record)} goes through {os.fsdecode(name)}"
                )
        return trail[-1]

    def _target(self, record: disk.Record) -> bytes:
        """What a symbolic link says: its content up to the NUL that must end it."""
        if not 0 < record.size <= _TARGET_MAX:
            raise ImageError(f"{self.name}: bootfs link {_show(record)} has {record.size} bytes")
        target, end, _ = self.device.read_at(record.offset, record.size).partition(b"\0")
        if not end:
            raise ImageError(f"{self.name}: no NUL ends the bootfs link {_show(record)}")
        return target


class Inode:
    """A file, directory or symbolic link; immutable once the file system is open."""

    def __init__(self, filesystem: FileSystem, number: int, kind: int, offset: int, size: int) -> None:
        self.filesystem = filesystem
        self.object = number
        self.children: dict[bytes, Inode] = {}
        self._offset = offset
        self.attributes = PlainAttributes(kind | _PERMISSIONS, size, 1, _BLOCK, -(-size // _BLOCK))

    @property
    def is_directory(self) -> bool:
        """Whether it has entries."""
        return stat.S_ISDIR(self.attributes.mode)

    @property
    def is_symlink(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.attributes.mode)

    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes from ``offset``: short at the end of the file."""
        if self.is_directory:
            raise IsADirectoryInPoolError(f"inode {self.object} of {self.filesystem.name} is a directory")
        length = min(length, self.attributes.size - offset)
        if offset < 0 or length <= 0:
            return b""
        return self.filesystem.device.read_at(self._offset + offset, length)

    def readlink(self) -> bytes:
        """The target of a symbolic link."""
        if not self.is_symlink:
            raise UsageError(f"inode {self.object} of {self.filesystem.name} is not a symbolic link")
        return self.read(0, self.attributes.size)

    def entries(self) -> Iterator[NamedEntry]:
        """The names in a directory, in the order in which they are made."""
        for name, child in self._directory().items():
            yield NamedEntry(name, child.object, child.attributes.mode >> 12)

    def lookup(self, name: bytes) -> Inode | None:
        """What is called ``name`` in a directory, if anything."""
        return self._directory().get(name)

    def _directory(self) -> dict[bytes, Inode]:
        if not self.is_directory:
            raise NotADirectoryInPoolError(
                f"inode {self.object} of {self.filesystem.name} is not a directory"
            )
        return self.children

    def xattrs(self) -> dict[bytes, bytes]:
        """None: a bootfs has no extended attributes."""
        return {}

    def data_ranges(self) -> Iterator[tuple[int, int]]:
        """(offset, length) of the content: a bootfs has no holes."""
        if stat.S_ISREG(self.attributes.mode) and self.attributes.size:
            yield 0, self.attributes.size


def _records(device: BlockDevice) -> Iterator[disk.Record]:
    """The records of the bootfs on ``device``, each inside it."""
    step = _RECORDS_AT_ONCE * disk.RECORD
    for start in range(0, device.size, step):
        data = device.read_at(start, min(step, device.size - start))
        for offset in range(0, len(data) - disk.RECORD + 1, disk.RECORD):
            record = disk.decode(data, offset)
            if record is None:
                return
            if record.offset + record.size > device.size:
                raise ImageError(
                    f"{device.name}: bootfs file {_show(record)} ends at byte "
                    f"{record.offset + record.size} of {device.size}",
                    hint="the image is truncated",
                )
            yield record
    raise ImageError(f"{device.name}: no end of the bootfs records")


def _show(record: disk.Record) -> str:
    return os.fsdecode(record.name)
