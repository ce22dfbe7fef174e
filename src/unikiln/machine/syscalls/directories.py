"""Reading directories."""

from __future__ import annotations

import errno
import struct

from unikiln.machine.events import Errno
from unikiln.machine.process import Process
from unikiln.machine.syscalls.table import descriptor, system_call
from unikiln.machine.vfs.openfile import OpenDirectory


@system_call(61)
def getdents64(process: Process, fd: int, va: int, size: int) -> int:
    """``getdents64``: as many whole entries as fit."""
    file = process.files.file(descriptor(fd))
    if not isinstance(file, OpenDirectory):
        raise Errno(errno.ENOTDIR)
    listing = file.listing()
    records: list[bytes] = []
    used = 0
    for name, number, kind in listing[file.position :]:
        record = _record(name, number, kind, file.position + 1)
        if used + len(record) > size:
            break
        records.append(record)
        used += len(record)
        file.position += 1
    if not records and file.position < len(listing):
        raise Errno(errno.EINVAL)
    process.user.write(va, b"".join(records))
    return used


def _record(name: bytes, number: int, kind: int, offset: int) -> bytes:
    """``struct linux_dirent64``, padded to eight bytes."""
    length = -(-(19 + len(name) + 1) // 8) * 8
    return (struct.pack("<QqHB", number, offset, length, kind) + name).ljust(length, b"\0")
