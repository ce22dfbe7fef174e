"""A file system in memory that says whatever a test wants, however hostile."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class MemoryInode:
    """Is its own attributes, too."""

    object: int
    mode: int
    content: bytes = b""
    names: list[tuple[bytes, int]] = field(default_factory=list)
    ranges: list[tuple[int, int]] | None = None
    size: int = 0
    uid: int = 0
    gid: int = 0
    nlink: int = 1
    rdev: int = 0
    atime_ns: int = 1_000_000_001
    mtime_ns: int = 2_000_000_002
    ctime_ns: int = 3_000_000_003
    attrs: dict[bytes, bytes] = field(default_factory=dict)

    @property
    def attributes(self) -> MemoryInode:
        return self

    def read(self, offset: int, length: int) -> bytes:
        return self.content[offset : offset + length]

    def readlink(self) -> bytes:
        return self.content

    def entries(self) -> list[MemoryEntry]:
        return [MemoryEntry(name, number) for name, number in self.names]

    def lookup(self, name: bytes) -> MemoryInode | None:
        raise NotImplementedError("extraction goes by object number")

    def xattrs(self) -> dict[bytes, bytes]:
        return self.attrs

    def data_ranges(self) -> Iterator[tuple[int, int]]:
        return iter([(0, len(self.content))] if self.ranges is None else self.ranges)


@dataclass
class MemoryEntry:
    name: bytes
    object: int
    type: int = 0


class MemoryFileSystem:
    """Inode 1 is the root."""

    def __init__(self) -> None:
        self.inodes: dict[int, MemoryInode] = {}
        self.root = self._add(stat.S_IFDIR | 0o755)

    def inode(self, object: int) -> MemoryInode:
        return self.inodes[object]

    def folder(self, mode: int = 0o755) -> MemoryInode:
        return self._add(stat.S_IFDIR | mode)

    def file(self, content: bytes = b"", mode: int = 0o644) -> MemoryInode:
        return self._add(stat.S_IFREG | mode, content)

    def symlink(self, target: bytes) -> MemoryInode:
        return self._add(stat.S_IFLNK | 0o777, target)

    def special(self, kind: int) -> MemoryInode:
        return self._add(kind | 0o640)

    def put(self, name: bytes, node: MemoryInode, folder: MemoryInode | None = None) -> MemoryInode:
        (folder or self.root).names.append((name, node.object))
        return node

    def _add(self, mode: int, content: bytes = b"") -> MemoryInode:
        node = MemoryInode(len(self.inodes) + 1, mode, content, size=len(content))
        self.inodes[node.object] = node
        return node
