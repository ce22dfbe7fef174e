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
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from unikiln.errors import CpioError, HostError, UnikilnError
from unikiln.image.cpio.newc import Header
from unikiln.image.cpio.receive import Names
from unikiln.image.inside import Inside

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ANY = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CANNOT_HAVE = frozenset({errno.EPERM, errno.ENXIO})
_NS = 1_000_000_000


class _Made(NamedTuple):
    """A new file: the directory that has it, by its real names; its name there; what ``stat`` says it is."""

    folder: Names
    name: bytes
    identity: tuple[int, int]


class FolderReceiver:
    """Receives into ``folder``, which exists; what is in the way is replaced, except directories.

    ``failures`` are files that this host would not have, a line each: devices, when it is not root's.
    """

    def __init__(self, folder: Path) -> None:
        self._inside = Inside(folder)
        self._owners = os.geteuid() == 0
        self._directories: dict[Names, Header] = {}
        self._linked: list[tuple[_Made, Header]] = []
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
            made = _Made(folder, names[-1], _identity(os.fstat(fd)))
            try:
                _write(fd, content)
                if header.nlink > 1:
                    self._linked.append((made, header))
                else:
                    self._dress(fd, header)
            except BaseException:
                os.unlink(names[-1], dir_fd=parent)
                raise
            finally:
                os.close(fd)
            return made

    def symlink(self, names: Names, header: Header, target: bytes) -> _Made:  # noqa: D102
        with _naming(names):
            parent, folder = self._room(names)
            os.symlink(target, names[-1], dir_fd=parent)
            return self._dress_name(parent, folder, names[-1], header)

    def special(self, names: Names, header: Header) -> _Made | None:  # noqa: D102
        with _naming(names):
            parent, folder = self._room(names)
            try:
                os.mknod(names[-1], header.mode, os.makedev(*header.rdevice), dir_fd=parent)
            except OSError as error:
                if error.errno not in _CANNOT_HAVE:
                    raise
                self.failures.append(f"{_shown(names)}: {error.strerror}")
                return None
            return self._dress_name(parent, folder, names[-1], header)

    def link(self, names: Names, earlier: _Made) -> None:  # noqa: D102
        with _naming(names):
            parent, _ = self._room(names)
            parent = os.dup(parent)
            try:
                with self._found(earlier) as folder:
                    if folder is None:
                        raise CpioError("a link to a file that was replaced")
                    os.link(
                        earlier.name, names[-1], src_dir_fd=folder, dst_dir_fd=parent, follow_symlinks=False
                    )
            finally:
                os.close(parent)

    def fill(self, earlier: _Made, content: Iterator[bytes]) -> None:  # noqa: D102
        with _naming((*earlier.folder, earlier.name)), self._found(earlier) as folder:
            if folder is None:
                raise CpioError("content of a file that was replaced")
            fd = os.open(earlier.name, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            try:
                _write(fd, content)
            finally:
                os.close(fd)

    def finish(self) -> None:
        """Give files with several names, and directories, their modes and times: the deepest first."""
        for made, header in self._linked:
            with _naming((*made.folder, made.name)), self._found(made) as folder:
                if folder is not None:
                    self._dress_opened(made.name, folder, header)
        for names in sorted(self._directories, key=len, reverse=True):
            with _naming(names):
                fd, _ = self._inside.open(names, make=False)
                self._dress(fd, self._directories[names])

    def _room(self, names: Names) -> tuple[int, Names]:
        """The open directory for a new file, with nothing of that name in it; and its real names."""
        parent, folder = self._inside.open(names[:-1])
        with contextlib.suppress(FileNotFoundError):
            os.unlink(names[-1], dir_fd=parent)
            self._inside.forget()  # what stood there may have been a link to a directory
            parent, folder = self._inside.open(folder)
        return parent, folder

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

    @contextmanager
    def _found(self, made: _Made) -> Iterator[int | None]:
        """The open directory of a file that was made here; None if another one has its name by now."""
        folder, _ = self._inside.open(made.folder, make=False)
        try:
            status = os.stat(made.name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            yield None
            return
        yield folder if _identity(status) == made.identity else None

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

    def _dress_name(self, parent: int, folder: Names, name: bytes, header: Header) -> _Made:
        """The same for what must not be opened or followed."""
        if self._owners:
            os.chown(name, header.uid, header.gid, dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISLNK(header.mode):
            os.chmod(name, stat.S_IMODE(header.mode), dir_fd=parent)
        times = (header.mtime * _NS, header.mtime * _NS)
        os.utime(name, ns=times, dir_fd=parent, follow_symlinks=False)
        return _Made(folder, name, _identity(os.stat(name, dir_fd=parent, follow_symlinks=False)))


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


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _shown(names: Names) -> str:
    return os.fsdecode(b"/" + b"/".join(names))


@contextmanager
def _naming(names: Names) -> Iterator[None]:
    """Turn the host's refusal into an error that names the file of the archive."""
    try:
        yield
    except UnikilnError:
        raise
    except OSError as error:
        raise HostError(f"{_shown(names)} of the archive: {error.strerror}") from error
    except (OverflowError, ValueError) as error:
        raise CpioError(f"{_shown(names)} of the archive: {error}") from error
