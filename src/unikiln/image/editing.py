"""Opening an image that is there already, to change a few bytes of it in place."""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from unikiln.base.device import BlockDevice, FileDevice
from unikiln.errors import HostError
from unikiln.image.qcow2 import MAGIC, Qcow2Editor

_LOCK_START, _LOCK_LENGTH = 100, 200
"""The bytes that QEMU locks of a file that it has open (``block/file-posix.c``)."""


@contextmanager
def edited(path: str | os.PathLike[str]) -> Iterator[BlockDevice]:
    """The disk in ``path``, raw or qcow2, for reading and writing; on the disk when the block ends.

    :raises HostError: it cannot be opened, or another process, such as QEMU, has it open
    :raises UnsupportedError: a qcow2 image that a write could damage
    """
    with FileDevice(path, writable=True) as file:
        _lock(file)
        is_qcow2 = file.size >= len(MAGIC) and file.read_at(0, len(MAGIC)) == MAGIC
        device: BlockDevice = Qcow2Editor(file) if is_qcow2 else file
        yield device
        device.flush()


def _lock(file: FileDevice) -> None:
    """Keep QEMU out for as long as the file is open, and stay out if it has it."""
    if not hasattr(fcntl, "F_OFD_SETLK"):
        return
    request = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, _LOCK_START, _LOCK_LENGTH, 0)
    try:
        fcntl.fcntl(file.fileno(), fcntl.F_OFD_SETLK, request)
    except (BlockingIOError, PermissionError):
        raise HostError(f"{file.name}: is in use", hint="is it a running guest's disk?") from None
    except OSError:
        return  # a file system without locks
