"""``unikiln cat``: content of files of an image."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from unikiln.cli.common import DatasetOption, ImageArgument, guest_path, open_dataset
from unikiln.cli.keys import KeyOption
from unikiln.errors import IsADirectoryInPoolError, UsageError

if TYPE_CHECKING:
    from unikiln.base.filesystem import Inode

_CHUNK = 1 << 20


def cat(
    image: ImageArgument,
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Files in the image.")],
    dataset: DatasetOption = None,
    key: KeyOption = None,
) -> None:
    """Write files of an image to standard output."""
    with open_dataset(image, dataset, key) as opened:
        for path in paths:
            _copy(opened.filesystem.path(guest_path(path)), path)
    sys.stdout.buffer.flush()


def _copy(inode: Inode, path: str) -> None:
    kind = inode.attributes.mode >> 12
    if kind == 4:
        raise IsADirectoryInPoolError(f"{path}: is a directory")
    if kind != 8:
        raise UsageError(f"{path}: is no regular file")
    for offset in range(0, inode.attributes.size, _CHUNK):
        sys.stdout.buffer.write(inode.read(offset, _CHUNK))
