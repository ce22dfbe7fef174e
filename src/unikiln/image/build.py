"""Sources to an image: assemble the tree, write a file system, put a disk around it, rename into place."""

from __future__ import annotations

import os
import time
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from unikiln.base.atomic import replacing
from unikiln.base.progress import QUIET, Progress
from unikiln.base.tree import Node, totals, walk
from unikiln.errors import UsageError
from unikiln.image import mbr
from unikiln.image.container import create_image, format_of
from unikiln.image.disk import set_args
from unikiln.image.filesystems import Request, write
from unikiln.image.growing import GrowingSlice
from unikiln.image.kernel_files import holds_files
from unikiln.image.kernel_files import replace as replace_files
from unikiln.image.layout import plan
from unikiln.image.reproducible import fixed_seed, newest, random_seed, settle
from unikiln.image.sources import SourceOptions, assemble

if TYPE_CHECKING:
    from unikiln.zfs.create import CreateOptions

VIRTIOFS = "virtiofs"
"""The file system that is a folder of the host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """What to build of what; sizes in bytes.

    ``format`` None is what the suffix of ``output`` says; ``size``, of the whole disk, None is what the
    tree takes plus ``slack`` (a fraction). ``seed`` fixes identifiers, ``epoch`` (seconds since 1970)
    times; with either, the same input gives the same bytes. ``fs`` is ``zfs``, ``rofs``, ``ramfs`` or
    ``virtiofs``, for which ``output`` is a folder. ``layout`` is ``disk``, or ``bare`` (or ``pool``) for the
    file system alone, which is what None means of a ramfs without a kernel. ``kernel`` goes onto the disk.
    """

    sources: SourceOptions
    output: Path
    arch: str
    fs: str = "zfs"
    layout: str | None = None
    kernel: Path | None = None
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
    """What was built; sizes in bytes, ``size`` of the virtual disk, ``bytes_out`` used of the file system.

    ``files`` counts what is no directory; a file with several names counts once. ``pool`` and ``pool_guid``
    are empty and 0 where there is none.
    """

    image: str
    arch: str
    fs: str
    layout: str
    format: str
    size: int
    files: int
    bytes_in: int
    bytes_out: int
    pool: str
    pool_guid: int
    seconds: float


def build(options: BuildOptions, progress: Progress = QUIET, *, tree: Node | None = None) -> BuildResult:
    """Build the image that ``options`` describe; it is at its place whole, or not at all.

    :param tree: what goes into it, instead of the sources of ``options``
    :raises UsageError: options that contradict each other
    :raises ManifestError: what is wrong with the manifest
    :raises ImageError: something that the file system cannot hold, or a kernel that is none
    :raises NoSpaceError: the tree does not fit ``size``
    """
    started = time.monotonic()
    if options.fs == VIRTIOFS:
        return _export(options, started)
    if options.fs == "ramfs" and options.kernel is not None and holds_files(options.kernel):
        return _into_kernel(options, read_source(options) if tree is None else tree, started)
    layout = options.layout or ("bare" if options.fs == "ramfs" and options.kernel is None else "disk")
    form = options.format or format_of(options.output)
    place = plan(layout, options.arch, options.fs, options.cmdline, options.kernel)
    room = None if options.size is None else place.room(options.size)
    tree = read_source(options) if tree is None else tree
    files, bytes_in = announce(tree, progress)
    request = Request(
        tree=tree, room=room, pool=lambda: _create_options(options, tree, room), progress=progress
    )
    with replacing(options.output) as beside:
        device = create_image(beside, form)
        try:
            place.begin(device)
            below = GrowingSlice(device, place.start) if place.start else device
            made = write(options.fs, below, request)
            place.finish(device, made.size, options.size)
            device.flush()
            size = device.size
        finally:
            device.close()
    return BuildResult(
        os.fspath(options.output), options.arch, options.fs, layout, form, size, files, bytes_in, made.used,
        options.pool if made.pool_guid else "", made.pool_guid, time.monotonic() - started,
    )  # fmt: skip


def _export(options: BuildOptions, started: float) -> BuildResult:
    """The tree as a folder of the host, which virtiofsd will give to the guest: there is no disk."""
    if any((options.layout, options.kernel, options.format, options.size, options.cmdline)):
        raise UsageError(
            "--fs virtiofs makes a folder, not a disk",
            hint="leave --layout, --kernel, --format, --size and --cmdline away",
        )
    sources = replace(options.sources, export=options.output)
    tree = read_source(replace(options, sources=sources))
    files, bytes_in = announce(tree, QUIET)
    return BuildResult(
        os.fspath(options.output), options.arch, options.fs, "folder", "folder", bytes_in, files, bytes_in,
        bytes_in, "", 0, time.monotonic() - started,
    )  # fmt: skip


def _into_kernel(options: BuildOptions, tree: Node, started: float) -> BuildResult:
    """A copy of a kernel, whose own files are replaced by the tree."""
    if options.layout or options.size or options.format not in (None, "raw") or options.kernel is None:
        raise UsageError(
            "a kernel with other files in it is a file like the kernel, not a disk",
            hint="leave --layout, --format and --size away",
        )
    files, bytes_in = announce(tree, QUIET)
    with replacing(options.output) as beside, closing(create_image(beside, "raw")) as device:
        used = replace_files(options.kernel, tree, device)
        if options.cmdline is not None:
            set_args(device, mbr.with_rootfs(options.cmdline, options.fs))
        device.flush()
        size = device.size
    return BuildResult(
        os.fspath(options.output), options.arch, options.fs, "kernel", "raw", size, files, bytes_in, used,
        "", 0, time.monotonic() - started,
    )  # fmt: skip


def announce(tree: Node, progress: Progress) -> tuple[int, int]:
    """Tell how much there is to do; the number of files, and of bytes in them."""
    nodes, bytes_in = totals(tree)
    progress.total(nodes, bytes_in)
    return len({id(node) for _, node in walk(tree) if not node.is_directory}), bytes_in


def read_source(options: BuildOptions) -> Node:
    """The tree that the sources of ``options`` describe."""
    return assemble(replace(options.sources, output=options.output, time_ns=_nanoseconds(options.epoch)))


def _create_options(options: BuildOptions, tree: Node, room: int | None) -> CreateOptions:
    """What the pool's writer needs; makes the tree's times reproducible if that is asked for."""
    from unikiln.zfs.create import CreateOptions

    epoch, seed = options.epoch, random_seed()
    if epoch is not None or options.seed is not None:
        epoch = newest(tree) if epoch is None else epoch
        settle(tree, epoch)
        seed = fixed_seed(options.seed, tree)
    return CreateOptions(
        pool=options.pool,
        dataset=options.dataset,
        size=room,
        slack=options.slack,
        compression=options.compression,
        ashift=options.ashift,
        recordsize=options.recordsize,
        seed=seed,
        epoch=int(time.time()) if epoch is None else epoch,
        profile=options.profile,
    )


def _nanoseconds(epoch: int | None) -> int | None:
    return None if epoch is None else epoch * 1_000_000_000
