"""``unikiln disk setargs``: store a command line in an image."""

from __future__ import annotations

from typing import Annotated

import typer
from typer.core import TyperCommand

from unikiln.cli.common import ImageArgument


class COMMAND(TyperCommand):
    """Everything behind the image is the command line, however it begins."""

    allow_interspersed_args = False


def setargs(
    image: ImageArgument,
    args: Annotated[
        list[str] | None,
        typer.Argument(metavar="ARGS...", help="The command line; words are joined by spaces."),
    ] = None,
) -> None:
    """Store a command line at byte 512 of a disk or kernel image, in place."""
    from unikiln.image.disk import set_args
    from unikiln.image.editing import edited

    with edited(image) as device:
        set_args(device, " ".join(args or []))
