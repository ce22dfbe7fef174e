"""A source of files to an image: scan, write the pool, put a partition around it, rename into place."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

from unikiln.base.atomic import replacing
from unikiln.base.progress import QUIET, Progress
from unikiln.base.tree import Node, totals, walk
from unikiln.errors import UsageError
from unikiln.image import mbr
from unikiln.image.container import create_image, format_of
from unikiln.image.growing import GrowingDevice, GrowingSlice
from unikiln.image.partition import SECTOR
from unikiln.image.reproducible import fixed_seed, newest, random_seed, settle
from unikiln.image.sources import SourceOptions, assemble
from unikiln.zfs.create import CreateOptions, CreateResult, create_pool


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """What to build of what; sizes in bytes.

    ``format`` None is what the suffix of ``output`` says; ``size``, of the whole disk, None is what the
    tree takes plus ``slack`` (a fraction). ``seed`` fixes identifiers, ``epoch`` (seconds since 1970)
    times; with either, the same input gives the same bytes.
    """

    sources: SourceOptions
    output: Path
    arch: str
    layout: str = "disk"
    format: str | None = None
    size: int | None = None
    slack: float = 0.10
    pool: str = "osv"
    dataset: str = "zfs"
    compression: str = "lz4"
    ashift: int = 12
    recordsize: int = 128 << 10
    cmdline: str | None = None
    seed: str | None = None
    epoch: int | None = None
    profile: str = "osv"


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What was built; sizes in bytes, ``size`` of the virtual disk, ``bytes_out`` allocated in the pool.

    ``files`` counts what is no directory; a file with several names counts once.
    """

    image: str
    arch: str
    layout: str
    format: str
    size: int
    files: int
    bytes_in: int
    bytes_out: int
    pool: str
    pool_guid: int
    seconds: float


def build(options: BuildOptions, progress: Progress = QUIET) -> BuildResult:
    """Build the image that ``options`` describe; it is at its place whole, or not at all.

    :raises UsageError: options that contradict each other
    :raises ManifestError: what is wrong with the manifest
    :raises NoSpaceError: the tree does not fit ``size``
    """
    started = time.monotonic()
    form = options.format or format_of(options.output)
    start = _pool_start(options)
    tree = _read_source(options)
    create = _create_options(options, tree, start)
    nodes, bytes_in = totals(tree)
    files = len({id(node) for _, node in walk(tree) if not node.is_directory})
    progress.total(nodes, bytes_in)
    with replacing(options.output) as beside:
        device = create_image(beside, form)
        try:
            made = _write(device, start, tree, create, options, progress)
            size = device.size
        finally:
            device.close()
    return BuildResult(
        os.fspath(options.output), options.arch, options.layout, form, size,
        files, bytes_in, made.bytes_out, options.pool, made.pool_guid,
        time.monotonic() - started,
    )  # fmt: skip


def _pool_start(options: BuildOptions) -> int:
    """Byte of the disk at which the pool begins."""
    if options.layout == "disk":
        if options.cmdline is not None:
            mbr.encode_cmdline(options.cmdline)  # too long a one is refused before the work, not after
        return mbr.pool_start(options.cmdline)
    if options.cmdline is not None:
        raise UsageError("a bare pool has no place for a command line", hint="use --layout disk")
    return 0


def _read_source(options: BuildOptions) -> Node:
    return assemble(replace(options.sources, output=options.output, time_ns=_nanoseconds(options.epoch)))


def _create_options(options: BuildOptions, tree: Node, start: int) -> CreateOptions:
    """What the pool's writer needs; makes the tree's times reproducible if that is asked for."""
    epoch, seed = options.epoch, random_seed()
    if epoch is not None or options.seed is not None:
        epoch = newest(tree) if epoch is None else epoch
        settle(tree, epoch)
        seed = fixed_seed(options.seed, tree)
    return CreateOptions(
        pool=options.pool,
        dataset=options.dataset,
        size=None if options.size is None else _pool_size(options.size, start),
        slack=options.slack,
        compression=options.compression,
        ashift=options.ashift,
        recordsize=options.recordsize,
        seed=seed,
        epoch=int(time.time()) if epoch is None else epoch,
        profile=options.profile,
    )


def _pool_size(disk_size: int, start: int) -> int:
    size = disk_size // SECTOR * SECTOR - start
    if size <= 0:
        raise UsageError(f"a disk of {disk_size} bytes has no room for a pool")
    return size


def _write(
    device: GrowingDevice,
    start: int,
    tree: Node,
    create: CreateOptions,
    options: BuildOptions,
    progress: Progress,
) -> CreateResult:
    made = create_pool(GrowingSlice(device, start) if start else device, tree, create, progress)
    device.truncate(start + made.size)
    if options.layout == "disk":
        mbr.write_disk(device, start, made.size, options.cmdline)
    device.flush()
    return made


def _nanoseconds(epoch: int | None) -> int | None:
    return None if epoch is None else epoch * 1_000_000_000
