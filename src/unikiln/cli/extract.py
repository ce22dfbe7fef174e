"""``unikiln extract``: files of an image to the host."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unikiln.base.size import format_size
from unikiln.cli.bar import progress_bar
from unikiln.cli.common import DatasetOption, ImageArgument, JsonOption, QuietOption, guest_path, open_dataset
from unikiln.cli.keys import KeyOption
from unikiln.cli.output import print_json, warn
from unikiln.errors import UsageError

if TYPE_CHECKING:
    from unikiln.base.filesystem import Inode
    from unikiln.image.extract import Extracted

_WARNINGS_SHOWN = 10
_INCOMPLETE = 1


def extract(
    image: ImageArgument,
    places: Annotated[
        list[str],
        typer.Argument(metavar="[PATH] DEST", help="What to copy (default: everything), and where to."),
    ],
    dataset: DatasetOption = None,
    key: KeyOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Copy files out of an image, with modes, times, links, holes and attributes; owners when root.

    Exits with status 1 if this host could not have one of the files.
    The content of a directory goes into DEST; a file becomes DEST, or goes into it if that is a directory.
    """
    from unikiln.image.extract import extract as extract_files

    path, dest = _places(places)
    started = time.monotonic()
    with (
        open_dataset(image, dataset, key) as opened,
        progress_bar(f"extracting {image.name}", quiet=quiet) as bar,
    ):
        top = opened.filesystem.path(guest_path(path))
        done = extract_files(opened.filesystem, top, _destination(top, path, dest), bar)
    seconds = time.monotonic() - started
    if json:
        print_json({**asdict(done), "seconds": seconds})
    else:
        _report(done, quiet=quiet)
        if not quiet:
            print(f"{dest}: {done.files:,} files, {format_size(done.size)}, {seconds:.2f} s")
    if done.failures:
        raise typer.Exit(_INCOMPLETE)


def _places(places: list[str]) -> tuple[str, Path]:
    if len(places) > 2:
        raise UsageError(f"too many arguments: {' '.join(places)}", hint="give [PATH] DEST")
    return (places[0] if len(places) == 2 else "/"), Path(places[-1])


def _destination(top: Inode, path: str, dest: Path) -> Path:
    is_directory = top.attributes.mode >> 12 == 4
    return dest / path.rstrip("/").rpartition("/")[2] if not is_directory and dest.is_dir() else dest


def _report(done: Extracted, *, quiet: bool) -> None:
    """Tell what is missing, and unless ``quiet``, what is not as it was."""
    for each in done.failures:
        warn(f"not copied: {each}")
    if quiet:
        return
    for each in done.warnings[:_WARNINGS_SHOWN]:
        warn(each)
    if len(done.warnings) > _WARNINGS_SHOWN:
        warn(f"and {len(done.warnings) - _WARNINGS_SHOWN} more attributes that this host would not take")
