"""``unikiln disk setpartition``: an entry of an image's master boot record."""

from __future__ import annotations

from typing import Annotated

import typer

from unikiln.cli.common import ImageArgument


def setpartition(
    image: ImageArgument,
    number: Annotated[int, typer.Argument(metavar="NUMBER", help="1 to 4; OSv mounts 2.")],
    start: Annotated[str, typer.Argument(metavar="START", help="Its first byte, of a whole sector.")],
    size: Annotated[str, typer.Argument(metavar="SIZE", help="Bytes, rounded down to sectors.")],
) -> None:
    """Set one of the four partitions of an image's MBR, of type 0x83, in place."""
    from unikiln.base.size import parse_size
    from unikiln.image.disk import set_partition
    from unikiln.image.editing import edited

    first, count = parse_size(start), parse_size(size)
    with edited(image) as device:
        set_partition(device, number, first, count)
