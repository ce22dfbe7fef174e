"""Extended attributes: read; the image cannot be changed, ``/tmp`` has none."""

from __future__ import annotations

import errno

from unikiln.machine.events import Errno
from unikiln.machine.process import Process
from unikiln.machine.syscalls.lookup import place_at
from unikiln.machine.syscalls.table import descriptor, system_call
from unikiln.machine.vfs.node import Node

XATTR_NAME_MAX = 255


def _give(process: Process, data: bytes, va: int, size: int) -> int:
    """The size alone when no buffer is offered."""
    if size:
        if len(data) > size:
            raise Errno(errno.ERANGE)
        process.user.write(va, data)
    return len(data)


def _get(process: Process, node: Node, name_at: int, va: int, size: int) -> int:
    name = process.user.string(name_at, XATTR_NAME_MAX + 1)
    if b"." not in name:
        raise Errno(errno.EOPNOTSUPP)
    try:
        value = node.xattrs()[name]
    except KeyError:
        raise Errno(errno.ENODATA) from None
    return _give(process, value, va, size)


def _list(process: Process, node: Node, va: int, size: int) -> int:
    return _give(process, b"".join(name + b"\0" for name in node.xattrs()), va, size)


@system_call(8)
def getxattr(process: Process, path_at: int, name_at: int, va: int, size: int) -> int:
    """``getxattr``."""
    return _get(process, place_at(process, -100, path_at).node, name_at, va, size)


@system_call(9)
def lgetxattr(process: Process, path_at: int, name_at: int, va: int, size: int) -> int:
    """``lgetxattr``."""
    return _get(process, place_at(process, -100, path_at, follow=False).node, name_at, va, size)


@system_call(10)
def fgetxattr(process: Process, fd: int, name_at: int, va: int, size: int) -> int:
    """``fgetxattr``."""
    return _get(process, process.files.file(descriptor(fd)).node, name_at, va, size)


@system_call(11)
def listxattr(process: Process, path_at: int, va: int, size: int) -> int:
    """``listxattr``."""
    return _list(process, place_at(process, -100, path_at).node, va, size)


@system_call(12)
def llistxattr(process: Process, path_at: int, va: int, size: int) -> int:
    """``llistxattr``."""
    return _list(process, place_at(process, -100, path_at, follow=False).node, va, size)


@system_call(13)
def flistxattr(process: Process, fd: int, va: int, size: int) -> int:
    """``flistxattr``."""
    return _list(process, process.files.file(descriptor(fd)).node, va, size)


def _refuse(process: Process) -> int:
    raise Errno(errno.EOPNOTSUPP)


for _number, _name in ((5, "setxattr"), (6, "lsetxattr"), (7, "fsetxattr")):
    system_call(_number, _name)(_refuse)
for _number, _name in ((14, "removexattr"), (15, "lremovexattr"), (16, "fremovexattr")):
    system_call(_number, _name)(_refuse)
