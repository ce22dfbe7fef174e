"""Sources of files, containers, partition tables and file systems of disk images."""

from __future__ import annotations

from unikiln.image.container import create_image, format_of, open_image
from unikiln.image.partitions import FoundPool, Partition, find_pools, only_pool, partitions

__all__ = [
    "FoundPool",
    "Partition",
    "create_image",
    "find_pools",
    "format_of",
    "only_pool",
    "open_image",
    "partitions",
]
