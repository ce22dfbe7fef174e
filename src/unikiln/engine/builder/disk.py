"""The machine's disk: what stood there, or nothing, and in partition 2 a pool that is written at the end."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from unikiln.base.device import BlockDevice
from unikiln.base.progress import Progress
from unikiln.base.tree import Node
from unikiln.engine.builder.pool import Pool
from unikiln.errors import ImageError, MachineError
from unikiln.image import mbr
from unikiln.image.container import create_image, open_image
from unikiln.image.growing import GrowingDevice, GrowingSlice
from unikiln.image.layout import Layout
from unikiln.image.partition import Partition
from unikiln.image.partitions import partitions
from unikiln.zfs.create import CreateOptions, CreateResult, create_pool

_POOL_PARTITION = 2
_PIECE = 1 << 20
PARTITION_ONLY = Layout(mbr.POOL_START, partitioned=True)
"""A disk without a kernel."""
_ASHIFT = 9
"""OSv's virtio disks have sectors of 512 bytes."""
_Write = Callable[[GrowingSlice, int | None, float], CreateResult]
"""Writes the pool to a partition of a size in bytes, or of the least that leaves so much free."""
_WRITABLE = {"on": "lz4", "lz4": "lz4", "off": "off"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskPlan:
    """The file ``path`` that becomes the disk, in format ``form``.

    ``before`` is the disk as it was: its partition 2 is made anew, all else is kept. Without it, the disk has
    what ``layout`` says. Its ``size`` in bytes, of the whole disk, may be None: what the files take plus
    ``slack`` (a fraction).
    """

    path: Path
    form: str
    before: Path | None = None
    layout: Layout = PARTITION_ONLY
    size: int | None = None
    slack: float = 0.10


def pool_partition(device: BlockDevice) -> Partition:
    """Where on a disk the pool goes.

    :raises ImageError: there is no such partition, or it is not on the disk
    """
    for partition in partitions(device):
        if partition.number == _POOL_PARTITION:
            if partition.start + partition.size > device.size:
                raise ImageError(f"{device.name}: partition 2 is longer than the disk")
            return partition
    raise ImageError(
        f"{device.name}: has no partition 2 for a pool", hint="unikiln disk setpartition makes one"
    )


def write_disk(plan: DiskPlan, pool: Pool, epoch: int, progress: Progress) -> CreateResult:
    """Write the disk with ``pool`` on it.

    :param epoch: the pool's own times, in seconds since 1970
    :raises NoSpaceError: the files do not fit
    :raises ImageError: there is no partition for a pool
    """
    tree, options = _files(pool), _options(pool, epoch)
    device = create_image(plan.path, plan.form)
    try:

        def write(partition: GrowingSlice, size: int | None, slack: float) -> CreateResult:
            return create_pool(partition, tree, replace(options, size=size, slack=slack), progress)

        if plan.before is None:
            made = _write_new(plan.layout, plan.size, plan.slack, device, write)
        else:
            made = _write_over(plan.before, device, write)
        device.flush()
        return made
    finally:
        device.close()


def _write_new(
    layout: Layout, disk_size: int | None, slack: float, device: GrowingDevice, write: _Write
) -> CreateResult:
    layout.begin(device)
    size = None if disk_size is None else layout.room(disk_size)
    made = write(GrowingSlice(device, layout.start), size, slack)
    layout.finish(device, made.size, disk_size)
    return made


def _write_over(before: Path, device: GrowingDevice, write: _Write) -> CreateResult:
    """Everything of the disk ``before``, but a new pool in its partition 2."""
    old = open_image(before)
    try:
        partition = pool_partition(old)
        end = partition.start + partition.size
        _copy(old, device, 0, partition.start)
        made = write(GrowingSlice(device, partition.start), partition.size, 0.0)
        device.truncate(old.size)
        _copy(old, device, end, old.size)
        return made
    finally:
        old.close()


def _copy(old: BlockDevice, new: BlockDevice, start: int, end: int) -> None:
    for offset in range(start, end, _PIECE):
        data = old.read_at(offset, min(_PIECE, end - offset))
        if data.count(0) < len(data):
            new.write_at(offset, data)


def _options(pool: Pool, epoch: int) -> CreateOptions:
    name, dataset = list(pool.datasets.items())[-1]
    compression = pool.filled_with or pool.compression(name)
    if compression not in _WRITABLE:
        raise MachineError(f"compression={compression} cannot be written here", hint="set lz4 or off")
    return CreateOptions(
        pool=pool.name,
        dataset=name.partition("/")[2],
        compression=_WRITABLE[compression],
        ashift=_ASHIFT,
        recordsize=dataset.numbers().get("recordsize", 128 << 10),
        seed=secrets.randbits(64),
        epoch=epoch,
        properties=dict(_properties(pool)),
    )


def _properties(pool: Pool) -> Iterator[tuple[str, dict[str, int]]]:
    for name, dataset in pool.datasets.items():
        yield name.partition("/")[2], dataset.numbers()


def _files(pool: Pool) -> Node:
    """The files of the last dataset: only those are written; each above has one mount point, and no more."""
    *above, dataset = pool.datasets.values()
    mounted = [*(each.root for each in above[1:]), dataset.root]
    for each, child in zip(above, mounted, strict=True):
        if [*each.root.children.values()] != [child]:
            raise MachineError(f"files beside what is mounted in {each.mountpoint} cannot be written")
    return dataset.root
