"""What is known about files: stat, statx, access, statfs; and changing modes, owners, times."""

from __future__ import annotations

import errno
import os
import struct
import time

from unikiln.machine.events import Errno
from unikiln.machine.process import Process
from unikiln.machine.syscalls.lookup import AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW, place_at
from unikiln.machine.syscalls.table import descriptor, system_call
from unikiln.machine.vfs.node import Node, Stat

STATX_BASIC_STATS = 0x7FF
ZFS_MAGIC, TMPFS_MAGIC = 0x2FC12FC1, 0x01021994
BLOCK = 4096
UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2
UNCHANGED = 0xFFFF_FFFF
X_OK, W_OK = 1, 2
SECOND = 1_000_000_000


def _node(process: Process, directory: int, path_at: int, flags: int) -> Node:
    """The node that a path, or with AT_EMPTY_PATH a descriptor, means."""
    if flags & AT_EMPTY_PATH and (not path_at or not process.user.string(path_at)):
        fd = descriptor(directory)
        return process.cwd.node if fd == -100 else process.files.file(fd).node
    return place_at(process, directory, path_at, follow=not flags & AT_SYMLINK_NOFOLLOW).node


def pack_stat(s: Stat) -> bytes:
    """``struct stat`` of include/uapi/asm-generic/stat.h, 128 bytes."""
    return struct.pack(
        "<QQIIIIQQqiiqqQqQqQII",
        s.device, s.number, s.mode, s.nlink, s.uid, s.gid, s.rdev, 0, s.size, BLOCK, 0, -(-s.size // 512),
        *divmod(s.atime_ns, SECOND), *divmod(s.mtime_ns, SECOND), *divmod(s.ctime_ns, SECOND), 0, 0,
    )  # fmt: skip


def pack_statx(s: Stat) -> bytes:
    """``struct statx`` of include/uapi/linux/stat.h, 256 bytes."""
    head = struct.pack(
        "<IIQIIIHxxQQQQ",
        STATX_BASIC_STATS, BLOCK, 0, s.nlink, s.uid, s.gid, s.mode, s.number, s.size, -(-s.size // 512), 0,
    )  # fmt: skip
    times = b"".join(
        struct.pack("<qIxxxx", *divmod(ns, SECOND)) for ns in (s.atime_ns, 0, s.ctime_ns, s.mtime_ns)
    )
    devices = struct.pack("<IIII", os.major(s.rdev), os.minor(s.rdev), 0, s.device)
    return (head + times + devices).ljust(256, b"\0")


@system_call(79)
def newfstatat(process: Process, directory: int, path_at: int, va: int, flags: int) -> int:
    """``fstatat``."""
    process.user.write(va, pack_stat(_node(process, directory, path_at, flags).stat()))
    return 0


@system_call(80)
def fstat(process: Process, fd: int, va: int) -> int:
    """``fstat``."""
    process.user.write(va, pack_stat(process.files.file(descriptor(fd)).node.stat()))
    return 0


@system_call(291)
def statx(process: Process, directory: int, path_at: int, flags: int, mask: int, va: int) -> int:
    """``statx``: the basic fields, whatever is asked."""
    process.user.write(va, pack_statx(_node(process, directory, path_at, flags).stat()))
    return 0


@system_call(48)
def faccessat(process: Process, directory: int, path_at: int, mode: int) -> int:
    """``faccessat``, for root: all but writing to the image and executing what nobody may."""
    return faccessat2(process, directory, path_at, mode, 0)


@system_call(439)
def faccessat2(process: Process, directory: int, path_at: int, mode: int, flags: int) -> int:
    """``faccessat2``."""
    node = _node(process, directory, path_at, flags)
    if mode & W_OK and node.read_only:
        raise Errno(errno.EROFS)
    if mode & X_OK and not node.is_directory and not node.mode & 0o111:
        raise Errno(errno.EACCES)
    return 0


def _pack_statfs(process: Process, node: Node) -> bytes:
    magic = ZFS_MAGIC if node.read_only else TMPFS_MAGIC
    total = process.memory.size // BLOCK
    free = 0 if node.read_only else total - process.memory.used // BLOCK
    flags = 1 if node.read_only else 0
    return struct.pack(
        "<qqQQQQQiiqqq4q", magic, BLOCK, total, free, free, 0, 0, node.stat().device, 0, 255, BLOCK, flags,
        0, 0, 0, 0,
    )  # fmt: skip


@system_call(43)
def statfs(process: Process, path_at: int, va: int) -> int:
    """``statfs``."""
    process.user.write(va, _pack_statfs(process, place_at(process, -100, path_at).node))
    return 0


@system_call(44)
def fstatfs(process: Process, fd: int, va: int) -> int:
    """``fstatfs``."""
    process.user.write(va, _pack_statfs(process, process.files.file(descriptor(fd)).node))
    return 0


@system_call(53)
def fchmodat(process: Process, directory: int, path_at: int, mode: int) -> int:
    """``fchmodat``."""
    place_at(process, directory, path_at).node.set_mode(mode)
    return 0


@system_call(52)
def fchmod(process: Process, fd: int, mode: int) -> int:
    """``fchmod``."""
    process.files.file(descriptor(fd)).node.set_mode(mode)
    return 0


@system_call(54)
def fchownat(process: Process, directory: int, path_at: int, uid: int, gid: int, flags: int) -> int:
    """``fchownat``."""
    _change_owner(_node(process, directory, path_at, flags), uid, gid)
    return 0


@system_call(55)
def fchown(process: Process, fd: int, uid: int, gid: int) -> int:
    """``fchown``."""
    _change_owner(process.files.file(descriptor(fd)).node, uid, gid)
    return 0


def _change_owner(node: Node, uid: int, gid: int) -> None:
    uid, gid = uid & UNCHANGED, gid & UNCHANGED
    node.set_owner(None if uid == UNCHANGED else uid, None if gid == UNCHANGED else gid)


@system_call(88)
def utimensat(process: Process, directory: int, path_at: int, times_at: int, flags: int) -> int:
    """``utimensat``."""
    node = _node(process, directory, path_at, flags if path_at else flags | AT_EMPTY_PATH)
    words = process.user.unpack("4q", times_at) if times_at else (0, UTIME_NOW, 0, UTIME_NOW)
    now = time.time_ns()
    atime, mtime = (
        None if ns == UTIME_OMIT else now if ns == UTIME_NOW else seconds * SECOND + ns
        for seconds, ns in (words[:2], words[2:])
    )
    node.set_times(atime, mtime)
    return 0


@system_call(45)
def truncate(process: Process, path_at: int, size: int) -> int:
    """``truncate``."""
    place_at(process, -100, path_at).node.truncate(size)
    return 0
