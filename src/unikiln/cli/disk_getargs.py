"""``unikiln disk getargs``: the command line that is stored in an image."""

from __future__ import annotations

from unikiln.cli.common import ImageArgument, JsonOption
from unikiln.cli.output import print_json


def getargs(image: ImageArgument, json: JsonOption = False) -> None:
    """Print the command line that is stored at byte 512 of a disk or kernel image."""
    from unikiln.image.container import open_image
    from unikiln.image.disk import get_args

    device = open_image(image)
    try:
        text = get_args(device)
    finally:
        device.close()
    if json:
        print_json({"image": str(image), "args": text})
    else:
        print(text)
