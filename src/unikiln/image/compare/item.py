"""What is compared: the files of an image or of a tree, in one order, one shape, and read in pieces."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from unikiln.base import source
from unikiln.base.filesystem import FileSystem, Inode
from unikiln.base.tree import Node
from unikiln.image.walk import walk

Names = tuple[bytes, ...]
Read = Callable[[int, int], bytes]
"""Bytes at an offset, so many."""


@dataclass(frozen=True, slots=True)
class Item:
    """One name below the top (``names`` empty: the top itself); times in nanoseconds since 1970.

    ``first`` are the first names, in order, of the same file; ``checksum``, a CRC-32, stands for content that
    cannot be read (again).
    """

    names: Names
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    rdev: int
    target: bytes
    xattrs: dict[bytes, bytes]
    first: Names
    read: Read
    checksum: int | None = None

    @property
    def path(self) -> bytes:
        """The names as a path."""
        return b"/" + b"/".join(self.names)

    @property
    def kind(self) -> int:
        """The type bits of the mode."""
        return stat.S_IFMT(self.mode)


def of_filesystem(filesystem: FileSystem, top: Inode | None = None) -> Iterator[Item]:
    """All that is in an image, or below ``top``: parents first, names in order of their bytes."""
    first: dict[int, Names] = {}
    for visit in walk(filesystem, top or filesystem.root):
        inode = visit.inode
        attributes = inode.attributes
        regular, link = stat.S_ISREG(attributes.mode), stat.S_ISLNK(attributes.mode)
        several = attributes.nlink > 1 and not visit.is_directory
        yield Item(
            visit.names, attributes.mode, attributes.uid, attributes.gid,
            attributes.size if regular else 0, attributes.mtime_ns, attributes.rdev,
            inode.readlink() if link else b"", inode.xattrs(),
            first.setdefault(inode.object, visit.names) if several else visit.names, inode.read,
        )  # fmt: skip


def of_tree(root: Node, checksums: dict[int, int] | None = None) -> Iterator[Item]:
    """All that is in a tree, in the same order; ``checksums`` are those of nodes, by their ids."""
    first: dict[int, Names] = {}
    stack: list[Iterator[tuple[Names, Node]]] = [iter([((), root)])]
    while stack:
        names, node = next(stack[-1], ((), None))
        if node is None:
            stack.pop()
            continue
        several = not node.is_directory
        yield Item(
            names, node.mode, node.uid, node.gid, node.size if node.is_file else 0, node.mtime_ns,
            node.rdev, node.target, node.xattrs,
            first.setdefault(id(node), names) if several else names, _reader(node),
            None if checksums is None else checksums.get(id(node)),
        )  # fmt: skip
        if node.is_directory:
            stack.append(_children(names, node))


def _children(names: Names, node: Node) -> Iterator[tuple[Names, Node]]:
    for name in sorted(node.children):
        yield (*names, name), node.children[name]


def _reader(node: Node) -> Read:
    return lambda offset, length: source.read(node.source, offset, min(length, node.size - offset))
