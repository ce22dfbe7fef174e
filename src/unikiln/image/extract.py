"""Copying files out of an image, without ever leaving the destination.

An image may say anything: names with slashes, ``..``, a link where a directory follows. Every
operation here is relative to a directory that was opened component by component without following
links, so what the image says can at worst be refused. Times of directories are set last.
"""

# Descriptors of directories are what keeps us inside, and pathlib takes none.

from __future__ import annotations

import contextlib
import errno
import os
import stat
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from unikiln.base.filesystem import Attributes, FileSystem, Inode
from unikiln.base.progress import QUIET, Progress
from unikiln.errors import HostError, ImageError, UnikilnError
from unikiln.image.inside import Names
from unikiln.image.naming import naming, shown
from unikiln.image.walk import Visit, walk

_CHUNK = 1 << 20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MAY_FAIL = frozenset({errno.ENOTSUP, errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOSPC, errno.E2BIG})

_CANNOT_HAVE = frozenset({errno.EFBIG, errno.EPERM, errno.ENXIO})
"""Too large for the host's file system, or a device without being root."""

_HERE: Names = ()


@dataclass(slots=True)
class Extracted:
    """What was copied; files that the host would not take, and attributes of files that it would not."""

    files: int = 0
    size: int = 0
    failures: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def extract(filesystem: FileSystem, top: Inode, dest: Path, progress: Progress = QUIET) -> Extracted:
    """Copy ``top`` to ``dest``: a directory's content into it, anything else as it.

    What is in the way is replaced, except directories, which are kept and added to.

    :raises HostError: the host refuses to write
    :raises ImageError: names that no file can have
    """
    if stat.S_ISDIR(top.attributes.mode):
        dest.mkdir(parents=True, exist_ok=True)
        root, base = dest, _HERE
    else:
        root, base = dest.parent, (os.fsencode(dest.name),)
    try:
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise HostError(f"{root}: {error.strerror}") from error
    try:
        with closing(_Extraction(fd, base, progress)) as extraction:
            return extraction.run(filesystem, top)
    finally:
        os.close(fd)


