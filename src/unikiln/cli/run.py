"""``unikiln run``: a program from an image, on the embedded machine or under QEMU."""

from __future__ import annotations

import gc
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unikiln.cli.common import open_dataset
from unikiln.cli.flags import GroupedCommand, given, option, takes
from unikiln.cli.keys import KEY_FLAG, KEY_HELP, KEY_META
from unikiln.cli.limits import time_limit
from unikiln.cli.run_qemu import QemuFlags, Shared, run_qemu
from unikiln.errors import GuestCrashError, GuestFailedError, HostError, UsageError

if TYPE_CHECKING:
    from unikiln.observe.stats import RunStats


COMMAND = GroupedCommand


class Engine(StrEnum):
    """What executes the guest."""

    embedded = "embedded"
    qemu = "qemu"


def _embedded(*names: str, help: str, metavar: str | None = None) -> Any:  # noqa: ANN401
    return option(*names, help=help, metavar=metavar, group="Embedded engine")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedFlags:
    """The options of the embedded engine alone."""

    stats: Annotated[
        bool, _embedded("--stats", help="Show counts of faults, system calls, cache hits at the end.")
    ] = False
    json: Annotated[bool, _embedded("--json", help="Statistics as JSON.")] = False
    stats_out: Annotated[
        Path | None,
        _embedded("--stats-out", metavar="FILE", help="Write the statistics there, not to standard error."),
    ] = None
    af_interval: Annotated[
        float,
        _embedded(
            "--af-interval", metavar="MS",
            help="Guest time between passes that clear access flags; 0: none; default: 10.",
        ),
    ] = 10.0  # fmt: skip
    check_mmu: Annotated[
        bool,
        _embedded("--check-mmu", help="Watch the machine's translation tables for missing barriers (slow)."),
    ] = False
    dataset: Annotated[
        str | None,
        _embedded("--dataset", metavar="NAME", help="Dataset to run from; default: the one with files."),
    ] = None
    key: Annotated[list[str] | None, _embedded(KEY_FLAG, metavar=KEY_META, help=KEY_HELP)] = None


@takes("qemu", QemuFlags)
@takes("embedded", EmbeddedFlags)
def run(
    image: Annotated[
        Path | None,
        typer.Argument(metavar="IMAGE", help="A disk image: raw or qcow2.", show_default=False),
    ] = None,
    program: Annotated[
        list[str] | None,
        typer.Argument(metavar="-- PROGRAM", help="What to run; default: the image's command line."),
    ] = None,
    engine: Annotated[
        Engine, typer.Option(help="What executes: this process, or QEMU with a kernel of OSv's.")
    ] = Engine.embedded,
    memory: Annotated[
        str | None,
        option(
            "-m", "--memory", "--memsize", metavar="SIZE", help="Memory; default: 512M, or 2G under QEMU."
        ),
    ] = None,
    env: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Set a variable; may be repeated.")
    ] = None,
    cwd: Annotated[str | None, typer.Option(metavar="PATH", help="Directory to start in.")] = None,
    trace: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[,NAME]", help="Tracepoints (wildcards too) to write to standard error."),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(min=0, metavar="SECONDS", help="End the guest after that; the status is 124."),
    ] = None,
    *,
    embedded: EmbeddedFlags,
    qemu: QemuFlags,
) -> None:
    """Run a program from an image: on the embedded machine, or under QEMU with a real kernel.

    Standard input and output are the program's, and so is the exit status; a death by signal is 128
    and its number. Everything that unikiln says goes to standard error. Under QEMU they are the console's,
    and the status is 0 only if the guest ended by itself, and well.
    """
    from unikiln.base.size import parse_size

    _refuse_flags_of_others(engine)
    image, program = _what(image, program or [], qemu.disk_image)
    shared = Shared(
        image=image,
        program=program,
        memory=parse_size(memory or ("512M" if engine is Engine.embedded else "2G")),
        env=_checked(env or []),
        cwd=cwd,
        trace=[name for each in trace or () for name in each.split(",") if name],
        timeout=timeout,
    )
    try:
        if engine is Engine.qemu:
            run_qemu(qemu, shared)
            return
        status = _run_embedded(embedded, shared)
    except (GuestCrashError, GuestFailedError) as failure:
        if failure.report and engine is Engine.embedded:
            print(failure.report, file=sys.stderr)
        raise
    raise typer.Exit(status)


def _run_embedded(flags: EmbeddedFlags, shared: Shared) -> int:
    from unikiln.observe import session
    from unikiln.observe.trace import tracing

    wants_stats = flags.stats or flags.json or flags.stats_out is not None
    with open_dataset(shared.image, flags.dataset, flags.key) as opened:
        request = session.Request(
            arguments=shared.program or session.split_command_line(opened.cmdline),
            memory=shared.memory,
            environment=dict(each.split("=", 1) for each in shared.env),
            directory=shared.cwd or "/",
            scan_interval=flags.af_interval / 1000,
            check_mmu=flags.check_mmu,
        )

        def tell(counts: RunStats) -> None:
            if wants_stats:
                _show(counts, flags.json, flags.stats_out)

        _quiet_collector()
        with tracing(shared.trace, sys.stderr), time_limit(shared.timeout):
            return session.run(opened.filesystem, request, cache=opened.cache_stats, tell=tell)


def _refuse_flags_of_others(engine: Engine) -> None:
    """A flag of the other engine would do nothing: say so.

    :raises UsageError: there is one
    """
    record, other = (
        (QemuFlags, Engine.qemu) if engine is Engine.embedded else (EmbeddedFlags, Engine.embedded)
    )
    for parameter, _ in given(record):
        raise UsageError(f"{parameter.opts[-1]} is for --engine {other}, and this is --engine {engine}")


def _what(image: Path | None, program: list[str], named: Path | None) -> tuple[Path, list[str]]:
    """Image and program; where ``--image`` names the image, the first argument is the program."""
    if named is not None:
        return named, [*([str(image)] if image else []), *program]
    if image is None:
        raise UsageError("Missing argument 'IMAGE'", hint="unikiln run --help tells more")
    return image, program


def _quiet_collector() -> None:
    """What is loaded by now stays, and faults make no cycles: collect seldom, and not all of it."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)


def _checked(pairs: list[str]) -> list[str]:
    for each in pairs:
        if not each.partition("=")[1] or each.startswith("="):
            raise UsageError(f"--env {each}: is not KEY=VALUE")
    return pairs


def _show(counts: RunStats, json: bool, path: Path | None) -> None:
    """Write the statistics as they were asked for."""
    from rich.console import Console

    from unikiln.observe.stats import as_json, print_table

    try:
        with path.open("w") if path else nullcontext(sys.stderr) as stream:
            if json:
                print(as_json(counts), file=stream)
            else:
                print_table(counts, Console(file=stream))
    except OSError as error:
        raise HostError(f"{path}: {error.strerror}") from error
