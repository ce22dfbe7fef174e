"""A tree to a file system on a device: one writer for each that a disk can have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unikiln.base.progress import Progress
from unikiln.base.tree import Node
from unikiln.errors import NoSpaceError
from unikiln.image.growing import GrowingDevice

if TYPE_CHECKING:
    from unikiln.zfs.create import CreateOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to write: ``room`` is the most bytes that it may take (None: any), ``pool`` is for ZFS alone."""

    tree: Node
    room: int | None
    pool: Callable[[], CreateOptions]
    progress: Progress


@dataclass(frozen=True, slots=True)
class Written:
    """What was written, in bytes: ``size`` of the file system, ``used`` of it; a pool's GUID or 0."""

    size: int
    used: int
    pool_guid: int = 0


def write(fs: str, device: GrowingDevice, request: Request) -> Written:
    """Write ``request.tree`` as file system ``fs`` to ``device``, which reads as zeros.

    :raises NoSpaceError: it does not fit ``request.room``
    """
    written = _WRITERS[fs](device, request)
    if request.room is not None and written.size > request.room:
        raise NoSpaceError(
            f"the files take {written.size} bytes as {fs}, and the disk has {request.room} for them",
            hint="give a larger --size, or none",
        )
    return written


def _zfs(device: GrowingDevice, request: Request) -> Written:
    from unikiln.zfs.create import create_pool

    made = create_pool(device, request.tree, request.pool(), request.progress)
    return Written(made.size, made.bytes_out, made.pool_guid)


def _rofs(device: GrowingDevice, request: Request) -> Written:
    from unikiln.rofs.writer import write as write_rofs

    size = write_rofs(device, request.tree, request.progress).size
    return Written(size, size)


def _ramfs(device: GrowingDevice, request: Request) -> Written:
    from unikiln.bootfs.writer import files
    from unikiln.bootfs.writer import write as write_bootfs

    size = write_bootfs(device, files(request.tree), request.progress).size
    return Written(size, size)


_WRITERS: dict[str, Callable[[GrowingDevice, Request], Written]] = {
    "zfs": _zfs,
    "rofs": _rofs,
    "ramfs": _ramfs,
}
