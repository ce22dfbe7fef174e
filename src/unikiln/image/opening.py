"""What is in an image: which file system, and where; and opening the small ones.

ROFS and bootfs are known by their first bytes, a pool by its labels. What a pool takes is loaded only
when an image has neither of the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from unikiln.base.device import BlockDevice, SliceDevice
from unikiln.base.filesystem import Attributes, FileSystem, Inode
from unikiln.bootfs.filesystem import FileSystem as Bootfs
from unikiln.bootfs.format import RECORD, looks_like
from unikiln.errors import PoolNotFoundError
from unikiln.image.partition import Partition
from unikiln.image.partitions import partitions
from unikiln.rofs.filesystem import FileSystem as Rofs
from unikiln.rofs.format import BLOCK, has_magic

Kind = Literal["zfs", "rofs", "ramfs"]


@dataclass(frozen=True, slots=True)
class Volume:
    """A file system on a disk; ``partition`` is None when it is the whole of it."""

    kind: Kind
    device: BlockDevice
    partition: Partition | None


class FullAttributes(Attributes, Protocol):
    """What there is to tell of a file."""

    @property
    def crtime_ns(self) -> int: ...  # noqa: D102
    @property
    def block_size(self) -> int: ...  # noqa: D102
    @property
    def blocks(self) -> int: ...  # noqa: D102


class FullInode(Inode, Protocol):
    """A file that a person looks at."""

    @property
    def attributes(self) -> FullAttributes:
        """What there is to tell."""


class Files(FileSystem, Protocol):
    """A file system that can be asked for paths; ``name`` is for messages."""

    name: str

    def path(self, path: bytes, *, follow: bool = True) -> FullInode:
        """The inode at ``path``; see :func:`unikiln.base.lookup.find`."""


def volumes(disk: BlockDevice) -> Iterator[Volume]:
    """What is on ``disk``: on the whole of it, or in its partitions."""
    kind = _kind(disk)
    if kind is not None:
        yield Volume(kind, disk, None)
        return
    for partition in partitions(disk):
        # A table may promise more than a truncated disk has.
        size = min(partition.size, disk.size - partition.start)
        if size > 0:
            part = SliceDevice(disk, partition.start, size)
            kind = _kind(part)
            if kind is not None:
                yield Volume(kind, part, partition)


def only_volume(disk: BlockDevice) -> Volume:
    """The first file system on ``disk``.

    :raises PoolNotFoundError: there is none that is known here
    """
    found = next(volumes(disk), None)
    if found is None:
        count = len(partitions(disk))
        looked = f"nor in its {count} partitions" if count else "and there are no partitions"
        raise PoolNotFoundError(
            f"{disk.name}: no ZFS pool on it, no ROFS and no bootfs, {looked}",
            hint="is it an image that holds files?",
        )
    return found


def open_plain(volume: Volume) -> Rofs | Bootfs:
    """The file system in ``volume``, which is no pool.

    :raises ImageError: it is damaged
    """
    return Rofs(volume.device) if volume.kind == "rofs" else Bootfs(volume.device)


def _kind(device: BlockDevice) -> Kind | None:
    head = device.read_at(0, min(BLOCK, device.size))
    if has_magic(head):
        return "rofs"
    if looks_like(head) or (RECORD <= device.size <= BLOCK and not any(head)):
        return "ramfs"
    from unikiln.zfs.pool import has_label

    return "zfs" if has_label(device) else None
