"""``unikiln tree``: an image's files, drawn as a tree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from unikiln.cli.common import DatasetOption, ImageArgument, JsonOption, guest_path, open_dataset
from unikiln.cli.keys import KeyOption
from unikiln.cli.listing import record
from unikiln.cli.output import name_text, print_json

if TYPE_CHECKING:
    from unikiln.base.filesystem import FileSystem, Inode
    from unikiln.image.walk import Visit


def tree(
    image: ImageArgument,
    path: Annotated[str, typer.Argument(metavar="[PATH]", help="Directory in the image.")] = "/",
    dataset: DatasetOption = None,
    key: KeyOption = None,
    json: JsonOption = False,
) -> None:
    """Show an image's files as a tree."""
    with open_dataset(image, dataset, key) as opened:
        top = opened.filesystem.path(guest_path(path))
        if json:
            print_json(_nested(opened.filesystem, top, guest_path(path)))
        else:
            _draw(opened.filesystem, top, guest_path(path))


def _draw(filesystem: FileSystem, top: Inode, path: bytes) -> None:
    from unikiln.image.walk import walk

    directories = files = 0
    for visit in walk(filesystem, top):
        if not visit.names:
            print(name_text(path))
            continue
        directories += visit.is_directory
        files += not visit.is_directory
        print(_line(visit))
    print(f"\n{directories} directories, {files} files")


def _line(visit: Visit) -> str:
    rails = "".join("    " if last else "│   " for last in visit.last[:-1])
    branch = "└── " if visit.last[-1] else "├── "
    arrow = f" -> {name_text(visit.inode.readlink())}" if visit.inode.attributes.mode >> 12 == 0xA else ""
    return f"{rails}{branch}{name_text(visit.names[-1])}{arrow}"


def _nested(filesystem: FileSystem, top: Inode, path: bytes) -> dict[str, object]:
    """Records with a list of ``children`` each; made without recursion, for trees may be deep."""
    from unikiln.image.walk import walk

    found: dict[tuple[bytes, ...], list[object]] = {}
    root: dict[str, object] = {}
    for visit in walk(filesystem, top):
        described = record(visit.names[-1] if visit.names else path, visit.inode)
        if visit.is_directory:
            described["children"] = found[visit.names] = []
        if visit.names:
            found[visit.names[:-1]].append(described)
        else:
            root = described
    return root
