"""``unikiln ls``: what is in a directory of an image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from unikiln.cli.common import DatasetOption, ImageArgument, JsonOption, guest_path, open_dataset
from unikiln.cli.keys import KeyOption
from unikiln.cli.listing import aligned, long_line, record
from unikiln.cli.output import json_name, name_text, print_json

if TYPE_CHECKING:
    from unikiln.base.filesystem import FileSystem, Inode

Directory = tuple[bytes, list[tuple[bytes, "Inode"]]]
"""A directory's path and what is in it, by name."""


def ls(
    image: ImageArgument,
    path: Annotated[str, typer.Argument(metavar="[PATH]", help="Directory or file in the image.")] = "/",
    long: Annotated[bool, typer.Option("--long", "-l", help="Modes, owners, sizes and times.")] = False,
    recursive: Annotated[bool, typer.Option("--recursive", "-R", help="Directories below, too.")] = False,
    dataset: DatasetOption = None,
    key: KeyOption = None,
    json: JsonOption = False,
) -> None:
    """List a directory of an image."""
    with open_dataset(image, dataset, key) as opened:
        top = guest_path(path)
        found = _directories(opened.filesystem, opened.filesystem.path(top), top, recursive=recursive)
        if json:
            print_json([_record(folder, name, inode) for folder, names in found for name, inode in names])
            return
        for index, (folder, names) in enumerate(found):
            if recursive:
                print(("\n" if index else "") + f"{name_text(folder)}:")
            _print(names, long=long)


def _directories(filesystem: FileSystem, top: Inode, path: bytes, *, recursive: bool) -> Iterator[Directory]:
    """The directory ``top``, and those below it if ``recursive``; a file is listed as if alone in one."""
    from unikiln.image.walk import Visit, children, walk

    if top.attributes.mode >> 12 != 4:
        yield path.rpartition(b"/")[0] or b"/", [(path.rpartition(b"/")[2], top)]
        return
    for visit in walk(filesystem, top) if recursive else [Visit((), top, ())]:
        if visit.is_directory:
            folder = b"/".join((path.rstrip(b"/"), *visit.names)) or b"/"
            yield folder, [(child.names[-1], child.inode) for child in children(filesystem, visit)]


def _record(folder: bytes, name: bytes, inode: Inode) -> dict[str, object]:
    path = folder.rstrip(b"/") + b"/" + name
    return {"path": json_name(path), **record(name, inode)}


def _print(names: list[tuple[bytes, Inode]], *, long: bool) -> None:
    if not long:
        for name, _ in names:
            print(name_text(name))
        return
    for line in aligned([long_line(name, inode) for name, inode in names]):
        print(line)