class _Extraction:
    """One copy; ``root`` is the open destination, ``base`` the names that stand before all others."""

    def __init__(self, root: int, base: Names, progress: Progress) -> None:
        self._root = root
        self._base = base
        self._progress = progress
        self._owners = os.geteuid() == 0
        self._links: dict[int, Names] = {}
        self._directories: list[tuple[Names, Inode]] = []
        self._here: tuple[Names, int] = (), os.dup(root)
        self.done = Extracted()

    def run(self, filesystem: FileSystem, top: Inode) -> Extracted:
        for visit in walk(filesystem, top):
            names = self._base + visit.names
            with naming(names):
                self._check(names)
                self._copy(names, visit)
        for names, inode in reversed(self._directories):
            with naming(names):
                self._dress(self._directory(names), names, inode)
        return self.done

    def close(self) -> None:
        """Close the directory that was written to last."""
        os.close(self._here[1])

    @staticmethod
    def _check(names: Names) -> None:
        if any(name in (b"", b".", b"..") or b"/" in name or b"\0" in name for name in names):
            raise ImageError(
                "the image has a name that no file can have", hint="it is damaged, or means harm"
            )

    def _copy(self, names: Names, visit: Visit) -> None:
        if visit.is_directory:
            if names:
                self._make_directory(names)
            self._directories.append((names, visit.inode))
            return
        parent = self._directory(names[:-1])
        self._clear(parent, names[-1])
        if not self._link(parent, names, visit.inode) and not self._make(parent, names, visit.inode):
            return
        size = visit.inode.attributes.size if stat.S_ISREG(visit.inode.attributes.mode) else 0
        self.done.files += 1
        self.done.size += size
        self._progress.advance(1, size)

    def _directory(self, names: Names) -> int:
        """The open directory that ``names`` lead to; it stays open, as most files follow one of their own."""
        if names != self._here[0]:
            fd = self._open(names)
            os.close(self._here[1])
            self._here = names, fd
        return self._here[1]

    def _open(self, names: Names) -> int:
        """Open the directory that ``names`` lead to from the destination, through no link."""
        fd = os.dup(self._root)
        try:
            for name in names:
                above, fd = fd, os.open(name, _DIRECTORY, dir_fd=fd)
                os.close(above)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _make_directory(self, names: Names) -> None:
        parent = self._directory(names[:-1])
        try:
            os.mkdir(names[-1], 0o700, dir_fd=parent)
        except FileExistsError:
            present = os.stat(names[-1], dir_fd=parent, follow_symlinks=False)
            if not stat.S_ISDIR(present.st_mode):
                os.unlink(names[-1], dir_fd=parent)
                os.mkdir(names[-1], 0o700, dir_fd=parent)

    @staticmethod
    def _clear(parent: int, name: bytes) -> None:
        """Remove what is in the way, unless it is a directory: then the host's error says so."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=parent)

    def _link(self, parent: int, names: Names, inode: Inode) -> bool:
        """Make a hard link to an earlier name of the same file; whether there was one."""
        attributes = inode.attributes
        if attributes.nlink < 2 or stat.S_ISCHR(attributes.mode) or stat.S_ISBLK(attributes.mode):
            return False  # of a device, the first name may be missing: only root can make it
        earlier = self._links.setdefault(inode.object, names)
        if earlier == names:
            return False
        source = self._open(earlier[:-1])
        try:
            os.link(earlier[-1], names[-1], src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(source)
        return True

    def _make(self, parent: int, names: Names, inode: Inode) -> bool:
        """Make a file of any kind but a directory; False, and noted, if this host cannot have it."""
        mode = inode.attributes.mode
        try:
            if stat.S_ISREG(mode):
                self._make_file(parent, names, inode)
            elif stat.S_ISLNK(mode):
                self._make_symlink(parent, names, inode)
            else:
                self._make_special(parent, names, inode)
        except OSError as error:
            if isinstance(error, UnikilnError) or error.errno not in _CANNOT_HAVE:
                raise
            self.done.failures.append(f"{shown(names)}: {error.strerror}")
            self._links.pop(inode.object, None)
            return False
        return True

    def _make_file(self, parent: int, names: Names, inode: Inode) -> None:
        fd = os.open(names[-1], _NEW_FILE, 0o600, dir_fd=parent)
        try:
            # The size first: a file that this host cannot have is found before its data is copied.
            os.ftruncate(fd, inode.attributes.size)
            for offset, length in inode.data_ranges():
                _copy_range(inode, fd, offset, min(length, inode.attributes.size - offset))
            self._dress(fd, names, inode)
        except OSError:
            os.unlink(names[-1], dir_fd=parent)
            raise
        finally:
            os.close(fd)

    def _make_symlink(self, parent: int, names: Names, inode: Inode) -> None:
        target = inode.readlink()
        if not target or b"\0" in target:
            raise ImageError("the image has a symbolic link that leads nowhere")
        os.symlink(target, names[-1], dir_fd=parent)
        self._dress_name(parent, names, inode)

    def _make_special(self, parent: int, names: Names, inode: Inode) -> None:
        mode = inode.attributes.mode
        os.mknod(names[-1], mode, inode.attributes.rdev, dir_fd=parent)
        os.chmod(names[-1], stat.S_IMODE(mode), dir_fd=parent)
        self._dress_name(parent, names, inode)

    def _dress(self, fd: int, names: Names, inode: Inode) -> None:
        """Give an open file or directory its attributes: owner first, as that clears bits of the mode."""
        attributes = inode.attributes
        if self._owners:
            os.chown(fd, attributes.uid, attributes.gid)
        for name, value in inode.xattrs().items():
            try:
                os.setxattr(fd, name, value)
            except OSError as error:
                self._note(names, error, name)
        os.chmod(fd, stat.S_IMODE(attributes.mode))
        os.utime(fd, ns=_times(attributes))

    def _dress_name(self, parent: int, names: Names, inode: Inode) -> None:
        """The same for what must not be opened or followed."""
        attributes, name = inode.attributes, names[-1]
        if self._owners:
            os.chown(name, attributes.uid, attributes.gid, dir_fd=parent, follow_symlinks=False)
            if not stat.S_ISLNK(attributes.mode):
                os.chmod(name, stat.S_IMODE(attributes.mode), dir_fd=parent)
        for key, value in inode.xattrs().items():
            try:
                os.setxattr(b"/proc/self/fd/%d/%s" % (parent, name), key, value, follow_symlinks=False)
            except OSError as error:
                self._note(names, error, key)
        os.utime(name, ns=_times(attributes), dir_fd=parent, follow_symlinks=False)

    def _note(self, names: Names, error: OSError, xattr: bytes) -> None:
        """Remember an attribute that the host would not take; anything but a refusal is an error."""
        if error.errno not in _MAY_FAIL:
            raise error
        self.done.warnings.append(f"{shown(names)}: attribute {os.fsdecode(xattr)}: {error.strerror}")


def _copy_range(inode: Inode, fd: int, offset: int, length: int) -> None:
    end = offset + length
    while offset < end:
        data = inode.read(offset, min(_CHUNK, end - offset))
        if not data:
            return
        view = memoryview(data)
        while view:
            written = os.pwrite(fd, view, offset)
            view, offset = view[written:], offset + written


def _times(attributes: Attributes) -> tuple[int, int]:
    return attributes.atime_ns, attributes.mtime_ns
