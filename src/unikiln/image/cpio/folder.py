"""What arrives, into a folder of the host, as far as this host and user can have it.

Owners are kept when root receives. Directories are given their modes and times at the end, as are files
with several names: their content may come late.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from unikiln.errors import CpioError, HostError
from unikiln.image.cpio.newc import Header
from unikiln.image.cpio.receive import Names
from unikiln.image.inside import Inside
from unikiln.image.naming import naming, shown

_naming = partial(naming, source="archive", kind=CpioError)

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ANY = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CANNOT_HAVE = frozenset({errno.EPERM, errno.ENXIO})
_NS = 1_000_000_000


Place = tuple[Names, bytes]
"""A directory, by its real names from the top, and a name in it."""


@dataclass(slots=True)
class _Made:
    """A file that was made here, and the names that it still has."""

    places: list[Place]


class FolderReceiver:
    """Receives into ``folder``, which exists; what is in the way is replaced, except directories.

    ``failures`` are files that this host would not have, a line each: devices, when it is not root's.
    """

    def __init__(self, folder: Path) -> None:
        self._inside = Inside(folder)
        self._owners = os.geteuid() == 0
        self._directories: dict[Names, Header] = {}
        self._linked: list[tuple[_Made, Header]] = []
        self._by_place: dict[Place, _Made] = {}
        self.failures: list[str] = []

    def close(self) -> None:
        """Close the folder."""
        self._inside.close()

    def directory(self, names: Names, header: Header) -> None:  # noqa: D102
        with _naming(names):
            real = self._make_directory(names) if names else ()
            if real is not None:
                self._directories[real] = header

    def file(self, names: Names, header: Header, content: Iterator[bytes]) -> _Made:  # noqa: D102
        with _naming(names):
            parent, folder = self._room(names)
            fd = os.open(names[-1], _NEW_FILE, 0o600, dir_fd=parent)
            try:
                _write(fd, content)
                if header.nlink == 1:
                    self._dress(fd, header)
            except BaseException:
                os.unlink(names[-1], dir_fd=parent)
                raise
            finally:
                os.close(fd)
            made = self._note((folder, names[-1]), header)
            if header.nlink > 1:
                self._linked.append((made, header))
            return made

    def symlink(self, names: Names, header: Header, target: bytes) -> _Made:  # noqa: D102
        with _naming(names):
            parent, folder = self._room(names)
            os.symlink(target, names[-1], dir_fd=parent)
            self._dress_name(parent, names[-1], header)
            return self._note((folder, names[-1]), header)

    def special(self, names: Names, header: Header) -> _Made | None:  # noqa: D102
        with _naming(names):
            parent, folder = self._room(names)
            try:
                os.mknod(names[-1], header.mode, os.makedev(*header.rdevice), dir_fd=parent)
            except OSError as error:
                if error.errno not in _CANNOT_HAVE:
                    raise
                self.failures.append(f"{shown(names)}: {error.strerror}")
                return None
            self._dress_name(parent, names[-1], header)
            return self._note((folder, names[-1]), header)

    def link(self, names: Names, earlier: _Made) -> None:  # noqa: D102
        with _naming(names):
            parent, folder = self._room(names)
            parent = os.dup(parent)
            try:
                source, name = self._find(earlier)
                os.link(name, names[-1], src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
            finally:
                os.close(parent)
            self._by_place[folder, names[-1]] = earlier
            earlier.places.append((folder, names[-1]))

    def fill(self, earlier: _Made, content: Iterator[bytes]) -> None:  # noqa: D102
        folder, name = self._find(earlier)
        with _naming((name,)):
            fd = os.open(name, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            try:
                _write(fd, content)
            finally:
                os.close(fd)

    def finish(self) -> None:
        """Give files with several names, and directories, their modes and times: the deepest first."""
        for made, header in self._linked:
            if made.places:
                folder, name = self._find(made)
                with _naming((name,)):
                    self._dress_opened(name, folder, header)
        for names in sorted(self._directories, key=len, reverse=True):
            with _naming(names):
                fd, _ = self._inside.open(names, make=False)
                self._dress(fd, self._directories[names])

    def _room(self, names: Names) -> tuple[int, Names]:
        """The open directory for a new file, with nothing of that name in it; and its real names."""
        parent, folder = self._inside.open(names[:-1])
        with contextlib.suppress(FileNotFoundError):
            os.unlink(names[-1], dir_fd=parent)
            replaced = self._by_place.pop((folder, names[-1]), None)
            if replaced is not None:
                replaced.places.remove((folder, names[-1]))
            self._inside.forget()  # what stood there may have been a link to a directory
            parent, folder = self._inside.open(folder)
        return parent, folder

    def _note(self, place: Place, header: Header) -> _Made:
        """Remember a file that may get more names."""
        made = _Made([place])
        if header.nlink > 1:
            self._by_place[place] = made
        return made

    def _find(self, made: _Made) -> tuple[int, bytes]:
        """A name of the file, and the open directory that has it.

        :raises CpioError: it has none any more
        """
        if not made.places:
            raise CpioError("a link to a file that was replaced")
        folder, name = made.places[0]
        return self._inside.open(folder, make=False)[0], name

    def _make_directory(self, names: Names) -> Names | None:
        """Make it, or keep it; its real names, or None for a link that leads to a directory: that stays."""
        parent, folder = self._inside.open(names[:-1])
        name = names[-1]
        try:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            os.mkdir(name, 0o700, dir_fd=parent)
            return (*folder, name)
        if stat.S_ISDIR(status.st_mode):
            return (*folder, name)
        if stat.S_ISLNK(status.st_mode) and self._leads_to_directory((*folder, name)):
            return None
        parent, folder = self._room((*folder, name))
        os.mkdir(name, 0o700, dir_fd=parent)
        return (*folder, name)

    def _leads_to_directory(self, names: Names) -> bool:
        try:
            self._inside.open(names, make=False)
        except (HostError, OSError):
            self._inside.forget()
            return False
        return True

    def _dress_opened(self, name: bytes, folder: int, header: Header) -> None:
        fd = os.open(name, _ANY, dir_fd=folder)
        try:
            self._dress(fd, header)
        finally:
            os.close(fd)

    def _dress(self, fd: int, header: Header) -> None:
        """Owner, mode, times; the owner first, as a new one clears bits of the mode."""
        if self._owners:
            os.chown(fd, header.uid, header.gid)
        os.chmod(fd, stat.S_IMODE(header.mode))
        os.utime(fd, ns=(header.mtime * _NS, header.mtime * _NS))

    def _dress_name(self, parent: int, name: bytes, header: Header) -> None:
        """The same for what must not be opened or followed."""
        if self._owners:
            os.chown(name, header.uid, header.gid, dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISLNK(header.mode):
            os.chmod(name, stat.S_IMODE(header.mode), dir_fd=parent)
        times = (header.mtime * _NS, header.mtime * _NS)
        os.utime(name, ns=times, dir_fd=parent, follow_symlinks=False)


def _write(fd: int, content: Iterator[bytes]) -> None:
    """Write all of ``content``; pieces of zeros become holes."""
    size = 0
    for piece in content:
        view, at = memoryview(piece), size
        size += len(piece)
        if piece.count(0) == len(piece):
            continue
        while view:
            written = os.pwrite(fd, view, at)
            view, at = view[written:], at + written
    os.ftruncate(fd, size)
