"""A tree of nodes to ROFS, byte for byte as ``gen-rofs-img.py`` writes the same files.

What ROFS has no place for is left behind: owners, modes, times, extended attributes. A hard link is a
file of its own, as there: each of its names gets an inode and a copy of the content.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from unikiln.base.content import copy
from unikiln.base.device import BlockDevice
from unikiln.base.progress import QUIET, Progress
from unikiln.base.size import round_up
from unikiln.base.tree import Node
from unikiln.errors import ImageError
from unikiln.rofs import format as disk

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: ``size`` of the file system and ``bytes_in`` of content, in bytes."""

    size: int
    inodes: int
    bytes_in: int


@dataclass(slots=True)
class _Directory:
    """A directory whose children are being written; its own entries follow those of all below it."""

    path: bytes
    inode: int
    children: Iterator[tuple[bytes, Node]]
    entries: list[disk.Entry] = field(default_factory=list)


def write(device: BlockDevice, tree: Node, progress: Progress = QUIET) -> Written:
    """Write ``tree`` to ``device``, which reads as zeros and grows; content goes through memory in pieces.

    :raises ImageError: something that ROFS cannot hold, by name
    :raises HostError: a source cannot be read, or the device cannot be written
    """
    return _Writer(device, progress).run(tree)


class _Writer:
    """One run of :func:`write`; inodes are numbered parents first, children in the tree's order."""

    def __init__(self, device: BlockDevice, progress: Progress) -> None:
        self._device = device
        self._progress = progress
        self._block = 1  # behind the superblock
        self._bytes_in = 0
        self._tables = disk.Structures([], [], [])

    def run(self, tree: Node) -> Written:
        stack = [self._open(b"", tree)]
        while stack:
            here = stack[-1]
            child = next(here.children, None)
            if child is None:
                self._close(stack.pop())
                continue
            name, node = child
            path = here.path + b"/" + name
            here.entries.append(disk.Entry(len(self._tables.inodes) + 1, _short_enough(name, path)))
            if node.is_directory:
                stack.append(self._open(path, node))
            else:
                self._leaf(path, node)
        return Written(self._finish(), len(self._tables.inodes), self._bytes_in)

    def _open(self, path: bytes, node: Node) -> _Directory:
        number = self._add(disk.DIRECTORY, 0, 0)
        self._progress.advance(1, 0)
        return _Directory(path, number, iter(node.children.items()))

    def _close(self, directory: _Directory) -> None:
        """Give the directory its entries, all of whose subdirectories have theirs by now."""
        first, length = len(self._tables.entries), len(directory.entries)
        self._tables.entries.extend(directory.entries)
        inode = self._tables.inodes[directory.inode - 1]
        self._tables.inodes[directory.inode - 1] = inode._replace(offset=first, length=length)

    def _leaf(self, path: bytes, node: Node) -> None:
        if node.is_symlink:
            self._add(disk.SYMLINK, len(self._tables.symlinks), 1)
            self._tables.symlinks.append(_short_enough(node.target, path))
            self._progress.advance(1, 0)
        elif node.is_file:
            self._add(disk.FILE, self._block, node.size)
            copy(node, self._device, self._block * disk.BLOCK)
            self._block += round_up(node.size, disk.BLOCK) // disk.BLOCK
            self._bytes_in += node.size
            self._progress.advance(1, node.size)
        else:
            kind = stat.filemode(node.mode)[0]
            raise ImageError(
                f"{os.fsdecode(path)}: ROFS holds files, directories and symbolic links, and this is "
                f"of type {kind!r}",
                hint="leave it out",
            )

    def _add(self, mode: int, offset: int, length: int) -> int:
        number = len(self._tables.inodes) + 1
        self._tables.inodes.append(disk.Inode(mode, number, offset, length))
        return number

    def _finish(self) -> int:
        """Write the structures and, last, the superblock; the size of it all.

        Structures that fill their last block are followed by an empty one, which no count includes.
        """
        start = self._block * disk.BLOCK
        end = start
        for piece in _pieces(disk.encode_structures(self._tables)):
            self._device.write_at(end, piece)
            end += len(piece)
        if end - start > disk.MOST_STRUCTURES:
            raise ImageError(f"{len(self._tables.inodes)} files are too many for ROFS", hint="use --fs zfs")
        size = end + disk.BLOCK - end % disk.BLOCK
        self._device.write_at(end, bytes(size - end))
        counts = (len(table) for table in self._tables)
        blocks = round_up(end - start, disk.BLOCK) // disk.BLOCK
        self._device.write_at(0, disk.encode_superblock(disk.Superblock(self._block, blocks, *counts)))
        return size


def _pieces(records: Iterator[bytes]) -> Iterator[bytes]:
    """The records, joined to pieces of about a megabyte."""
    piece = bytearray()
    for record in records:
        piece += record
        if len(piece) >= _PIECE:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)


def _short_enough(text: bytes, path: bytes) -> bytes:
    if len(text) > disk.LONGEST:
        raise ImageError(
            f"{os.fsdecode(path[:100])}...: {len(text)} bytes are too long a name or link for ROFS"
        )
    return text
