"""``unikiln cpio create``: sources of files to a newc archive."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from unikiln.cli.bar import progress_bar
from unikiln.cli.common import QuietOption
from unikiln.cli.cpio_stream import writing
from unikiln.cli.output import warn


def create(
    sources: Annotated[
        list[Path], typer.Argument(metavar="SOURCE...", help="Directories, manifests and tar archives.")
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="ARCHIVE", help="- is standard output.")
    ] = "-",
    quiet: QuietOption = False,
) -> None:
    """Make a newc archive of directories, manifests and tar archives, with owners, times and hard links.

    The format has no place for extended attributes, nor for files of 4 GiB and more.
    """
    from unikiln.base.tree import totals
    from unikiln.image.cpio.writer import Writer, losses
    from unikiln.image.sources import SourceOptions, assemble

    tree = assemble(replace(SourceOptions.of(*sources), output=None if output == "-" else Path(output)))
    lost = losses(tree).xattrs
    if lost and not quiet:
        warn(f"newc has no place for extended attributes: those of {tell(lost)} are left out")
    with writing(output) as file, progress_bar("writing the archive", quiet=quiet) as progress:
        progress.total(*totals(tree))
        for piece in Writer(tree).pieces():
            file.write(piece)
            progress.advance(0, len(piece))


def tell(paths: tuple[bytes, ...]) -> str:
    """The first of ``paths``, and how many others there are."""
    more = len(paths) - 1
    others = f" and {more:,} other{'s' * (more > 1)}" if more else ""
    return os.fsdecode(paths[0]) + others
