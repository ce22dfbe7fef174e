"""``build`` the original's way: the same tree, but a guest of ours makes the pool and receives the files."""

from __future__ import annotations

import os
import time
from contextlib import closing
from pathlib import Path

from unikiln.base.progress import QUIET, Progress
from unikiln.base.tree import Node
from unikiln.engine.builder.choice import Choice, guest_for
from unikiln.engine.builder.guest import BuilderGuest
from unikiln.engine.builder.machine import EmbeddedGuest
from unikiln.engine.upload import upload
from unikiln.errors import CpioError, UsageError
from unikiln.image.build import BuildOptions, BuildResult, announce, read_source
from unikiln.image.container import format_of, open_image
from unikiln.image.cpio.writer import losses
from unikiln.image.layout import plan
from unikiln.image.reproducible import settle
from unikiln.zfs.create import CreateResult

_DECIDED = {
    "fs": ("zfs",), "layout": (None, "disk"), "pool": ("osv",), "dataset": ("zfs",), "seed": (None,),
    "compression": ("lz4",), "ashift": (12,), "recordsize": (128 << 10,), "profile": ("osv",),
}  # fmt: skip
"""Options whose values are the guest's: those that mean the original's way."""


def build_via_guest(options: BuildOptions, progress: Progress = QUIET) -> BuildResult:
    """Build what ``options`` describe, as ``build`` does, by an upload to the embedded guest.

    :raises UsageError: options that the guest does not have
    :raises CpioError: what no newc archive can hold: extended attributes, files of 4 GiB and more
    :raises UploadError: the guest failed
    """
    started = time.monotonic()
    for name, values in _DECIDED.items():
        if getattr(options, name) not in values:
            raise UsageError(f"--{name} is not the guest's to choose", hint="use --via direct")
    layout = plan("disk", options.arch, "zfs", options.cmdline, options.kernel)
    form = options.format or format_of(options.output)
    tree = read_source(options)
    _refuse_xattrs(tree)
    if options.epoch is not None:
        settle(tree, options.epoch)
    make = guest_for(
        Choice(
            engine="embedded", output=options.output, form=form, layout=layout, size=options.size,
            slack=options.slack, epoch=options.epoch, fresh=True,
        )
    )  # fmt: skip
    guests: list[BuilderGuest] = []

    def remember(path: Path) -> BuilderGuest:
        guests.append(make(path))
        return guests[-1]

    upload(tree, options.output, remember, say=lambda line: None, progress=progress)
    (guest,) = guests
    assert isinstance(guest, EmbeddedGuest) and guest.written is not None
    return _result(options, form, tree, guest.written, started)


def _refuse_xattrs(tree: Node) -> None:
    lost = losses(tree).xattrs
    if lost:
        raise CpioError(
            f"{os.fsdecode(lost[0])} has extended attributes, which no cpio archive holds",
            hint="use --via direct",
        )


def _result(options: BuildOptions, form: str, tree: Node, made: CreateResult, started: float) -> BuildResult:
    files, bytes_in = announce(tree, QUIET)
    with closing(open_image(options.output)) as disk:
        size = disk.size
    return BuildResult(
        os.fspath(options.output), options.arch, "zfs", "disk", form, size, files, bytes_in,
        made.bytes_out, "osv", made.pool_guid, time.monotonic() - started,
    )  # fmt: skip
