"""Nodes: what a name stands for, in the image or in memory."""

from __future__ import annotations

import errno
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import NamedTuple

from unikiln.machine.events import Errno


class Stat(NamedTuple):
    """What ``stat`` tells; ``device`` numbers the file system."""

    device: int
    number: int
    mode: int
    nlink: int
    uid: int
    gid: int
    rdev: int
    size: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int


class Entry(NamedTuple):
    """A name in a directory; ``type`` as in ``d_type``."""

    name: bytes
    number: int
    type: int


class Node(ABC):
    """A file, directory, symbolic link or stream. What a kind of node cannot do fails as in Linux."""

    immutable = False
    """Whether its content never changes, so that pages of it can be kept and shared."""
    number: int

    @abstractmethod
    def stat(self) -> Stat:
        """What ``stat`` tells."""

    @property
    def mode(self) -> int:
        """Type and permissions."""
        return self.stat().mode

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self.stat().size

    @property
    def is_directory(self) -> bool:
        """Whether names can be looked up in it."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.mode)

    @property
    def is_regular(self) -> bool:
        """Whether it is a file with content."""
        return stat.S_ISREG(self.mode)

    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes; short at the end."""
        raise Errno(errno.EISDIR if self.is_directory else errno.EINVAL)

    def readlink(self) -> bytes:
        """The target of a symbolic link."""
        raise Errno(errno.EINVAL)

    def entries(self) -> Iterable[Entry]:
        """The names in a directory, without ``.`` and ``..``."""
        raise Errno(errno.ENOTDIR)

    def lookup(self, name: bytes) -> Node | None:
        """The node that ``name`` stands for in this directory."""
        raise Errno(errno.ENOTDIR)

    def xattrs(self) -> dict[bytes, bytes]:
        """Extended attributes by full name."""
        return {}

    def write(self, offset: int, data: bytes) -> int:
        """Store ``data``; how much was."""
        raise Errno(errno.EROFS)

    def truncate(self, size: int) -> None:
        """Set the size."""
        raise Errno(errno.EROFS)

    def create(self, name: bytes, node: Node) -> None:
        """Enter ``node`` under a name that is not taken."""
        raise Errno(errno.EROFS)

    def new(self, mode: int, target: bytes = b"") -> Node:
        """A node for the same file system, not entered anywhere yet; ``target`` for symbolic links."""
        raise Errno(errno.EROFS)

    def remove(self, name: bytes) -> None:
        """Take a name away."""
        raise Errno(errno.EROFS)

    def detach(self, name: bytes) -> None:
        """Take a name away, whatever is below it, to enter the node elsewhere."""
        raise Errno(errno.EROFS)

    def set_mode(self, mode: int) -> None:
        """Set the permission bits."""
        raise Errno(errno.EROFS)

    def set_owner(self, uid: int | None, gid: int | None) -> None:
        """Set owner and group; None leaves one as it is."""
        raise Errno(errno.EROFS)

    def set_times(self, atime_ns: int | None, mtime_ns: int | None) -> None:
        """Set times; None leaves one as it is."""
        raise Errno(errno.EROFS)

    @property
    def read_only(self) -> bool:
        """Whether nothing can be changed here."""
        return True
