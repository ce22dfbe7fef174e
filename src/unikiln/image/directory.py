"""Host files as nodes: one file, or a whole directory, with everything that ``lstat`` tells."""

# names are bytes here, and 20,000 of them are too many for pathlib
# ruff: noqa: PTH115, PTH116

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator

from unikiln.base.tree import NO_XATTRS, Node
from unikiln.errors import HostError
from unikiln.image.source_exclude import Excluded

FileKey = tuple[int, int]
"""(device, inode) of a host file."""

Used = Callable[[bytes], None]
"""Hears of a host path that was looked at."""


def scan(path: str | os.PathLike[str], *, exclude: Iterable[FileKey] = ()) -> Node:
    """The directory ``path`` and all below it.

    :param exclude: host files to leave out, such as the image that is being built
    :raises HostError: a directory or file that cannot be read, by name
    """
    return Scanner(exclude).tree(os.fsencode(path))


def file_key(path: str | os.PathLike[str]) -> FileKey | None:
    """The (device, inode) of ``path``, or None if there is no such file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


class Scanner:
    """Makes nodes of host files; several names of one file, met anywhere, become one node."""

    def __init__(self, exclude: Iterable[FileKey] = ()) -> None:
        self._exclude = frozenset(exclude)
        self._links: dict[FileKey, Node] = {}
        self._check_access = os.geteuid() != 0

    def node(self, path: bytes, *, follow: bool = False) -> Node:
        """The one file ``path``; a directory comes without what is in it.

        :param follow: whether a symbolic link stands for the file that it leads to
        """
        with _naming(path):
            return self._make(path, os.stat(path, follow_symlinks=follow))

    def tree(
        self, path: bytes, at: bytes = b"/", excluded: Excluded | None = None, used: Used | None = None
    ) -> Node:
        """The directory ``path`` and all below it; symbolic links stay links.

        :param at: where in the image it goes, which ``excluded`` is asked with
        :param used: is told of every host path
        """
        root = self.node(path, follow=True)
        if not root.is_directory:
            raise HostError(f"{os.fsdecode(path)}: is not a directory")
        stack = [(root.children, path, at.rstrip(b"/") + b"/")]
        while stack:
            children, folder, prefix = stack.pop()
            if used is not None:
                used(folder)
            for entry, node in self.listing(folder, prefix, excluded):
                children[entry.name] = node
                if node.is_directory:
                    stack.append((node.children, entry.path, prefix + entry.name + b"/"))
                elif used is not None and node.is_file:
                    used(entry.path)
        return root

    def listing(
        self, folder: bytes, prefix: bytes = b"/", excluded: Excluded | None = None
    ) -> Iterator[tuple[os.DirEntry[bytes], Node]]:
        """What is in ``folder``, by name so that the same tree always gives the same image.

        What ``excluded`` leaves out, asked with ``prefix`` in front, is not even looked at.
        """
        with _naming(folder), os.scandir(folder) as found:
            entries = sorted(found, key=_entry_name)
        for entry in entries:
            if excluded is not None and excluded(prefix + entry.name):
                continue
            with _naming(entry.path):
                status = entry.stat(follow_symlinks=False)
                if self._exclude and (status.st_dev, status.st_ino) in self._exclude:
                    continue
                node = self._make(entry.path, status)
            yield entry, node

    def _make(self, path: bytes, status: os.stat_result) -> Node:
        regular = stat.S_ISREG(status.st_mode)
        linked = regular and status.st_nlink > 1
        key = (status.st_dev, status.st_ino) if linked else None
        if key is not None and key in self._links:
            return self._links[key]
        node = Node(
            status.st_mode,
            status.st_uid,
            status.st_gid,
            status.st_atime_ns,
            status.st_mtime_ns,
            status.st_ctime_ns,
            status.st_rdev,
            status.st_size if regular else 0,
            _xattrs(path, status.st_mode),
            os.readlink(path) if stat.S_ISLNK(status.st_mode) else b"",
            path if regular else None,
            key,
        )
        if self._check_access and not stat.S_ISLNK(status.st_mode):
            _require_readable(path, status.st_mode)
        if key is not None:
            self._links[key] = node
        return node


def _entry_name(entry: os.DirEntry[bytes]) -> bytes:
    return entry.name


def _xattrs(path: bytes, mode: int) -> dict[bytes, bytes]:
    follow = not stat.S_ISLNK(mode)
    try:
        names = os.listxattr(path, follow_symlinks=follow)
        if not names:
            return NO_XATTRS
        return {os.fsencode(name): os.getxattr(path, name, follow_symlinks=follow) for name in names}
    except OSError:
        # A host file system without attributes, or one that hides trusted ones: as if there were none.
        return NO_XATTRS


def _require_readable(path: bytes, mode: int) -> None:
    wanted = os.R_OK | os.X_OK if stat.S_ISDIR(mode) else os.R_OK
    if (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) and not os.access(path, wanted):
        raise HostError(f"{os.fsdecode(path)}: Permission denied", hint="its content cannot be read")


class _naming:
    """Turns the host's refusal into a :class:`HostError` that names the file; cheap enough for every file."""

    __slots__ = ("_path",)

    def __init__(self, path: bytes) -> None:
        self._path = path

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise HostError(f"{os.fsdecode(self._path)}: {error.strerror}") from error
