"""Files, directories and links in memory: what ``/tmp`` is made of."""

from __future__ import annotations

import errno
import itertools
import stat
import time
from collections.abc import Iterable

from unikiln.machine.events import Errno
from unikiln.machine.vfs.node import Entry, Node, Stat

DEVICE = 0x11
LARGEST_FILE = 1 << 34
"""16 GiB: a guest that seeks far and writes must not take the host's memory down with it."""


class MemoryNode(Node):
    """A file, directory or symbolic link, by its mode."""

    _numbers = itertools.count(1)

    def __init__(self, mode: int, target: bytes = b"") -> None:
        self.number = next(self._numbers)
        self._mode = mode
        self._owner = (0, 0)
        self._content = bytearray(target)
        self._names: dict[bytes, Node] = {}
        self._links = 2 if stat.S_ISDIR(mode) else 0
        now = time.time_ns()
        self._atime, self._mtime, self._ctime = now, now, now

    @property
    def read_only(self) -> bool:
        """It can be changed."""
        return False

    def stat(self) -> Stat:
        """What ``stat`` tells."""
        uid, gid = self._owner
        return Stat(
            DEVICE, self.number, self._mode, self._links, uid, gid, 0, len(self._content),
            self._atime, self._mtime, self._ctime,
        )  # fmt: skip

    @property
    def mode(self) -> int:
        """Type and permissions."""
        return self._mode

    @property
    def size(self) -> int:
        """Size in bytes."""
        return len(self._content)

    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes; short at the end."""
        return bytes(self._content[offset : offset + length]) if self.is_regular else super().read(0, 0)

    def readlink(self) -> bytes:
        """The target of a symbolic link."""
        return bytes(self._content) if self.is_link else super().readlink()

    def entries(self) -> Iterable[Entry]:
        """The names in a directory."""
        if not self.is_directory:
            return super().entries()
        return [Entry(name, node.number, node.mode >> 12) for name, node in self._names.items()]

    def lookup(self, name: bytes) -> Node | None:
        """The node that ``name`` stands for in this directory."""
        return self._names.get(name) if self.is_directory else super().lookup(name)

    def write(self, offset: int, data: bytes) -> int:
        """Store ``data``, zeros before it if it begins past the end."""
        if offset + len(data) > LARGEST_FILE:
            raise Errno(errno.EFBIG)
        if offset > len(self._content):
            self._content.extend(bytes(offset - len(self._content)))
        self._content[offset : offset + len(data)] = data
        self._touch()
        return len(data)

    def truncate(self, size: int) -> None:
        """Set the size; what is new is zero."""
        if size > LARGEST_FILE:
            raise Errno(errno.EFBIG)
        del self._content[size:]
        self._content.extend(bytes(size - len(self._content)))
        self._touch()

    def new(self, mode: int, target: bytes = b"") -> MemoryNode:
        """A node that is not entered anywhere yet."""
        return MemoryNode(mode, target)

    def create(self, name: bytes, node: Node) -> None:
        """Enter ``node`` under ``name``."""
        if not isinstance(node, MemoryNode):
            raise Errno(errno.EXDEV)
        self._names[name] = node
        node._links += not node.is_directory
        self._links += node.is_directory
        self._touch()

    def remove(self, name: bytes) -> None:
        """Take a name away; a directory must be empty by then."""
        if getattr(self._names[name], "_names", None):
            raise Errno(errno.ENOTEMPTY)
        self.detach(name)

    def detach(self, name: bytes) -> None:
        """Take a name away, whatever is below it."""
        node = self._names.pop(name)
        assert isinstance(node, MemoryNode)
        node._links -= not node.is_directory
        self._links -= node.is_directory
        self._touch()

    def set_mode(self, mode: int) -> None:
        """Set the permission bits."""
        self._mode = stat.S_IFMT(self._mode) | mode & 0o7777

    def set_owner(self, uid: int | None, gid: int | None) -> None:
        """Set owner and group."""
        old = self._owner
        self._owner = (old[0] if uid is None else uid, old[1] if gid is None else gid)

    def set_times(self, atime_ns: int | None, mtime_ns: int | None) -> None:
        """Set times."""
        self._atime = self._atime if atime_ns is None else atime_ns
        self._mtime = self._mtime if mtime_ns is None else mtime_ns

    def _touch(self) -> None:
        self._mtime = self._ctime = time.time_ns()
