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
    """Read every block, check every checksum, and compare the space maps with what is referenced.

    Prints one line for each finding and exits with status 1 if there is any.
    """
    from unikiln.zfs.verify import verify as check

    started = time.monotonic()
    findings: list[str] = []
    with (
        open_pool_image(image) as opened,
        progress_bar(f"verifying {image.name}", quiet=quiet or json) as progress,
    ):
        for finding in check(opened.pool, progress):
            findings.append(str(finding))
            if not json:
                print(printable(findings[-1]))
        allocated = opened.pool.allocated
    seconds = time.monotonic() - started
    if json:
        print_json({"image": str(image), "allocated": allocated, "findings": findings, "seconds": seconds})
    elif not quiet and not findings:
        print(f"{image}: whole; {format_size(allocated)} read and checked, {seconds:.2f} s")
    if findings:
        raise typer.Exit(_DAMAGED)
