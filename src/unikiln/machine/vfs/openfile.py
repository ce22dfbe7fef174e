"""Open file descriptions: what descriptors refer to, with their position."""

from __future__ import annotations

import errno
import os
import stat
import time

from unikiln.machine.events import Errno
from unikiln.machine.vfs.node import Node, Stat
from unikiln.machine.vfs.place import NameSpace, Place

O_ACCMODE, O_WRONLY, O_RDWR = 3, 1, 2
O_APPEND = 0o2000
READ_AHEAD = 128 << 10
SEEK_SET, SEEK_CUR, SEEK_END, SEEK_DATA, SEEK_HOLE = range(5)


class OpenFile:
    """Something open; ``place`` is where it was found, for directories and ``fchdir``."""

    def __init__(self, node: Node, flags: int, place: Place | None = None) -> None:
        self.node = node
        self.flags = flags
        self.place = place
        self.position = 0
        self._ahead, self._ahead_at = b"", 0

    def read(self, length: int) -> bytes:
        """From the position, which moves."""
        data = self.read_at(self.position, length)
        self.position += len(data)
        return data

    def read_at(self, offset: int, length: int) -> bytes:
        """From ``offset``; the position stays."""
        if self.flags & O_ACCMODE == O_WRONLY:
            raise Errno(errno.EBADF)
        return self._read_ahead(offset, length) if self.node.immutable else self.node.read(offset, length)

    def _read_ahead(self, offset: int, length: int) -> bytes:
        """Small reads out of a window: a record of a file is decompressed whole anyway."""
        start = offset - self._ahead_at
        if 0 <= start <= len(self._ahead) - length:
            return self._ahead[start : start + length]
        if length >= READ_AHEAD:
            return self.node.read(offset, length)
        self._ahead_at = offset - offset % READ_AHEAD
        self._ahead = self.node.read(self._ahead_at, READ_AHEAD)
        start = offset - self._ahead_at
        found = self._ahead[start : start + length]
        if len(found) < length and len(self._ahead) == READ_AHEAD:
            found += self.node.read(offset + len(found), length - len(found))
        return found

    def write(self, data: bytes) -> int:
        """At the position, which moves; at the end when opened to append."""
        if self.flags & O_APPEND:
            self.position = self.node.size
        done = self.write_at(self.position, data)
        self.position += done
        return done

    def write_at(self, offset: int, data: bytes) -> int:
        """At ``offset``; the position stays."""
        if not self.flags & O_ACCMODE:
            raise Errno(errno.EBADF)
        return self.node.write(offset, data)

    def seek(self, offset: int, whence: int) -> int:
        """Move the position; a file has data everywhere up to its end, as far as we tell."""
        size = self.node.size
        if whence in (SEEK_DATA, SEEK_HOLE):
            if not 0 <= offset < size:
                raise Errno(errno.ENXIO)
            self.position = offset if whence == SEEK_DATA else size
            return self.position
        if whence > SEEK_HOLE:
            raise Errno(errno.EINVAL)
        base = (0, self.position, size)[whence]
        if base + offset < 0:
            raise Errno(errno.EINVAL)
        self.position = base + offset
        return self.position


class OpenDirectory(OpenFile):
    """A directory; its position counts entries, which are listed once, when reading begins."""

    def __init__(self, space: NameSpace, place: Place, flags: int) -> None:
        super().__init__(place.node, flags, place)
        self._space = space
        self._place = place
        self._listing: list[tuple[bytes, int, int]] | None = None

    def listing(self) -> list[tuple[bytes, int, int]]:
        """(name, number, type) of every entry."""
        if self._listing is None or self.position == 0:
            self._listing = self._space.entries(self._place)
        return self._listing

    def seek(self, offset: int, whence: int) -> int:
        """Go to an entry, as ``rewinddir`` does."""
        if whence != SEEK_SET:
            raise Errno(errno.EINVAL)
        self.position = offset
        return offset


class StreamNode(Node):
    """A stream of the host: no size, no position."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.number = fd + 1

    def stat(self) -> Stat:
        """A character device if the host's is a terminal, else a pipe."""
        kind = stat.S_IFCHR if os.isatty(self.fd) else stat.S_IFIFO
        now = time.time_ns()
        return Stat(0x12, self.number, kind | 0o620, 1, 0, 0, 0x8800 if kind == stat.S_IFCHR else 0, 0,
                    now, now, now)  # fmt: skip

    @property
    def read_only(self) -> bool:
        """Not a matter of permissions here."""
        return False


class OpenStream(OpenFile):
    """A standard stream of the host."""

    def __init__(self, fd: int, flags: int) -> None:
        super().__init__(StreamNode(fd), flags)
        self.fd = fd

    def read(self, length: int) -> bytes:
        """What is there, or wait for it."""
        return os.read(self.fd, length)

    def write(self, data: bytes) -> int:
        """All of it."""
        done = 0
        view = memoryview(data)
        while done < len(view):
            done += os.write(self.fd, view[done:])
        return done

    def read_at(self, offset: int, length: int) -> bytes:
        """A stream has no offsets."""
        raise Errno(errno.ESPIPE)

    def write_at(self, offset: int, data: bytes) -> int:
        """A stream has no offsets."""
        raise Errno(errno.ESPIPE)

    def seek(self, offset: int, whence: int) -> int:
        """A stream has no position."""
        raise Errno(errno.ESPIPE)
