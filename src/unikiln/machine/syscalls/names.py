"""Names: working directory, links, making, renaming and removing."""

from __future__ import annotations

import errno
import stat

from unikiln.machine.events import Errno
from unikiln.machine.process import Process
from unikiln.machine.syscalls.lookup import AT_REMOVEDIR, AT_SYMLINK_FOLLOW, parent_at, place_at
from unikiln.machine.syscalls.table import descriptor, system_call
from unikiln.machine.vfs.place import Place

RENAME_NOREPLACE = 1


@system_call(17)
def getcwd(process: Process, va: int, size: int) -> int:
    """``getcwd``."""
    path = process.cwd.path + b"\0"
    if len(path) > size:
        raise Errno(errno.ERANGE)
    process.user.write(va, path)
    return len(path)


@system_call(49)
def chdir(process: Process, path_at: int) -> int:
    """``chdir``."""
    _enter(process, place_at(process, -100, path_at))
    return 0


@system_call(50)
def fchdir(process: Process, fd: int) -> int:
    """``fchdir``."""
    place = process.files.file(descriptor(fd)).place
    if place is None:
        raise Errno(errno.ENOTDIR)
    _enter(process, place)
    return 0


def _enter(process: Process, place: Place) -> None:
    if not place.node.is_directory:
        raise Errno(errno.ENOTDIR)
    process.cwd = place


@system_call(78)
def readlinkat(process: Process, directory: int, path_at: int, va: int, size: int) -> int:
    """``readlinkat``: cut off, without NUL."""
    target = place_at(process, directory, path_at, follow=False).node.readlink()[:size]
    process.user.write(va, target)
    return len(target)


def _free_name(process: Process, directory: int, path_at: int) -> tuple[Place, bytes]:
    parent, name = parent_at(process, directory, path_at)
    if process.names.child(parent, name) is not None:
        raise Errno(errno.EEXIST)
    return parent, name


def _taken_name(process: Process, directory: int, path_at: int) -> tuple[Place, bytes, Place]:
    parent, name = parent_at(process, directory, path_at)
    place = process.names.child(parent, name)
    if place is None:
        raise Errno(errno.ENOENT)
    if name in (b".", b"..") or (parent.parent is None and name in process.names.mounts):
        raise Errno(errno.EBUSY)
    if parent.node.read_only:
        raise Errno(errno.EROFS)
    return parent, name, place


@system_call(34)
def mkdirat(process: Process, directory: int, path_at: int, mode: int) -> int:
    """``mkdirat``."""
    parent, name = _free_name(process, directory, path_at)
    parent.node.create(name, parent.node.new(stat.S_IFDIR | mode & 0o7777 & ~process.umask))
    return 0


@system_call(33)
def mknodat(process: Process, directory: int, path_at: int, mode: int) -> int:
    """``mknodat``: regular files only."""
    parent, name = _free_name(process, directory, path_at)
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise Errno(errno.EPERM)
    parent.node.create(name, parent.node.new(stat.S_IFREG | mode & 0o7777 & ~process.umask))
    return 0


@system_call(36)
def symlinkat(process: Process, target_at: int, directory: int, path_at: int) -> int:
    """``symlinkat``."""
    target = process.user.string(target_at)
    parent, name = _free_name(process, directory, path_at)
    parent.node.create(name, parent.node.new(stat.S_IFLNK | 0o777, target))
    return 0


@system_call(37)
def linkat(process: Process, old: int, old_at: int, new: int, new_at: int, flags: int) -> int:
    """``linkat``."""
    source = place_at(process, old, old_at, follow=bool(flags & AT_SYMLINK_FOLLOW)).node
    parent, name = _free_name(process, new, new_at)
    if source.is_directory:
        raise Errno(errno.EPERM)
    parent.node.create(name, source)
    return 0


@system_call(35)
def unlinkat(process: Process, directory: int, path_at: int, flags: int) -> int:
    """``unlinkat``, rmdir with AT_REMOVEDIR."""
    parent, name, place = _taken_name(process, directory, path_at)
    if flags & AT_REMOVEDIR and not place.node.is_directory:
        raise Errno(errno.ENOTDIR)
    if place.node.is_directory and not flags & AT_REMOVEDIR:
        raise Errno(errno.EISDIR)
    parent.node.remove(name)
    return 0


@system_call(276)
def renameat2(process: Process, old: int, old_at: int, new: int, new_at: int, flags: int) -> int:
    """``renameat2``, with RENAME_NOREPLACE at most."""
    source, old_name, moved = _taken_name(process, old, old_at)
    target, new_name = parent_at(process, new, new_at)
    there = process.names.child(target, new_name)
    if flags & ~RENAME_NOREPLACE:
        raise Errno(errno.EINVAL)
    if there is not None and flags:
        raise Errno(errno.EEXIST)
    if there is not None and there.node is moved.node:
        return 0
    if _inside(target, moved):
        raise Errno(errno.EINVAL)
    if target.node.read_only:
        raise Errno(errno.EXDEV)
    if there is not None:
        _check_replaceable(moved, there)
        target.node.remove(new_name)
    source.node.detach(old_name)
    target.node.create(new_name, moved.node)
    return 0


@system_call(38)
def renameat(process: Process, old: int, old_at: int, new: int, new_at: int) -> int:
    """``renameat``."""
    return renameat2(process, old, old_at, new, new_at, 0)


def _inside(place: Place | None, moved: Place) -> bool:
    while place is not None:
        if place.node is moved.node:
            return True
        place = place.parent
    return False


def _check_replaceable(moved: Place, there: Place) -> None:
    if moved.node.is_directory and not there.node.is_directory:
        raise Errno(errno.ENOTDIR)
    if there.node.is_directory and not moved.node.is_directory:
        raise Errno(errno.EISDIR)
