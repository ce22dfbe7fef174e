"""Reading ROFS: the tables are read at once, as OSv's driver does, content as it is asked for.

Permissions are what OSv shows: everything may be read and executed by all, and nothing written.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from unikiln.base import lookup
from unikiln.base.device import BlockDevice
from unikiln.base.filesystem import Contents, NamedEntry, PlainAttributes
from unikiln.errors import ImageError, IsADirectoryInPoolError, NotADirectoryInPoolError, UsageError
from unikiln.rofs import format as disk

_ROOT = 1
_PERMISSIONS = 0o555
_KINDS = frozenset({disk.DIRECTORY, disk.FILE, disk.SYMLINK})


class FileSystem:
    """A device that holds ROFS.

    :raises ImageError: it holds none, or its structures are damaged
    """

    def __init__(self, device: BlockDevice) -> None:
        self.device = device
        self.name = device.name
        self.superblock = disk.decode_superblock(device.read_at(0, min(disk.BLOCK, device.size)), device.name)
        start, size = self.superblock.first_block * disk.BLOCK, self.superblock.blocks * disk.BLOCK
        if size > disk.MOST_STRUCTURES:
            raise ImageError(f"{device.name}: ROFS structures of {size} bytes")
        if start + size > device.size:
            raise ImageError(
                f"{device.name}: ROFS structures up to byte {start + size}, and it ends at {device.size}",
                hint="the image is truncated",
            )
        self.structures = disk.decode_structures(device.read_at(start, size), self.superblock, device.name)

    @property
    def root(self) -> Inode:
        """The root directory."""
        return self.inode(_ROOT)

    def inode(self, object: int) -> Inode:
        """The inode with that number.

        :raises ImageError: there is none, or it is of no known kind
        """
        if not 1 <= object <= len(self.structures.inodes):
            raise ImageError(f"{self.name}: ROFS has no inode {object}")
        record = self.structures.inodes[object - 1]
        if record.mode not in _KINDS or (object == _ROOT and record.mode != disk.DIRECTORY):
            raise ImageError(f"{self.name}: ROFS inode {object} has mode {record.mode:#x}")
        return Inode(self, object, record)

    @property
    def contents(self) -> Contents:
        """How much is in it, by what its inodes say."""
        records = self.structures.inodes
        sizes = [record.length for record in records if record.mode == disk.FILE]
        directories = sum(record.mode == disk.DIRECTORY for record in records)
        return Contents(len(records), len(records) - directories, sum(sizes))

    def path(self, path: bytes, *, follow: bool = True) -> Inode:
        """The inode at ``path``; see :func:`unikiln.base.lookup.find`."""
        return lookup.find(self.root, path, self.name, follow=follow)


class Inode:
    """A file, directory or symbolic link; immutable."""

    def __init__(self, filesystem: FileSystem, number: int, record: disk.Inode) -> None:
        self.filesystem = filesystem
        self.object = number
        self.record = record

    @cached_property
    def attributes(self) -> PlainAttributes:
        """What ``stat`` tells."""
        size = self.record.length
        if self.record.mode == disk.SYMLINK:
            size = len(self.readlink())
        elif self.record.mode == disk.DIRECTORY:
            size = 0
        blocks = -(-size // disk.BLOCK) if self.record.mode == disk.FILE else 0
        return PlainAttributes(self.record.mode | _PERMISSIONS, size, 1, disk.BLOCK, blocks)

    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes from ``offset``: short at the end of the file.

        :raises ImageError: the file is not all on the device
        """
        if self.record.mode == disk.DIRECTORY:
            raise IsADirectoryInPoolError(f"inode {self.object} of {self.filesystem.name} is a directory")
        length = min(length, self.record.length - offset)
        if self.record.mode != disk.FILE or offset < 0 or length <= 0:
            return b""
        return self.filesystem.device.read_at(self.record.offset * disk.BLOCK + offset, length)

    def readlink(self) -> bytes:
        """The target of a symbolic link.

        :raises ImageError: it is not in the table of them
        """
        if self.record.mode != disk.SYMLINK:
            raise UsageError(f"inode {self.object} of {self.filesystem.name} is not a symbolic link")
        targets = self.filesystem.structures.symlinks
        if self.record.offset >= len(targets):
            raise ImageError(
                f"{self.filesystem.name}: ROFS inode {self.object} is symbolic link "
                f"{self.record.offset} of {len(targets)}"
            )
        return targets[self.record.offset]

    def _entries(self) -> Iterator[disk.Entry]:
        if self.record.mode != disk.DIRECTORY:
            raise NotADirectoryInPoolError(
                f"inode {self.object} of {self.filesystem.name} is not a directory"
            )
        table = self.filesystem.structures.entries
        first, end = self.record.offset, self.record.offset + self.record.length
        if end > len(table):
            raise ImageError(
                f"{self.filesystem.name}: ROFS directory {self.object} has entries up to {end} "
                f"of {len(table)}"
            )
        return iter(table[first:end])

    def entries(self) -> Iterator[NamedEntry]:
        """The names in a directory, in their order on disk.

        :raises ImageError: a name that is none, or an inode that is not there
        """
        for entry in self._entries():
            _check_name(entry.name, self)
            found = self.filesystem.inode(entry.inode)
            yield NamedEntry(entry.name, entry.inode, found.record.mode >> 12)

    def lookup(self, name: bytes) -> Inode | None:
        """What is called ``name`` in a directory, if anything."""
        number = self._numbers.get(name)
        return None if number is None else self.filesystem.inode(number)

    @cached_property
    def _numbers(self) -> dict[bytes, int]:
        """The first entry of each name, as OSv finds it."""
        found: dict[bytes, int] = {}
        for entry in self._entries():
            found.setdefault(entry.name, entry.inode)
        return found

    def xattrs(self) -> dict[bytes, bytes]:
        """None: ROFS has no extended attributes."""
        return {}

    def data_ranges(self) -> Iterator[tuple[int, int]]:
        """(offset, length) of the content: ROFS has no holes."""
        if self.record.mode == disk.FILE and self.record.length:
            yield 0, self.record.length


def _check_name(name: bytes, directory: Inode) -> None:
    if not name or name in (b".", b"..") or b"/" in name or b"\0" in name:
        raise ImageError(
            f"{directory.filesystem.name}: ROFS directory {directory.object} has a name {name!r}"
        )
