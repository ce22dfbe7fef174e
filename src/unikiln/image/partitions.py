"""Partition tables: what is on a disk, and where. Only what finding a pool takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from unikiln.base.device import BlockDevice, SliceDevice
from unikiln.errors import PoolNotFoundError
from unikiln.image import gpt, mbr
from unikiln.image.partition import Partition

__all__ = ["FoundPool", "Partition", "find_pools", "only_pool", "partitions"]


@dataclass(frozen=True, slots=True)
class FoundPool:
    """A place on a disk that holds a pool; ``partition`` is None when it is the whole disk."""

    device: BlockDevice
    partition: Partition | None


def partitions(device: BlockDevice) -> list[Partition]:
    """Partitions of ``device`` in the table's order, none when it has no table.

    A GUID table wins over the protective master boot record that stands before it.

    :raises ImageError: a GUID table of which neither copy can be used
    """
    entries = mbr.read(device)
    if any(entry.type == mbr.PROTECTIVE for entry in entries):
        return gpt.read(device)
    return entries


def find_pools(device: BlockDevice, has_pool: Callable[[BlockDevice], bool]) -> list[FoundPool]:
    """Where on ``device`` pools are: the whole of it, or partitions.

    :param has_pool: whether a device holds a pool's label
    """
    if has_pool(device):
        return [FoundPool(device, None)]
    found = []
    for partition in partitions(device):
        # A table may promise more than a truncated disk has; the labels at the front are still there.
        size = min(partition.size, device.size - partition.start)
        if size > 0:
            part = SliceDevice(device, partition.start, size)
            if has_pool(part):
                found.append(FoundPool(part, partition))
    return found


def only_pool(device: BlockDevice, has_pool: Callable[[BlockDevice], bool]) -> FoundPool:
    """The first pool on ``device``.

    :raises PoolNotFoundError: there is none
    """
    found = find_pools(device, has_pool)
    if not found:
        count = len(partitions(device))
        looked = f"nor in its {count} partitions" if count else "and there are no partitions"
        raise PoolNotFoundError(
            f"{device.name}: no ZFS pool on it, {looked}", hint="is it an image that holds a pool?"
        )
    return found[0]
