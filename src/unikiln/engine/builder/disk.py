"""The machine's disk: what stood there, or nothing, and in partition 2 a pool that is written at the end."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from unikiln.base.device import BlockDevice
from unikiln.base.progress import Progress
from unikiln.base.tree import Node
from unikiln.engine.builder.pool import Dataset, Pool
from unikiln.errors import ImageError, MachineError
from unikiln.image import mbr
from unikiln.image.container import create_image, open_image
from unikiln.image.growing import GrowingDevice, GrowingSlice
from unikiln.image.partition import SECTOR, Partition
from unikiln.image.partitions import partitions
from unikiln.zfs.create import CreateOptions, CreateResult, create_pool

_POOL_PARTITION = 2
_PIECE = 1 << 20
_WRITABLE = {"on": "lz4", "lz4": "lz4", "off": "off"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskPlan:
    """The file ``path`` that becomes the disk, in format ``form``.

    ``before`` is the disk as it was: its partition 2 is made anew, all else is kept. Without it, the disk has
    that partition only, from byte 512, or from 1 MiB behind a ``cmdline``. Its ``size`` in bytes, of the
    whole disk, may be None: what the files take plus ``slack`` (a fraction).
    """

    path: Path
    form: str
    before: Path | None = None
    size: int | None = None
    slack: float = 0.10
    cmdline: str | None = None


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
    device = create_image(plan.path, plan.form)
    try:
        if plan.before is None:
            made = _write_new(plan, device, pool, epoch, progress)
        else:
            made = _write_over(plan.before, device, pool, epoch, progress)
        device.flush()
        return made
    finally:
        device.close()


def _write_new(
    plan: DiskPlan, device: GrowingDevice, pool: Pool, epoch: int, progress: Progress
) -> CreateResult:
    start = mbr.pool_start(plan.cmdline)
    size = None if plan.size is None else plan.size // SECTOR * SECTOR - start
    if size is not None and size <= 0:
        raise ImageError(f"a disk of {plan.size} bytes has no room for a pool")
    made = _write_pool(GrowingSlice(device, start), pool, size, plan.slack, epoch, progress)
    device.truncate(start + made.size)
    mbr.write_disk(device, start, made.size, plan.cmdline)
    return made


def _write_over(
    before: Path, device: GrowingDevice, pool: Pool, epoch: int, progress: Progress
) -> CreateResult:
    """Everything of the disk ``before``, but a new pool in its partition 2."""
    old = open_image(before)
    try:
        partition = pool_partition(old)
        end = partition.start + partition.size
        _copy(old, device, 0, partition.start)
        made = _write_pool(GrowingSlice(device, partition.start), pool, partition.size, 0.0, epoch, progress)
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


def _write_pool(
    device: GrowingSlice, pool: Pool, size: int | None, slack: float, epoch: int, progress: Progress
) -> CreateResult:
    *above, (name, dataset) = pool.datasets.items()
    compression = pool.filled_with or pool.compression(name)
    if compression not in _WRITABLE:
        raise MachineError(f"compression={compression} cannot be written here", hint="set lz4 or off")
    options = CreateOptions(
        pool=pool.name,
        dataset=name.partition("/")[2],
        size=size,
        slack=slack,
        compression=_WRITABLE[compression],
        ashift=9,
        recordsize=dataset.numbers().get("recordsize", 128 << 10),
        seed=secrets.randbits(64),
        epoch=epoch,
        properties=dict(_properties(pool)),
    )
    _refuse_files_above([each for _, each in above], dataset)
    return create_pool(device, dataset.root, options, progress)


def _properties(pool: Pool) -> Iterator[tuple[str, dict[str, int]]]:
    for name, dataset in pool.datasets.items():
        yield name.partition("/")[2], dataset.numbers()


def _refuse_files_above(above: list[Dataset], dataset: Dataset) -> None:
    """Only the last dataset's files are written; each one above has one mount point, and no more."""
    mounted: list[Node] = [*(each.root for each in above[1:]), dataset.root]
    for each, child in zip(above, mounted, strict=True):
        if [*each.root.children.values()] != [child]:
            raise MachineError(f"files beside what is mounted in {each.mountpoint} cannot be written")
