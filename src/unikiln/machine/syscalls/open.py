"""``openat`` and its rules."""

from __future__ import annotations

import errno
import stat

from unikiln.machine.events import Errno
from unikiln.machine.process import Process
from unikiln.machine.syscalls.lookup import file_of, start_of
from unikiln.machine.syscalls.table import system_call
from unikiln.machine.vfs.openfile import O_ACCMODE, OpenDirectory, OpenFile
from unikiln.machine.vfs.place import Place

O_CREAT, O_EXCL, O_TRUNC = 0o100, 0o200, 0o1000
O_DIRECTORY, O_NOFOLLOW, O_CLOEXEC, O_PATH = 0o40000, 0o100000, 0o2000000, 0o10000000
"""AArch64's own values of O_DIRECTORY and O_NOFOLLOW (arch/arm64/include/uapi/asm/fcntl.h)."""


@system_call(56)
def openat(process: Process, directory: int, path_at: int, flags: int, mode: int) -> int:
    """``openat``."""
    path = process.user.string(path_at)
    start = start_of(process, directory, path)
    place = _existing(process, start, path, flags)
    if place is None:
        place = _create(process, start, path, mode)
    elif flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL:
        raise Errno(errno.EEXIST)
    file = _open(process, place, flags)
    return process.files.add(file, close_on_exec=bool(flags & O_CLOEXEC))


@system_call(437)
def openat2(process: Process, directory: int, path_at: int, how_at: int, size: int) -> int:
    """``openat2``, without restrictions on the resolution."""
    if size < 24:
        raise Errno(errno.EINVAL)
    flags, mode, resolve = process.user.unpack("3Q", how_at)
    if resolve:
        raise Errno(errno.EINVAL)
    return openat(process, directory, path_at, flags, mode)


def _existing(process: Process, start: Place, path: bytes, flags: int) -> Place | None:
    follow = not flags & O_NOFOLLOW and flags & (O_CREAT | O_EXCL) != O_CREAT | O_EXCL
    try:
        place = process.names.resolve(start, path, follow=follow)
    except Errno as error:
        if error.number == errno.ENOENT and flags & O_CREAT:
            return None
        raise
    if place.node.is_link and not flags & O_PATH and not flags & O_EXCL:
        raise Errno(errno.ELOOP)
    return place


def _create(process: Process, start: Place, path: bytes, mode: int) -> Place:
    parent, name = process.names.resolve_parent(start, path, follow=True)
    if path.endswith(b"/"):
        raise Errno(errno.EISDIR)
    node = parent.node.new(stat.S_IFREG | mode & 0o7777 & ~process.umask)
    parent.node.create(name, node)
    return Place(node, parent, name)


def _open(process: Process, place: Place, flags: int) -> OpenFile:
    node, writes = place.node, bool(flags & O_ACCMODE)
    if node.is_directory:
        if (writes or flags & O_CREAT) and not flags & O_PATH:
            raise Errno(errno.EISDIR)
        return OpenDirectory(process.names, place, flags)
    if flags & O_DIRECTORY:
        raise Errno(errno.ENOTDIR)
    if flags & O_PATH:
        return file_of(place, flags)
    if not node.is_regular:
        raise Errno(errno.ENXIO)
    if writes and node.read_only:
        raise Errno(errno.EROFS)
    if flags & O_TRUNC and writes:
        node.truncate(0)
    return file_of(place, flags)
