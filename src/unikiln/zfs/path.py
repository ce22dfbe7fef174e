"""Paths in a file system of a pool, to be used as ``pathlib.Path`` is.

Names are ``str`` as ``os.fsdecode`` makes them, attributes an ``os.stat_result``, and files open as
buffered streams that seek, to data and to holes too.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING

from unikiln.errors import NotADirectoryInPoolError, PathNotFoundError, UsageError
from unikiln.zfs.filesystem import FileSystem, Inode

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from unikiln.zfs.acl import Acl

_SECOND = 1_000_000_000
_BUFFER = 1 << 17


class ZfsPath:
    """A path in ``filesystem``, always from its root; nothing is looked up before it is asked for.

    Links lead where they would if the file system were mounted at ``/``; none leads out of it.
    """

    __slots__ = ("_path", "filesystem")

    def __init__(self, filesystem: FileSystem, path: str | os.PathLike[str] = "/") -> None:
        self.filesystem = filesystem
        self._path = PurePosixPath("/") / PurePosixPath(path)

    def __str__(self) -> str:
        return str(self._path)

    def __repr__(self) -> str:
        return f"ZfsPath({self.filesystem.name!r}, {str(self)!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ZfsPath):
            return NotImplemented
        return (self.filesystem.name, self._path) == (other.filesystem.name, other._path)

    def __hash__(self) -> int:
        return hash((self.filesystem.name, self._path))

    def __lt__(self, other: ZfsPath) -> bool:
        return self._path < other._path

    def __truediv__(self, name: str | os.PathLike[str]) -> ZfsPath:
        return self._with(self._path / name)

    def __bytes__(self) -> bytes:
        return os.fsencode(str(self))

    def _with(self, path: PurePosixPath) -> ZfsPath:
        return ZfsPath(self.filesystem, path)

    def joinpath(self, *names: str | os.PathLike[str]) -> ZfsPath:
        """The path of what is called ``names`` below."""
        return self._with(self._path.joinpath(*names))

    @property
    def name(self) -> str:
        """The last component; empty for the root."""
        return self._path.name

    @property
    def stem(self) -> str:
        """The name without its last suffix."""
        return self._path.stem

    @property
    def suffix(self) -> str:
        """The last suffix of the name, with its dot."""
        return self._path.suffix

    @property
    def parts(self) -> tuple[str, ...]:
        """The components, ``/`` first."""
        return self._path.parts

    @property
    def parent(self) -> ZfsPath:
        """The path without its last component."""
        return self._with(self._path.parent)

    @property
    def parents(self) -> tuple[ZfsPath, ...]:
        """All paths above, the nearest first."""
        return tuple(self._with(path) for path in self._path.parents)

    def inode(self, *, follow_symlinks: bool = True) -> Inode:
        """What the path leads to.

        :raises PathNotFoundError: nothing
        :raises NotADirectoryInPoolError: it goes through something that is no directory
        """
        return self.filesystem.path(bytes(self), follow=follow_symlinks)

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """What ``os.stat`` would tell; ``st_dev`` is 0."""
        found = self.inode(follow_symlinks=follow_symlinks).attributes
        times = {"atime": found.atime_ns, "mtime": found.mtime_ns, "ctime": found.ctime_ns}
        more: dict[str, float | int] = {f"st_{name}": ns / _SECOND for name, ns in times.items()}
        more.update((f"st_{name}_ns", ns) for name, ns in times.items())
        more.update(st_blksize=found.block_size, st_blocks=found.blocks, st_rdev=found.rdev)
        head = (found.mode, found.object, 0, found.nlink, found.uid, found.gid, found.size)
        return os.stat_result((*head, *(ns // _SECOND for ns in times.values())), more)

    def lstat(self) -> os.stat_result:
        """What ``os.lstat`` would tell."""
        return self.stat(follow_symlinks=False)

    def _mode(self, *, follow_symlinks: bool = True) -> int:
        try:
            return self.inode(follow_symlinks=follow_symlinks).attributes.mode
        except (PathNotFoundError, NotADirectoryInPoolError):
            return 0

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it leads to anything."""
        return self._mode(follow_symlinks=follow_symlinks) != 0

    def is_file(self) -> bool:
        """Whether it leads to a regular file."""
        return stat.S_ISREG(self._mode())

    def is_dir(self) -> bool:
        """Whether it leads to a directory."""
        return stat.S_ISDIR(self._mode())

    def is_symlink(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self._mode(follow_symlinks=False))

    def is_fifo(self) -> bool:
        """Whether it leads to a named pipe."""
        return stat.S_ISFIFO(self._mode())

    def is_socket(self) -> bool:
        """Whether it leads to a socket."""
        return stat.S_ISSOCK(self._mode())

    def is_block_device(self) -> bool:
        """Whether it leads to a block device."""
        return stat.S_ISBLK(self._mode())

    def is_char_device(self) -> bool:
        """Whether it leads to a character device."""
        return stat.S_ISCHR(self._mode())

    def open(
        self,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[str] | IO[bytes]:
        """Open a regular file for reading, as ``open`` does; ``rb`` unbuffered gives the raw stream.

        :raises UsageError: a mode other than ``r``, ``rt`` or ``rb``
        :raises IsADirectoryInPoolError: a directory
        """
        if mode not in ("r", "rt", "rb"):
            raise UsageError(
                f"{self}: cannot be opened in mode {mode!r}", hint="pools are only read: r or rb"
            )
        raw = FileReader(self.inode(), str(self))
        if mode == "rb" and buffering == 0:
            return raw  # type: ignore[return-value]  # an IO[bytes] in all but its declaration
        stream = io.BufferedReader(raw, buffering if buffering > 1 else _BUFFER)
        return stream if mode == "rb" else io.TextIOWrapper(stream, encoding, errors, newline)

    def read_bytes(self) -> bytes:
        """The whole content of a file.

        :raises ChecksumError: a block of which no copy is good
        """
        inode = self.inode()
        return inode.read(0, inode.attributes.size)

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        """The whole content of a file as text."""
        with io.TextIOWrapper(io.BytesIO(self.read_bytes()), encoding, errors) as stream:
            return stream.read()

    def iterdir(self) -> Iterator[ZfsPath]:
        """The paths of what a directory has, in no particular order.

        :raises NotADirectoryInPoolError: not a directory
        """
        for entry in self.inode().entries():
            yield self._with(self._path / os.fsdecode(entry.name))

    def walk(self) -> Iterator[tuple[ZfsPath, list[str], list[str]]]:
        """(directory, names of directories, names of others) for it and all below; links are not followed."""
        directories: list[str] = []
        others: list[str] = []
        for path in sorted(self.iterdir()):
            (directories if stat.S_ISDIR(path.lstat().st_mode) else others).append(path.name)
        yield self, directories, others
        for name in directories:
            yield from (self / name).walk()

    def glob(self, pattern: str) -> Iterator[ZfsPath]:
        """What below matches ``pattern``, whose ``**`` stands for any number of directories."""
        yield from self._glob(PurePosixPath(pattern).parts)

    def rglob(self, pattern: str) -> Iterator[ZfsPath]:
        """What matches ``pattern`` at any depth."""
        yield from self._glob(("**", *PurePosixPath(pattern).parts))

    def _glob(self, parts: tuple[str, ...]) -> Iterator[ZfsPath]:
        if not parts:
            yield self
        elif parts[0] == "**":
            yield from self._glob(parts[1:])
            for path in self._directories():
                yield from path._glob(parts)
        elif self.is_dir():
            for path in sorted(self.iterdir()):
                if fnmatchcase(path.name, parts[0]) and (len(parts) == 1 or path.is_dir()):
                    yield from path._glob(parts[1:])

    def _directories(self) -> Iterator[ZfsPath]:
        if self.is_dir():
            yield from (path for path in sorted(self.iterdir()) if stat.S_ISDIR(path.lstat().st_mode))

    def readlink(self) -> PurePosixPath:
        """The target of a symbolic link, as it is written in it.

        :raises UsageError: not one
        """
        return PurePosixPath(os.fsdecode(self.inode(follow_symlinks=False).readlink()))

    def xattrs(self, *, follow_symlinks: bool = True) -> dict[str, bytes]:
        """Extended attributes by full name (``user.comment``)."""
        found = self.inode(follow_symlinks=follow_symlinks).xattrs()
        return {os.fsdecode(name): value for name, value in sorted(found.items())}

    def acl(self, *, follow_symlinks: bool = True) -> Acl:
        """Who may do what with it: the NFSv4 entries that ZFS keeps, and POSIX ones if it has them."""
        from unikiln.zfs.acl import read_acl

        return read_acl(self.inode(follow_symlinks=follow_symlinks))


class FileReader(io.RawIOBase):
    """The content of a file, to be read and sought in; ``SEEK_DATA`` and ``SEEK_HOLE`` find its holes."""

    def __init__(self, inode: Inode, name: str) -> None:
        super().__init__()
        inode.read(0, 0)
        self._inode = inode
        self._at = 0
        self.name = name

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self._inode.attributes.size

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Read into ``buffer`` from the position on; 0 at the end."""
        view = memoryview(buffer).cast("B")
        data = self._inode.read(self._at, len(view))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def readall(self) -> bytes:
        """Everything from the position on."""
        data = self._inode.read(self._at, max(0, self.size - self._at))
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position; the new one is returned.

        :raises OSError: it would lie before the start, or there is no data from there on
        """
        if whence in (os.SEEK_DATA, os.SEEK_HOLE):
            self._at = self._find(offset, hole=whence == os.SEEK_HOLE)
            return self._at
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}.get(whence)
        if start is None or start + offset < 0:
            raise OSError(22, f"cannot seek to {offset} ({whence})", self.name)
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        """The position."""
        return self._at

    def _find(self, offset: int, *, hole: bool) -> int:
        """The first byte of a hole, or of data, from ``offset`` on, as ``lseek`` finds it."""
        if not 0 <= offset < self.size:
            raise OSError(6, f"nothing lies at {offset}", self.name)
        for start, length in self._inode.data_ranges():
            if start + length > offset and not hole:
                return max(start, offset)
            if hole and start > offset:
                return offset
            if hole and start + length > offset:
                offset = start + length
        if not hole:
            raise OSError(6, f"no data from {offset} on", self.name)
        return min(offset, self.size)
