"""``unikiln verify``: whether an image is whole."""

from __future__ import annotations

import time

import typer

from unikiln.base.size import format_size
from unikiln.cli.bar import progress_bar
from unikiln.cli.common import ImageArgument, JsonOption, QuietOption, open_pool_image
from unikiln.cli.output import print_json, printable

_DAMAGED = 1


def verify(image: ImageArgument, quiet: QuietOption = False, json: JsonOption = False) -> None:
    """Read every copy of every block, check every checksum, and compare the space maps with what is used.

    Prints one line for each finding and exits with status 1 if there is any.
    """
    from unikiln.zfs.verify import verify as check

    started = time.monotonic()
    with open_pool_image(image) as opened, progress_bar(f"verifying {image.name}", quiet=quiet) as progress:
        result = check(opened.pool, progress)
    seconds = time.monotonic() - started
    findings = list(result)
    if json:
        counts = {"blocks": result.blocks, "bytes": result.bytes, "objects": result.objects}
        print_json({"image": str(image), **counts, "findings": findings, "seconds": seconds})
    else:
        for finding in findings:
            print(printable(finding))
        if not quiet and not findings:
            print(f"{image}: whole; {result.blocks:,} blocks, {format_size(result.bytes)}, {seconds:.2f} s")
    if findings:
        raise typer.Exit(_DAMAGED)
