"""A tree to an archive, in pieces: what is in memory is a piece, not a file.

A file with several names is one inode of the archive. Its content comes with its last name, as GNU cpio
does it, or with each: OSv's cpiod knows no links and makes a copy of every name.
"""

from __future__ import annotations

import os
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from unikiln.base.source import chunks
from unikiln.base.tree import Node, walk
from unikiln.errors import CpioError
from unikiln.image.cpio import newc
from unikiln.image.cpio.newc import FIELD_MAX, Header

_NS = 1_000_000_000
_BATCH = 1 << 20
"""Bytes that are gathered before they are given out: a file's header is no piece of its own."""


@dataclass(frozen=True, slots=True)
class SentFile:
    """A regular file as it was written: its size in bytes and the CRC-32 of its content."""

    size: int
    checksum: int


@dataclass(slots=True)
class Sent:
    """What was written so far: entries, bytes of the archive, and the files by (one of) their nodes."""

    entries: int = 0
    size: int = 0
    files: dict[int, SentFile] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Losses:
    """What of a tree newc has no place for, by the paths that have it."""

    too_large: tuple[bytes, ...]
    xattrs: tuple[bytes, ...]


def losses(root: Node) -> Losses:
    """What an archive of ``root`` would lack."""
    too_large = [path for path, node in walk(root) if node.is_file and node.size > FIELD_MAX]
    xattrs = [path for path, node in walk(root) if node.xattrs]
    return Losses(tuple(too_large), tuple(xattrs))


def check_sizes(root: Node) -> None:
    """Refuse a tree with files that no newc archive can hold.

    :raises CpioError: the first of them
    """
    for path in losses(root).too_large[:1]:
        raise CpioError(f"{os.fsdecode(path)}: newc holds no file of 4 GiB or more")


class Writer:
    """Writes one tree; ``sent`` tells what went out, while it goes and afterwards.

    :param absolute: whether names begin with a slash, as OSv's uploader sends them
    :param every_link: whether each name of a file comes with its content
    """

    def __init__(self, root: Node, *, absolute: bool = False, every_link: bool = False) -> None:
        self._root = root
        self._absolute = absolute
        self._every_link = every_link
        self._links = _names_left(root)
        self._inodes: dict[int, tuple[int, int]] = {}
        self.sent = Sent()

    def pieces(self) -> Iterator[bytes]:
        """The archive, in pieces of a megabyte or two.

        :raises HostError: a file cannot be read, or became shorter
        :raises CpioError: a file that is too large
        """
        check_sizes(self._root)
        batch, held = [], 0
        for piece in self._archive():
            batch.append(piece)
            held += len(piece)
            if held >= _BATCH:
                self.sent.size += held
                yield b"".join(batch)
                batch, held = [], 0
        self.sent.size += held
        yield b"".join(batch)

    def _archive(self) -> Iterator[bytes]:
        for path, node in walk(self._root):
            yield from self._entry(path, node)
            self.sent.entries += 1
        yield newc.trailer()

    def _entry(self, path: bytes, node: Node) -> Iterator[bytes]:
        inode, nlink = self._inode(node)
        last = self._last_name(node)
        content = node.target if node.is_symlink else b""
        size = node.size if node.is_file and (last or self._every_link) else len(content)
        yield Header(
            self._name(path), node.mode, node.uid, node.gid, nlink, _seconds(node.mtime_ns), size, inode,
            rdevice=(os.major(node.rdev), os.minor(node.rdev)),
        ).pack()  # fmt: skip
        if size:
            yield from self._content(node) if node.is_file else [content]
            yield newc.padding(size)
        elif node.is_file and not node.size:
            self.sent.files.setdefault(id(node), SentFile(0, 0))

    def _name(self, path: bytes) -> bytes:
        if self._absolute:
            return path
        return b"./" + newc.TRAILER if path[1:] == newc.TRAILER else path[1:] or b"."

    def _content(self, node: Node) -> Iterator[bytes]:
        checksum = 0
        for piece in chunks(node.source, node.size):
            checksum = zlib.crc32(piece, checksum)
            yield piece
        self.sent.files[id(node)] = SentFile(node.size, checksum)

    def _inode(self, node: Node) -> tuple[int, int]:
        """Inode number, and how many names the node has."""
        known = self._inodes.get(id(node))
        if known is None:
            known = len(self._inodes) + 1, self._links.get(id(node), 1)
            self._inodes[id(node)] = known
        return known

    def _last_name(self, node: Node) -> bool:
        """Whether no further name of ``node`` follows."""
        if id(node) not in self._links:
            return True
        self._links[id(node)] -= 1
        return self._links[id(node)] == 0


def _names_left(root: Node) -> dict[int, int]:
    """The number of names of those nodes that have several."""
    counted = Counter(id(node) for _, node in walk(root) if not node.is_directory)
    return {node: count for node, count in counted.items() if count > 1}


def _seconds(time_ns: int) -> int:
    """The nearest time that newc can tell, not later."""
    return min(max(time_ns // _NS, 0), FIELD_MAX)
