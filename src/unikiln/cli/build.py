"""``unikiln build``: directories, manifests and archives to an image."""

from __future__ import annotations

import platform
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unikiln.base.size import format_size, parse_size
from unikiln.cli.bar import progress_bar
from unikiln.cli.output import print_json, warn
from unikiln.cli.source_options import (
    AppendOption,
    Arch,
    ArchOption,
    AtOption,
    BaseOption,
    DefineOption,
    DepfileOption,
    ExcludeOption,
    ExportOption,
    ModeOption,
    MtimeOption,
    OwnerOption,
    SkelOption,
    SourcesArgument,
    SourcesCommand,
    StripOption,
    source_options,
)
from unikiln.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from unikiln.base.progress import Progress
    from unikiln.image.build import BuildOptions, BuildResult


class FileSystem(StrEnum):
    """What is in the image's partition."""

    zfs = "zfs"
    rofs = "rofs"
    ramfs = "ramfs"
    virtiofs = "virtiofs"


class Layout(StrEnum):
    """What is around the file system."""

    disk = "disk"
    bare = "bare"
    pool = "pool"


class Format(StrEnum):
    """What holds the disk."""

    raw = "raw"
    qcow2 = "qcow2"


class Compression(StrEnum):
    """How blocks are compressed."""

    off = "off"
    lz4 = "lz4"


class Via(StrEnum):
    """Who writes the pool."""

    direct = "direct"
    guest = "guest"


class Profile(StrEnum):
    """Which pool features are active."""

    osv = "osv"
    openzfs = "openzfs"


COMMAND = SourcesCommand
"""What parses the command line of this verb."""

_ALIASES = {"arm64": "aarch64", "amd64": "x86_64"}
_RECORD_SIZES = [1 << bits for bits in range(9, 21)]


def _host_arch() -> Arch:
    machine = platform.machine().lower()
    known = _ALIASES.get(machine, machine)
    return Arch(known) if known in Arch.__members__ else Arch.aarch64


def build(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="IMAGE", help="The image to make.")],
    source: SourcesArgument = None,
    at: AtOption = None,
    define: DefineOption = None,
    append_manifest: AppendOption = None,
    skel: SkelOption = None,
    base: BaseOption = None,
    strip: StripOption = False,
    depfile: DepfileOption = None,
    export: ExportOption = None,
    owner: OwnerOption = None,
    mode: ModeOption = None,
    mtime: MtimeOption = None,
    exclude: ExcludeOption = None,
    arch: ArchOption = None,
    fs: Annotated[
        FileSystem,
        typer.Option(help="File system; ramfs: the bootfs that a kernel unpacks, virtiofs: a folder."),
    ] = FileSystem.zfs,
    layout: Annotated[
        Layout | None,
        typer.Option(
            help="An MBR with the file system in partition 2, or it alone (bare or pool); default: disk, "
            "for ramfs without --kernel bare."
        ),
    ] = None,
    kernel: Annotated[
        Path | None,
        typer.Option(
            metavar="LOADER.IMG",
            help="An x86-64 kernel to begin the disk with; for ramfs also another, to put the files into.",
        ),
    ] = None,
    format: Annotated[
        Format | None, typer.Option(help="Default: by suffix (.raw .img .bin .rofs .zfs, or .qcow2).")
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="Size of the disk, such as 256M; default: what the tree takes.")
    ] = None,
    slack: Annotated[str, typer.Option(help="Free space to add when --size is not given.")] = "10%",
    pool: Annotated[str, typer.Option(help="Name of the pool.")] = "osv",
    dataset: Annotated[str, typer.Option(help="Dataset in the pool for the files; / is its root.")] = "zfs",
    compression: Annotated[
        Compression, typer.Option(help="How to compress the files' blocks.")
    ] = Compression.lz4,
    ashift: Annotated[
        int, typer.Option(min=9, max=16, help="Sector size of the pool, as a power of 2.")
    ] = 12,
    recordsize: Annotated[str, typer.Option(help="Largest block of a file: 512 to 1M.")] = "128K",
    cmdline: Annotated[
        str | None, typer.Option(help="Command line to store at byte 512; --rootfs=FS goes in front.")
    ] = None,
    seed: Annotated[str | None, typer.Option(help="Same input and seed, same bytes.")] = None,
    profile: Annotated[
        Profile, typer.Option(help="Pool features and properties: as an OSv kernel wants them, or OpenZFS's.")
    ] = Profile.osv,
    via: Annotated[
        Via, typer.Option(help="Write the pool directly, or let a guest make it and receive the files.")
    ] = Via.direct,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON.")] = False,
) -> None:
    """Make a disk image from directories, manifests and tar archives.

    SOURCE_DATE_EPOCH, if set, gives the times of everything that the build makes.
    """
    from unikiln.image.build import BuildOptions
    from unikiln.image.reproducible import source_date_epoch

    sources = source_options(
        source, define, append_manifest, skel, base=base, strip=strip, owner=owner, mode=mode, mtime=mtime,
        exclude=exclude, depfile=depfile, export=export, arch=arch and arch.value, warn=warn,
    )  # fmt: skip
    options = BuildOptions(
        sources=sources,
        output=output,
        arch=(arch or _host_arch()).value,
        fs=fs.value,
        layout=layout.value if layout else None,
        kernel=kernel,
        format=format.value if format else None,
        size=None if size is None else parse_size(size),
        slack=_slack(slack),
        pool=pool,
        dataset=dataset,
        compression=compression.value,
        ashift=ashift,
        recordsize=_record_size(recordsize),
        cmdline=cmdline,
        seed=seed,
        epoch=source_date_epoch(),
        profile=profile.value,
    )
    with progress_bar(f"building {output.name}", quiet=quiet) as progress:
        result = _builder(via)(options, progress)
    if json:
        print_json(result)
    elif not quiet:
        print(_summary(result, options))


def _builder(via: Via) -> Callable[[BuildOptions, Progress], BuildResult]:
    if via is Via.guest:
        from unikiln.engine.via_guest import build_via_guest

        return build_via_guest
    from unikiln.image.build import build as build_image

    return build_image


def _slack(text: str) -> float:
    """A percentage, with or without its sign, as a fraction."""
    try:
        percent = float(text.removesuffix("%"))
    except ValueError:
        percent = -1
    if not 0 <= percent <= 10_000:
        raise UsageError(f"{text!r} is no slack", hint="write it like 10%")
    return percent / 100


def _record_size(text: str) -> int:
    size = parse_size(text)
    if size not in _RECORD_SIZES:
        raise UsageError(f"a record size of {text} is not possible", hint="a power of two from 512 to 1M")
    return size


def _summary(result: BuildResult, options: BuildOptions) -> str:
    what = f"{result.image}: {result.files:,} files, {format_size(result.bytes_in)}"
    took = f"{result.seconds:.2f} s"
    if result.layout in ("folder", "kernel"):
        return f"{what} in a {result.layout}, {took}"
    dataset = "" if options.dataset == "/" else f"/{options.dataset.strip('/')}"
    where = f"{result.pool}{dataset}" if result.pool else result.fs
    used = f"{format_size(result.bytes_out)} used"
    return f"{what} in {where} on a {format_size(result.size)} {result.format} disk, {used}, {took}"
