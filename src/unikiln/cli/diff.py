"""``unikiln diff``: in what two trees of files differ, wherever they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unikiln.cli.common import JsonOption, QuietOption, open_dataset
from unikiln.cli.keys import KeyOption
from unikiln.cli.output import json_name, print_json, printable
from unikiln.errors import PoolNotFoundError, UnikilnError

if TYPE_CHECKING:
    from unikiln.image.compare import Difference, Item

_DIFFERENT, _TROUBLE = 1, 2

Side = Annotated[Path, typer.Argument(help="An image, a folder, a tar archive or a manifest.")]


def diff(
    left: Side,
    right: Side,
    times: Annotated[bool, typer.Option("--times", help="Modification times count, too.")] = False,
    key: KeyOption = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Compare two images, folders or archives: names, types, modes, owners, sizes, content, links, xattrs.

    Exits with 0 if they are the same, 1 if they differ, 2 if one cannot be read. A line begins with - for
    what only LEFT has, + for what only RIGHT has, ! for what differs, with both values.
    """
    try:
        found = _differences(left, right, key, times=times, first_only=quiet and not json)
    except UnikilnError as error:
        error.exit_status = _TROUBLE
        raise
    if json:
        print_json([_record(each) for each in found])
    elif not quiet:
        for each in found:
            print(printable(str(each)))
    if found:
        raise typer.Exit(_DIFFERENT)


def _differences(
    left: Path, right: Path, key: list[str] | None, *, times: bool, first_only: bool
) -> list[Difference]:
    from itertools import islice

    from unikiln.image.compare import compare

    ignore = frozenset() if times else frozenset({"mtime"})
    with _items(left, key) as one, _items(right, key) as other:
        return list(islice(compare(one, other, ignore), 1 if first_only else None))


@contextmanager
def _items(path: Path, key: list[str] | None) -> Iterator[Iterator[Item]]:
    """What is in ``path``: an image is known by what is in it, all else is a source of files."""
    from unikiln.image.compare import of_filesystem, of_tree
    from unikiln.image.sources import SourceOptions, assemble

    if path.is_file() and _is_image(path):
        with open_dataset(path, None, key) as opened:
            yield of_filesystem(opened.filesystem)
    else:
        yield of_tree(assemble(SourceOptions.of(path)))


def _is_image(path: Path) -> bool:
    from unikiln.cli.common import opened_image

    try:
        with opened_image(path):
            return True
    except PoolNotFoundError:
        return False


def _record(difference: Difference) -> dict[str, object]:
    return {
        "path": json_name(difference.path), "field": difference.field,
        "left": difference.left, "right": difference.right,
    }  # fmt: skip
