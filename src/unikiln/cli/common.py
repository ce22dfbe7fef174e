"""What verbs that look into an image share: opening it, what is in it, a dataset, a path."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unikiln.cli.keys import keys_from
from unikiln.errors import UsageError

if TYPE_CHECKING:
    from unikiln.base.device import BlockDevice
    from unikiln.image.opening import Files, Volume
    from unikiln.zfs.arc import Stats
    from unikiln.zfs.pool import Pool

ImageArgument = Annotated[Path, typer.Argument(metavar="IMAGE", help="A disk image: raw or qcow2.")]
DatasetOption = Annotated[
    str | None,
    typer.Option("--dataset", metavar="NAME", help="Dataset to look into; default: the one with files."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]


@dataclass(frozen=True, slots=True)
class OpenImage:
    """An open image: the disk, and the file system in it or the pool."""

    disk: BlockDevice
    volume: Volume

    @property
    def cmdline(self) -> str | None:
        """The command line that is stored before the file system's partition."""
        from unikiln.image.mbr import read_cmdline

        return read_cmdline(self.disk) if self.volume.partition else None

    @contextmanager
    def pool(self, key: Sequence[str] | None = None) -> Iterator[Pool]:
        """The pool, if that is what is in it; ``key`` is what ``--key`` says."""
        from unikiln.zfs.pool import open_pool

        with open_pool(self.volume.device, key=keys_from(key)) as pool:
            yield pool


@dataclass(frozen=True, slots=True)
class OpenDataset:
    """The files of an open image; ``cache_stats`` has ``hits`` and ``misses`` of the cache under a pool."""

    filesystem: Files
    cache_stats: Stats | None
    cmdline: str | None


@contextmanager
def opened_image(path: Path) -> Iterator[OpenImage]:
    """The image ``path`` and what is in it, wherever in it that is.

    :raises HostError: the file cannot be opened
    :raises PoolNotFoundError: there is nothing known in it
    """
    from unikiln.image.container import open_image
    from unikiln.image.opening import only_volume

    disk = open_image(path)
    try:
        yield OpenImage(disk, only_volume(disk))
    finally:
        disk.close()


@contextmanager
def open_dataset(image: Path, dataset: str | None, key: Sequence[str] | None = None) -> Iterator[OpenDataset]:
    """The files of ``image``: of a pool, the dataset of that name, or the one with files.

    :raises PoolNotFoundError: nothing known, or no such dataset
    :raises UsageError: a dataset of what is no pool
    """
    with opened_image(image) as opened:
        if opened.volume.kind == "zfs":
            with opened.pool(key) as pool:
                name = None if dataset is None else full_name(pool.name, dataset)
                yield OpenDataset(pool.filesystem(name), pool.arc.stats, opened.cmdline)
            return
        if dataset is not None:
            raise UsageError(f"{image}: holds {opened.volume.kind}, which has no datasets")
        from unikiln.image.opening import open_plain

        yield OpenDataset(open_plain(opened.volume), None, opened.cmdline)


def full_name(pool: str, dataset: str) -> str:
    """A dataset's name with the pool's in front, which people may leave out; ``/`` is the pool's root."""
    short = dataset.strip("/")
    if short.partition("/")[0].partition("@")[0] == pool:
        return short
    return f"{pool}{short}" if short.startswith("@") or not short else f"{pool}/{short}"


def guest_path(text: str) -> bytes:
    """A path in the image as its file system knows it: bytes, absolute."""
    return b"/" + os.fsencode(text).strip(b"/")
