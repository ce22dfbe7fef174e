"""What verbs that look into an image share: opening it, its pool, a dataset, a path."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from unikiln.base.device import BlockDevice
    from unikiln.image.partition import Partition
    from unikiln.zfs.arc import Stats
    from unikiln.zfs.filesystem import FileSystem
    from unikiln.zfs.pool import Pool

ImageArgument = Annotated[Path, typer.Argument(metavar="IMAGE", help="A disk image: raw or qcow2.")]
DatasetOption = Annotated[
    str | None,
    typer.Option("--dataset", metavar="NAME", help="Dataset to look into; default: the one with files."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]


@dataclass(frozen=True, slots=True)
class PoolImage:
    """An open image: the disk, the partition that the pool is in (None: the whole disk), and the pool."""

    disk: BlockDevice
    partition: Partition | None
    pool: Pool


@dataclass(frozen=True, slots=True)
class OpenDataset:
    """A dataset of an open image; ``cache_stats`` has ``hits`` and ``misses`` of the cache under it."""

    filesystem: FileSystem
    cache_stats: Stats
    cmdline: str | None


@contextmanager
def open_pool_image(path: Path) -> Iterator[PoolImage]:
    """The pool in the image ``path``, wherever in it that is.

    :raises HostError: the file cannot be opened
    :raises PoolNotFoundError: there is no pool in it
    """
    from unikiln.image import only_pool, open_image
    from unikiln.zfs.pool import has_label, open_pool

    disk = open_image(path)
    try:
        found = only_pool(disk, has_label)
        with open_pool(found.device) as pool:
            yield PoolImage(disk, found.partition, pool)
    finally:
        disk.close()


@contextmanager
def open_dataset(image: Path, dataset: str | None) -> Iterator[OpenDataset]:
    """The dataset of that name in ``image``, or the one with files.

    :raises PoolNotFoundError: no pool, or no such dataset
    """
    from unikiln.image.mbr import read_cmdline

    with open_pool_image(image) as opened:
        pool = opened.pool
        cmdline = read_cmdline(opened.disk) if opened.partition else None
        name = None if dataset is None else full_name(pool.name, dataset)
        yield OpenDataset(pool.filesystem(name), pool.arc.stats, cmdline)


def full_name(pool: str, dataset: str) -> str:
    """A dataset's name with the pool's in front, which people may leave out; ``/`` is the pool's root."""
    short = dataset.strip("/")
    if short.partition("/")[0].partition("@")[0] == pool:
        return short
    return f"{pool}{short}" if short.startswith("@") or not short else f"{pool}/{short}"


def guest_path(text: str) -> bytes:
    """A path in the image as its file system knows it: bytes, absolute."""
    return b"/" + os.fsencode(text).strip(b"/")
