"""``unikiln upload``: fill an image the original's way, by a guest that receives the files."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unikiln.base.size import format_size, parse_size
from unikiln.cli.bar import progress_bar
from unikiln.cli.common import JsonOption, QuietOption
from unikiln.cli.cpio_create import tell
from unikiln.cli.output import print_json, printable, warn
from unikiln.cli.source_options import (
    AppendOption,
    ArchOption,
    BaseOption,
    DefineOption,
    DepfileOption,
    StripOption,
    source_options,
)
from unikiln.errors import UsageError

if TYPE_CHECKING:
    from unikiln.base.tree import Node


class Engine(StrEnum):
    """What executes the guest."""

    embedded = "embedded"
    qemu = "qemu"


def upload(
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="IMAGE", help="A disk with a partition 2 for the pool; or new."
        ),
    ],
    manifest: Annotated[
        Path,
        typer.Option("--manifest", "-m", metavar="MANIFEST", help="What goes in: a manifest, or a folder."),
    ],
    depfile: DepfileOption = None,
    define: DefineOption = None,
    append_manifest: AppendOption = None,
    base: BaseOption = None,
    strip: StripOption = False,
    engine: Annotated[
        Engine, typer.Option(help="A machine of ours with the programs built in, or OSv under QEMU.")
    ] = Engine.embedded,
    size: Annotated[
        str | None, typer.Option(help="Size of a new disk; default: what the files take, or 256M under QEMU.")
    ] = None,
    kernel_mode: Annotated[
        bool,
        typer.Option("-k", help="Taken, as OSv's scripts give it: QEMU always loads the kernel."),
    ] = False,
    kernel_path: Annotated[
        Path | None,
        typer.Option(metavar="KERNEL", help="The OSv kernel for --engine qemu, with mkfs and cpiod in it."),
    ] = None,
    arch: ArchOption = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Let the guest name what arrives.")] = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Fill an image as OSv's upload_manifest.py does: a guest makes the pool and receives the files.

    The guest runs mkfs, cpiod and zfs on the disk, takes the files as a cpio archive over TCP, and ends.
    What arrived is compared with what was sent. Whatever goes wrong, the guest has ended, the image
    is as it was, and the exit status is 1.
    """
    from unikiln.engine.builder.choice import Choice, guest_for
    from unikiln.engine.upload import upload as fill
    from unikiln.image.sources import assemble

    if engine is Engine.embedded and kernel_path is not None:
        raise UsageError("--kernel-path is for --engine qemu", hint="the embedded guest needs no kernel")
    sources = source_options(
        [str(manifest)], define, append_manifest, None, base=base, strip=strip, depfile=depfile,
        output=output, arch=arch and arch.value, warn=warn,
    )  # fmt: skip
    tree = assemble(sources)
    _warn_of_losses(tree, quiet=quiet)
    with progress_bar(f"uploading to {output.name}", quiet=quiet) as progress:
        choice = Choice(
            engine=engine.value, output=output, size=None if size is None else parse_size(size),
            kernel=kernel_path, arch=arch and arch.value, verbose=verbose,
        )  # fmt: skip
        done = fill(
            tree, output, guest_for(choice), progress=progress,
            say=(lambda line: None) if quiet or json else _show,
        )  # fmt: skip
    if json:
        print_json(done)
    elif not quiet:
        rate = format_size(done.size / max(done.seconds, 0.001))
        size_text = format_size(done.size)
        print(f"{done.image}: {done.entries:,} entries, {size_text} sent, {done.seconds:.2f} s, {rate}/s")


def _show(line: str) -> None:
    print(printable(line), flush=True)


def _warn_of_losses(tree: Node, *, quiet: bool) -> None:
    from unikiln.image.cpio.writer import losses

    lost = losses(tree).xattrs
    if lost and not quiet:
        warn(f"a cpio archive has no place for extended attributes: those of {tell(lost)} are left out")
