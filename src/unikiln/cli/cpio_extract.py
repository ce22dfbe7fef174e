"""``unikiln cpio extract``: a newc archive to a folder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from unikiln.base.size import format_size
from unikiln.cli.common import QuietOption
from unikiln.cli.cpio_stream import ArchiveArgument, reading
from unikiln.cli.output import warn

_INCOMPLETE = 1


def extract(
    archive: ArchiveArgument,
    dest: Annotated[Path, typer.Argument(metavar="DEST", help="The folder; made if it is not there.")],
    quiet: QuietOption = False,
) -> None:
    """Expand a newc archive into a folder, whole or not at all; owners when root.

    No name leads out of the folder: absolute ones are taken below it, links too, and '..' is refused.
    What is in the way is replaced, except directories. Exits with 1 if this host could not have a file.
    """
    from unikiln.image.cpio.deliver import into_folder

    started = time.monotonic()
    with reading(archive) as stream:
        received, failures = into_folder(stream, dest)
    for each in failures:
        warn(f"not made: {each}")
    if not quiet:
        seconds = time.monotonic() - started
        print(f"{dest}: {received.entries:,} entries, {format_size(received.size)}, {seconds:.2f} s")
    if failures:
        raise typer.Exit(_INCOMPLETE)
