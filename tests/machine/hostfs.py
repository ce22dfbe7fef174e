"""A directory of the host as the machine's file system, for tests that need no image."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class HostAttributes:
    mode: int
    uid: int
    gid: int
    size: int
    nlink: int
    rdev: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int


@dataclass(frozen=True)
class HostEntry:
    name: bytes
    object: int
    type: int


class HostInode:
    """Opened by path at every use: slow and simple."""

    def __init__(self, path: Path) -> None:
        self._path = os.fsencode(path)
        s = os.lstat(self._path)
        self.object = s.st_ino
        self.attributes = HostAttributes(
            s.st_mode, s.st_uid, s.st_gid, s.st_size, s.st_nlink, s.st_rdev,
            s.st_atime_ns, s.st_mtime_ns, s.st_ctime_ns,
        )  # fmt: skip

    def read(self, offset: int, length: int) -> bytes:
        with Path(os.fsdecode(self._path)).open("rb") as stream:
            return os.pread(stream.fileno(), length, offset)

    def readlink(self) -> bytes:
        return os.readlink(self._path)  # noqa: PTH115 - bytes

    def entries(self) -> Iterator[HostEntry]:
        with os.scandir(self._path) as entries:
            for each in entries:
                s = each.stat(follow_symlinks=False)
                yield HostEntry(each.name, s.st_ino, stat.S_IFMT(s.st_mode) >> 12)

    def lookup(self, name: bytes) -> HostInode | None:
        path = Path(os.fsdecode(self._path + b"/" + name))
        return HostInode(path) if os.path.lexists(path) else None

    def xattrs(self) -> dict[bytes, bytes]:
        return {}

    def data_ranges(self) -> list[tuple[int, int]]:
        return [(0, self.attributes.size)]


class HostFileSystem:
    def __init__(self, directory: Path) -> None:
        self.root = HostInode(directory)

    def inode(self, object: int) -> HostInode:
        raise KeyError(object)
