"""Partition tables: what is on a disk, and where. Only what finding a file system takes."""

from __future__ import annotations

from unikiln.base.device import BlockDevice
from unikiln.image import gpt, mbr
from unikiln.image.partition import Partition

__all__ = ["Partition", "partitions"]


def partitions(device: BlockDevice) -> list[Partition]:
    """Partitions of ``device`` in the table's order, none when it has no table.

    A GUID table wins over the protective master boot record that stands before it.

    :raises ImageError: a GUID table of which neither copy can be used
    """
    entries = mbr.read(device)
    if any(entry.type == mbr.PROTECTIVE for entry in entries):
        return gpt.read(device)
    return entries
