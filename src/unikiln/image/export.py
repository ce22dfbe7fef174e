"""A tree that would go into an image, as files of the host."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from unikiln.base.source import data_ranges, name, read
from unikiln.base.tree import Node, walk
from unikiln.errors import HostError
from unikiln.image.extract import extract

_WARNINGS_SHOWN = 10


def export(root: Node, dest: Path, warn: Callable[[str], None]) -> None:
    """Copy ``root`` into ``dest``, a new or empty directory; owners only when root does it.

    :raises HostError: there is something in ``dest``, or the host refuses
    """
    try:
        dest.mkdir(parents=True, exist_ok=True)
        if any(dest.iterdir()):
            raise HostError(f"{dest}: is not empty", hint="remove it, or export to another directory")
    except OSError as error:
        if isinstance(error, HostError):
            raise
        raise HostError(f"{dest}: {error.strerror}") from error
    files = TreeFileSystem(root)
    done = extract(files, files.root, dest)
    said = [f"not exported: {each}" for each in done.failures] + done.warnings
    for each in said[:_WARNINGS_SHOWN]:
        warn(each)
    if len(said) > _WARNINGS_SHOWN:
        warn(f"and {len(said) - _WARNINGS_SHOWN} more that {dest} could not have")


class TreeFileSystem:
    """A tree as those who read files want it (:class:`unikiln.base.filesystem.FileSystem`)."""

    def __init__(self, root: Node) -> None:
        self._inodes: list[TreeInode] = []
        self._numbers: dict[int, int] = {}
        for _, node in walk(root):
            self._add(node)

    @property
    def root(self) -> TreeInode:
        """The top of the tree."""
        return self._inodes[0]

    def inode(self, object: int) -> TreeInode:
        """The node with that number."""
        return self._inodes[object]

    def number(self, node: Node) -> int:
        """The number of ``node``."""
        return self._numbers[id(node)]

    def _add(self, node: Node) -> None:
        known = self._numbers.get(id(node))
        if known is not None:
            self._inodes[known].attributes.nlink += 1
            return
        self._numbers[id(node)] = len(self._inodes)
        size = len(node.target) if node.is_symlink else node.size
        attributes = TreeAttributes(
            node.mode, node.uid, node.gid, size, 2 if node.is_directory else 1, node.rdev,
            node.atime_ns, node.mtime_ns, node.ctime_ns,
        )  # fmt: skip
        self._inodes.append(TreeInode(self, len(self._inodes), node, attributes))


@dataclass(slots=True)
class TreeAttributes:
    """What ``stat`` tells of a node."""

    mode: int
    uid: int
    gid: int
    size: int
    nlink: int
    rdev: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """A name in a directory."""

    name: bytes
    object: int
    type: int


@dataclass(frozen=True, slots=True, eq=False)
class TreeInode:
    """A node of a tree (:class:`unikiln.base.filesystem.Inode`)."""

    filesystem: TreeFileSystem
    object: int
    node: Node
    attributes: TreeAttributes

    @property
    def host(self) -> bytes:
        """What holds the content of a regular file, as text; nothing if it has none."""
        return os.fsencode(name(self.node.source)) if self.node.source is not None else b""

    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes of content."""
        return read(self.node.source, offset, max(min(length, self.node.size - offset), 0))

    def readlink(self) -> bytes:
        """Where a symbolic link leads."""
        return self.node.target

    def entries(self) -> Iterator[TreeEntry]:
        """The names of a directory."""
        for key, child in self.node.children.items():
            yield TreeEntry(key, self.filesystem.number(child), stat.S_IFMT(child.mode) >> 12)

    def lookup(self, name: bytes) -> TreeInode | None:
        """The node of that name in a directory."""
        child = self.node.children.get(name)
        return None if child is None else self.filesystem.inode(self.filesystem.number(child))

    def xattrs(self) -> dict[bytes, bytes]:
        """Extended attributes."""
        return self.node.xattrs

    def data_ranges(self) -> Iterator[tuple[int, int]]:
        """(offset, length) of what is no hole."""
        for start, end in data_ranges(self.node.source, self.node.size):
            yield start, end - start
