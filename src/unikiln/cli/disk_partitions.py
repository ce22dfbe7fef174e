"""``unikiln disk partitions``: what an image's partition table says."""

from __future__ import annotations

from unikiln.base.size import format_size
from unikiln.cli.common import ImageArgument, JsonOption
from unikiln.cli.listing import aligned
from unikiln.cli.output import print_json


def partitions(image: ImageArgument, json: JsonOption = False) -> None:
    """List the partitions of an image, of an MBR or a GPT; starts and sizes in bytes."""
    from unikiln.image.container import open_image
    from unikiln.image.partitions import partitions as find

    device = open_image(image)
    try:
        found = find(device)
    finally:
        device.close()
    if json:
        print_json(found)
        return
    header = ("NUMBER", "START", "SIZE", "", "TABLE", "TYPE")
    rows = [
        (str(each.number), str(each.start), str(each.size), format_size(each.size), each.table, each.type)
        for each in found
    ]
    for line in aligned([header, *rows]) if rows else ["no partitions"]:
        print(line)
