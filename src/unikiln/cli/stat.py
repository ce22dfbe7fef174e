"""``unikiln stat``: everything about files of an image."""

from __future__ import annotations

import os
import stat as modes
from typing import TYPE_CHECKING, Annotated

import typer

from unikiln.cli.common import DatasetOption, ImageArgument, JsonOption, guest_path, open_dataset
from unikiln.cli.keys import KeyOption
from unikiln.cli.listing import record, time_text, type_name
from unikiln.cli.output import json_name, name_text, print_json

if TYPE_CHECKING:
    from unikiln.image.opening import FullInode


def stat(
    image: ImageArgument,
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Files in the image.")],
    dataset: DatasetOption = None,
    key: KeyOption = None,
    json: JsonOption = False,
) -> None:
    """Show everything about files of an image; links are shown themselves."""
    with open_dataset(image, dataset, key) as opened:
        found = [
            (path, opened.filesystem.path(guest_path(path), follow=False))
            for path in map(guest_path_text, paths)
        ]
        if json:
            print_json([_record(path, inode) for path, inode in found])
            return
        for path, inode in found:
            print(_text(guest_path(path), inode))


def guest_path_text(path: str) -> str:
    """The path as it is shown: absolute."""
    return "/" + path.strip("/")


def _record(path: str, inode: FullInode) -> dict[str, object]:
    attributes = inode.attributes
    return {
        **record(guest_path(path), inode),
        "ctime_ns": attributes.ctime_ns,
        "crtime_ns": attributes.crtime_ns,
        "block_size": attributes.block_size,
        "blocks": attributes.blocks,
        "xattrs": {json_name(name): json_name(value) for name, value in sorted(inode.xattrs().items())},
    }


def _text(path: bytes, inode: FullInode) -> str:
    attributes = inode.attributes
    shown = name_text(path)
    if modes.S_ISLNK(attributes.mode):
        shown += f" -> {name_text(inode.readlink())}"
    lines = [
        f"  File: {shown}",
        f"  Type: {type_name(attributes.mode)}{_device(inode)}, object {inode.object}, "
        f"{attributes.nlink} links",
        f"  Size: {attributes.size} in blocks of {attributes.block_size}, {512 * attributes.blocks} used",
        f"  Mode: {modes.S_IMODE(attributes.mode):04o} {modes.filemode(attributes.mode)}, "
        f"owner {attributes.uid}, group {attributes.gid}",
        f"Access: {_time(attributes.atime_ns)}",
        f"Modify: {_time(attributes.mtime_ns)}",
        f"Change: {_time(attributes.ctime_ns)}",
        f" Birth: {_time(attributes.crtime_ns)}",
    ]
    lines += [f" Xattr: {name_text(name)}={value!r}" for name, value in sorted(inode.xattrs().items())]
    return "\n".join(lines)


def _device(inode: FullInode) -> str:
    """Major and minor number of a device node."""
    attributes = inode.attributes
    if not (modes.S_ISBLK(attributes.mode) or modes.S_ISCHR(attributes.mode)):
        return ""
    return f" {os.major(attributes.rdev)}, {os.minor(attributes.rdev)}"


def _time(time_ns: int) -> str:
    return f"{time_text(time_ns, '%Y-%m-%d %H:%M:%S')}.{time_ns % 1_000_000_000:09}"
