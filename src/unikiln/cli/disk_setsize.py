"""``unikiln disk setsize``: tell a kernel's boot loader how large the kernel is."""

from __future__ import annotations

from typing import Annotated

import typer

from unikiln.cli.common import ImageArgument
from unikiln.cli.source_options import Arch


def setsize(
    image: ImageArgument,
    size: Annotated[str, typer.Argument(metavar="SIZE", help="Bytes, or such as 6M.")],
    arch: Annotated[Arch | None, typer.Option(help="Architecture; default: what the image shows.")] = None,
) -> None:
    """Store the size of the kernel at byte 16 of a loader image, in place.

    For x86-64 these are two bytes that count pieces of 32 KiB, rounded up, for AArch64 eight that
    count bytes.
    """
    from unikiln.base.size import parse_size
    from unikiln.image.disk import set_size
    from unikiln.image.editing import edited

    count = parse_size(size)
    with edited(image) as device:
        set_size(device, count, arch.value if arch else None)
