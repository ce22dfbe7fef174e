"""What those who read files ask of a file system; ``unikiln.zfs`` datasets answer it.

Names are bytes, as the guest's are. Inodes are identified by their number (ZFS's object number).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Attributes(Protocol):
    """What ``stat`` tells; times in nanoseconds since 1970, ``mode`` with the type bits."""

    @property
    def mode(self) -> int: ...  # noqa: D102
    @property
    def uid(self) -> int: ...  # noqa: D102
    @property
    def gid(self) -> int: ...  # noqa: D102
    @property
    def size(self) -> int: ...  # noqa: D102
    @property
    def nlink(self) -> int: ...  # noqa: D102
    @property
    def rdev(self) -> int: ...  # noqa: D102
    @property
    def atime_ns(self) -> int: ...  # noqa: D102
    @property
    def mtime_ns(self) -> int: ...  # noqa: D102
    @property
    def ctime_ns(self) -> int: ...  # noqa: D102


class DirectoryEntry(Protocol):
    """A name in a directory; ``type`` is the mode's type nibble (``mode >> 12``), as in ``d_type``."""

    @property
    def name(self) -> bytes: ...  # noqa: D102
    @property
    def object(self) -> int: ...  # noqa: D102
    @property
    def type(self) -> int: ...  # noqa: D102


class Inode(Protocol):
    """A file, directory, symbolic link or other node; immutable while mounted read-only."""

    @property
    def object(self) -> int:
        """The inode number."""

    @property
    def attributes(self) -> Attributes:
        """What ``stat`` tells."""

    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes from ``offset``; short at the end of the file."""

    def readlink(self) -> bytes:
        """The target of a symbolic link."""

    def entries(self) -> Iterable[DirectoryEntry]:
        """The names of a directory, without ``.`` and ``..``."""

    def lookup(self, name: bytes) -> Inode | None:
        """The inode called ``name`` in a directory, if there is one."""

    def xattrs(self) -> dict[bytes, bytes]:
        """Extended attributes by full name (``user.comment``)."""

    def data_ranges(self) -> Iterable[tuple[int, int]]:
        """(offset, length) of what is not a hole, ascending."""


class FileSystem(Protocol):
    """A dataset, or whatever else has files."""

    @property
    def root(self) -> Inode:
        """Its root directory."""

    def inode(self, object: int) -> Inode:
        """The inode with that number."""


@dataclass(frozen=True, slots=True)
class PlainAttributes:
    """Attributes of a file system that keeps few of them: all else is root's, and of 1970.

    ``block_size`` in bytes, ``blocks`` in units of 512.
    """

    mode: int
    size: int
    nlink: int
    block_size: int
    blocks: int
    uid: int = 0
    gid: int = 0
    rdev: int = 0
    atime_ns: int = 0
    mtime_ns: int = 0
    ctime_ns: int = 0
    crtime_ns: int = 0


class NamedEntry(NamedTuple):
    """A name in a directory; ``type`` is the mode's type nibble (``mode >> 12``)."""

    name: bytes
    object: int
    type: int


class Contents(NamedTuple):
    """How much a small file system holds: inodes, those of them that are no directories, bytes of files."""

    objects: int
    files: int
    bytes: int
