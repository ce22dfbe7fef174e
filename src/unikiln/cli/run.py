"""``unikiln run``: a program from an image on the embedded machine."""

from __future__ import annotations

import gc
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unikiln.cli.common import DatasetOption, ImageArgument, open_dataset
from unikiln.errors import GuestCrashError, HostError, UsageError

if TYPE_CHECKING:
    from unikiln.observe.stats import RunStats


def run(
    image: ImageArgument,
    program: Annotated[
        list[str] | None,
        typer.Argument(metavar="-- PROGRAM", help="What to run; default: the image's command line."),
    ] = None,
    memory: Annotated[str, typer.Option(metavar="SIZE", help="Memory of the machine.")] = "512M",
    env: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Set a variable; may be repeated.")
    ] = None,
    cwd: Annotated[str, typer.Option(metavar="PATH", help="Directory to start in.")] = "/",
    trace: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[,NAME]", help="Tracepoints (wildcards too) to write to standard error."),
    ] = None,
    stats: Annotated[
        bool, typer.Option("--stats", help="Show counts of faults, system calls, cache hits at the end.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Statistics as JSON.")] = False,
    stats_out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the statistics there, not to standard error.")
    ] = None,
    af_interval: Annotated[
        float,
        typer.Option(min=0, metavar="MS", help="Guest time between passes that clear access flags; 0: none."),
    ] = 10.0,
    check_mmu: Annotated[
        bool,
        typer.Option(
            "--check-mmu", help="Watch the machine's translation tables for missing barriers (slow)."
        ),
    ] = False,
    dataset: DatasetOption = None,
) -> None:
    """Run an AArch64 program from an image on the embedded machine.

    Standard input and output are the program's, and so is the exit status; a death by signal is 128
    and its number. Everything that unikiln says goes to standard error.
    """
    from unikiln.base.size import parse_size
    from unikiln.observe import session
    from unikiln.observe.trace import tracing

    patterns = [name for each in trace or () for name in each.split(",") if name]
    wants_stats = stats or json or stats_out is not None
    with open_dataset(image, dataset) as opened:
        request = session.Request(
            arguments=program or session.split_command_line(opened.cmdline),
            memory=parse_size(memory),
            environment=_variables(env or []),
            directory=cwd,
            scan_interval=af_interval / 1000,
            check_mmu=check_mmu,
        )

        def tell(counts: RunStats) -> None:
            if wants_stats:
                _show(counts, json, stats_out)

        with tracing(patterns, sys.stderr):
            try:
                _quiet_collector()
                status = session.run(opened.filesystem, request, cache=opened.cache_stats, tell=tell)
            except GuestCrashError as crash:
                print(crash.report, file=sys.stderr)
                raise
    raise typer.Exit(status)


def _quiet_collector() -> None:
    """What is loaded by now stays, and faults make no cycles: collect seldom, and not all of it."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)


def _variables(pairs: list[str]) -> dict[str, str]:
    for each in pairs:
        if not each.partition("=")[1] or each.startswith("="):
            raise UsageError(f"--env {each}: is not KEY=VALUE")
    return dict(each.split("=", 1) for each in pairs)


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
