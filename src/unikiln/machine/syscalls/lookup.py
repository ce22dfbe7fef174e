"""From a directory descriptor and a path in the program's memory to a place."""

from __future__ import annotations

import errno

from unikiln.machine.events import Errno
from unikiln.machine.process import Process
from unikiln.machine.syscalls.table import descriptor
from unikiln.machine.vfs.openfile import OpenFile
from unikiln.machine.vfs.place import Place

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW, AT_REMOVEDIR, AT_SYMLINK_FOLLOW, AT_EMPTY_PATH = 0x100, 0x200, 0x400, 0x1000


def start_of(process: Process, directory: int, path: bytes) -> Place:
    """Where a relative ``path`` begins.

    :raises Errno: EBADF, ENOTDIR
    """
    fd = descriptor(directory)
    if fd == AT_FDCWD or path.startswith(b"/"):
        return process.cwd
    place = process.files.file(fd).place
    if place is None:
        raise Errno(errno.ENOTDIR)
    return place


def place_at(process: Process, directory: int, path_at: int, *, follow: bool = True) -> Place:
    """The place that the path at ``path_at`` names."""
    path = process.user.string(path_at)
    return process.names.resolve(start_of(process, directory, path), path, follow=follow)


def parent_at(process: Process, directory: int, path_at: int) -> tuple[Place, bytes]:
    """The directory and the last name, for calls that make or remove it.

    :raises Errno: also EINVAL or EEXIST for names that stand for directories already
    """
    path = process.user.string(path_at)
    return process.names.resolve_parent(start_of(process, directory, path), path.rstrip(b"/") or path)


def file_of(place: Place, flags: int) -> OpenFile:
    """An open file for something that is no directory."""
    return OpenFile(place.node, flags, place)
