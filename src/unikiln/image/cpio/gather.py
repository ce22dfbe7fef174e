"""What arrives, as a tree that a writer of a file system takes; content waits in a file, not in memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from unikiln.base.source import Extent, OpenFile, Part
from unikiln.base.tree import Node, directory
from unikiln.errors import CpioError, HostError, ManifestError
from unikiln.image.cpio.newc import Header
from unikiln.image.cpio.receive import Names
from unikiln.image.placing import find, place

_NS = 1_000_000_000


class Spool:
    """A nameless file of ``folder`` that takes content as it comes; gone when nobody refers to it."""

    def __init__(self, folder: Path) -> None:
        self._name = str(folder)
        try:
            with tempfile.TemporaryFile(dir=folder) as nameless:
                self._file = OpenFile(os.dup(nameless.fileno()))
        except OSError as error:
            raise HostError(f"{folder}: {error.strerror}") from error
        self._end = 0

    def put(self, name: str, content: Iterator[bytes]) -> tuple[Part | None, int]:
        """Keep ``content``; what holds it, and how many bytes it has. Pieces of zeros become holes.

        :raises HostError: the disk is full
        """
        extents: list[Extent] = []
        size = 0
        for piece in content:
            if piece.count(0) < len(piece):
                self._append(piece)
                extents.append(Extent(size, self._end - len(piece), len(piece)))
            size += len(piece)
        part = Part(name, self._file, _joined(extents)) if extents else None
        return part, size

    def _append(self, piece: bytes) -> None:
        view = memoryview(piece)
        try:
            while view:
                written = os.pwrite(self._file.handle, view, self._end)
                view, self._end = view[written:], self._end + written
        except OSError as error:
            raise HostError(f"{self._name}: {error.strerror}") from error


def _joined(extents: list[Extent]) -> list[Extent]:
    """Neighbours as one."""
    joined: list[Extent] = []
    for extent in extents:
        last = joined[-1] if joined else None
        if last is not None and last.offset + last.length == extent.offset:
            joined[-1] = Extent(last.offset, last.start, last.length + extent.length)
        else:
            joined.append(extent)
    return joined


class TreeReceiver:
    """Receives into the tree ``root``, which may have files already; times are whole seconds."""

    def __init__(self, spool: Spool, root: Node | None = None) -> None:
        self._spool = spool
        self.root = directory() if root is None else root

    def directory(self, names: Names, header: Header) -> None:  # noqa: D102
        self._place(names, _node(header))

    def file(self, names: Names, header: Header, content: Iterator[bytes]) -> Node:  # noqa: D102
        node = _node(header)
        node.source, node.size = self._spool.put(_shown(names), content)
        self._place(names, node)
        return node

    def symlink(self, names: Names, header: Header, target: bytes) -> Node:  # noqa: D102
        node = _node(header)
        node.target = target
        self._place(names, node)
        return node

    def special(self, names: Names, header: Header) -> Node:  # noqa: D102
        node = _node(header)
        self._place(names, node)
        return node

    def link(self, names: Names, earlier: Node) -> None:  # noqa: D102
        self._place(names, earlier)

    def fill(self, earlier: Node, content: Iterator[bytes]) -> None:  # noqa: D102
        earlier.source, earlier.size = self._spool.put("a file with several names", content)

    def finish(self) -> None:
        """Nothing is left to do."""

    def _place(self, names: Names, node: Node) -> None:
        path = b"/".join(names)
        try:
            present = None if node.is_directory else find(self.root, path)
            if present is not None and present.is_directory:
                raise CpioError("a file where a directory is already")
            place(self.root, path, node)
        except ManifestError as error:
            raise CpioError(error.message) from None


def _node(header: Header) -> Node:
    time_ns = header.mtime * _NS
    key = (os.makedev(*header.device), header.inode) if header.nlink > 1 else None
    return Node(
        header.mode, header.uid, header.gid, time_ns, time_ns, time_ns,
        os.makedev(*header.rdevice), link_key=key,
    )  # fmt: skip


def _shown(names: Names) -> str:
    return os.fsdecode(b"/" + b"/".join(names))
