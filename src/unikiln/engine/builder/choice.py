"""Which guest fills an image, and on which disk: what is there already, or a new one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from unikiln.base.progress import QUIET, Progress
from unikiln.engine.builder.disk import PARTITION_ONLY, DiskPlan
from unikiln.engine.builder.guest import BuilderGuest, command_line
from unikiln.engine.builder.machine import EmbeddedGuest
from unikiln.engine.qemu.host import disk
from unikiln.errors import UsageError
from unikiln.image.container import format_of
from unikiln.image.layout import Layout

MakeGuest = Callable[[Path], BuilderGuest]
"""Gives the guest for a disk in a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What to fill, and how. A disk that is there at ``output`` keeps all but its partition 2.

    ``form`` and ``layout`` are of a new disk, ``size`` of it in bytes: None is what the files take plus
    ``slack`` (a fraction), where the guest can tell. ``kernel`` and ``arch`` are for QEMU. ``epoch`` is the
    guest's time in seconds since 1970 (None: now), where we make the guest.
    """

    engine: str
    output: Path
    form: str | None = None
    layout: Layout = PARTITION_ONLY
    size: int | None = None
    slack: float = 0.10
    kernel: Path | None = None
    arch: str | None = None
    verbose: bool = False
    epoch: int | None = None
    fresh: bool = False
    progress: Progress = QUIET


def guest_for(choice: Choice) -> MakeGuest:
    """How to make the guest that ``choice`` wants.

    :raises UsageError: it contradicts what is there
    """
    before = choice.output if choice.output.exists() and not choice.fresh else None
    if before is not None and choice.size is not None:
        raise UsageError(
            f"{choice.output} is there already, and keeps its size", hint="leave --size away, or remove it"
        )
    form = (
        disk(before, writable=False).form if before is not None else choice.form or format_of(choice.output)
    )

    def make(path: Path) -> BuilderGuest:
        plan = DiskPlan(
            path=path, form=form, before=before, layout=choice.layout, size=choice.size, slack=choice.slack
        )
        if choice.engine == "qemu":
            from unikiln.engine.builder.osv import OsvGuest

            return OsvGuest(plan, kernel=choice.kernel, arch=choice.arch, verbose=choice.verbose)
        line = command_line(verbose=choice.verbose)
        return EmbeddedGuest(line, plan, epoch=choice.epoch, progress=choice.progress)

    return make
