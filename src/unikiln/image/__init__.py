"""Sources of files, containers, partition tables and file systems of disk images."""

from __future__ import annotations

from unikiln.image.container import create_image, format_of, open_image
from unikiln.image.partitions import Partition, partitions

__all__ = [
    "Partition",
    "create_image",
    "format_of",
    "open_image",
    "partitions",
]
