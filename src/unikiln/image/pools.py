"""Open a pool from paths of images, in any order: raw or qcow2, whole disks or partitions, or folders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unikiln.base.device import BlockDevice
from unikiln.image.container import open_image
from unikiln.image.opening import volumes

if TYPE_CHECKING:
    from unikiln.zfs.pool import Pool


def devices_in(path: Path) -> list[BlockDevice]:
    """What of an image has the label of a pool: the whole of it, or partitions; the image if nothing has."""
    disk = open_image(path)
    try:
        return [volume.device for volume in volumes(disk) if volume.kind == "zfs"] or [disk]
    except BaseException:
        disk.close()
        raise


def open_pool(paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], **options: Any) -> Pool:  # noqa: ANN401
    """The pool in the images ``paths``; ``options`` are those of :func:`unikiln.zfs.pool.open_pool`.

    :raises HostError: a file cannot be opened
    :raises PoolNotFoundError: no pool in them, or several of which none was asked for
    """
    from unikiln.zfs import pool

    listed = [paths] if isinstance(paths, str | os.PathLike) else [*paths]
    return pool.open_pool(listed, opener=devices_in, **options)
