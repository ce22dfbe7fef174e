"""``unikiln verify``: whether an image is whole."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import typer

from unikiln.base.size import format_size
from unikiln.cli.bar import progress_bar
from unikiln.cli.common import ImageArgument, JsonOption, OpenImage, QuietOption, opened_image
from unikiln.cli.keys import KeyOption
from unikiln.cli.output import print_json, printable

if TYPE_CHECKING:
    from unikiln.base.progress import Progress

_DAMAGED = 1


@dataclass(frozen=True, slots=True)
class _Result:
    """What was found, and how much was looked at: blocks (of a ROFS or bootfs: files) and bytes.

    ``locked`` are datasets of which the blocks were checked, but not what they say.
    """

    findings: list[str]
    blocks: int
    bytes: int
    objects: int
    locked: list[str] = field(default_factory=list)


def verify(
    image: ImageArgument, key: KeyOption = None, quiet: QuietOption = False, json: JsonOption = False
) -> None:
    """Check that an image is whole.

    Of a pool: read every copy of every block, check every checksum, and compare the space maps with what
    is used; of encrypted datasets without a key, all that can be seen without. ROFS and bootfs have no
    checksums: what they say of themselves is compared.
    Prints one line for each finding and exits with status 1 if there is any.
    """
    started = time.monotonic()
    with opened_image(image) as opened, progress_bar(f"verifying {image.name}", quiet=quiet) as progress:
        is_pool = opened.volume.kind == "zfs"
        result = _pool(opened, key, progress) if is_pool else _plain(opened)
    seconds = time.monotonic() - started
    if json:
        print_json({"image": str(image), **asdict(result), "seconds": seconds})
    else:
        for finding in result.findings:
            print(printable(finding))
        if result.locked and not quiet:
            print(f"without their keys: {printable(', '.join(result.locked))}")
        if not quiet and not result.findings:
            unit = "blocks" if is_pool else "files"
            print(f"{image}: whole; {result.blocks:,} {unit}, {format_size(result.bytes)}, {seconds:.2f} s")
    if result.findings:
        raise typer.Exit(_DAMAGED)


def _pool(opened: OpenImage, key: list[str] | None, progress: Progress) -> _Result:
    from unikiln.zfs.verify import verify as check

    with opened.pool(key) as pool:
        result = check(pool, progress)
    return _Result(list(result), result.blocks, result.bytes, result.objects, result.locked)


def _plain(opened: OpenImage) -> _Result:
    from unikiln.bootfs.verify import verify as check_bootfs
    from unikiln.image.opening import open_plain
    from unikiln.rofs.filesystem import FileSystem as Rofs
    from unikiln.rofs.verify import verify as check_rofs

    found = open_plain(opened.volume)
    findings = list(check_rofs(found) if isinstance(found, Rofs) else check_bootfs(found))
    contents = found.contents
    return _Result(findings, contents.files, contents.bytes, contents.objects)
