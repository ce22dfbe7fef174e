"""``unikiln test``: the programs of a folder in the image, each in a guest of its own."""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unikiln.cli.common import DatasetOption, ImageArgument, JsonOption, QuietOption, open_dataset
from unikiln.cli.flags import GroupedCommand, as_arguments, given, option, takes
from unikiln.cli.keys import KEY_FLAG, KeyOption
from unikiln.cli.output import print_json, printable
from unikiln.cli.run import Engine
from unikiln.cli.run_qemu import QemuFlags
from unikiln.errors import HostError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from unikiln.observe.testrun import Program, Result

COMMAND = GroupedCommand

_AARCH64 = 183
_UNIKILN = (sys.executable, "-c", "import sys; from unikiln.cli.main import main; sys.exit(main())")
_NOT_HERE = ("execute", "dry_run", "disk_image", "wait", "no_shutdown", "kernel_mode")
_SHOWN_LINES = 20
_WORDS = {"passed": "ok", "failed": "FAILED", "timeout": "TIMEOUT", "crashed": "CRASHED"}


@takes("qemu", QemuFlags)
def test(
    image: ImageArgument,
    folder: Annotated[str, typer.Option("--dir", metavar="PATH", help="Where the programs are.")] = "/tests",
    match: Annotated[
        str, typer.Option(metavar="GLOB", help="Only programs whose names match, such as 'tst-*'.")
    ] = "*",
    jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, metavar="N", help="Guests at a time.")] = 1,
    timeout: Annotated[
        float, typer.Option(min=0.001, metavar="SECONDS", help="What one program may take.")
    ] = 300.0,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the results there as JUnit XML.")
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
    engine: Annotated[
        Engine, typer.Option(help="What executes: the embedded machine, or QEMU with a kernel of OSv's.")
    ] = Engine.embedded,
    memory: Annotated[
        str | None, option("-m", "--memory", metavar="SIZE", help="Memory of each guest; default: as of run.")
    ] = None,
    env: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Set a variable; may be repeated.")
    ] = None,
    dataset: DatasetOption = None,
    key: KeyOption = None,
    *,
    qemu: QemuFlags,
) -> None:
    """Run every program of a folder in the image, each in a guest of its own, and tell what came of them.

    A program passes if it ends with status 0. The exit status is 0 if all pass, else 1. Under QEMU the guest
    works on a snapshot, and is told --verbose and --power-off-on-abort: without them OSv tells no status.
    """
    from unikiln.observe.testrun import programs, run_all

    _refuse(engine)
    machine = _AARCH64 if engine is Engine.embedded else None
    with open_dataset(image, dataset, key) as opened:
        wanted = programs(opened.filesystem.path, folder, match, machine)
    if not wanted:
        raise UsageError(f"{image}: no program in {folder} matches {match!r}", hint="--dir, --match")
    shared = _shared_arguments(engine, timeout, memory, env or [], dataset, key or [])
    began = time.monotonic()
    show = _silent if json or quiet else _Lines(wanted)
    results = _all(run_all(wanted, _command(image, shared), jobs=jobs, timeout=timeout), show)
    seconds = time.monotonic() - began
    if junit is not None:
        _write_junit(junit, image, results, seconds)
    if json:
        print_json({"seconds": seconds, "totals": _totals(results), "tests": results})
    else:
        _print_summary(results, seconds, quiet)
    raise typer.Exit(any(each.status for each in results))


def _refuse(engine: Engine) -> None:
    """Options that make no sense here.

    :raises UsageError: there is one
    """
    for parameter, _ in given(QemuFlags):
        if engine is Engine.embedded:
            raise UsageError(f"{parameter.opts[-1]} is for --engine qemu, and this is --engine embedded")
        if parameter.name in _NOT_HERE:
            raise UsageError(f"{parameter.opts[-1]} is for unikiln run")


def _shared_arguments(
    engine: Engine, timeout: float, memory: str | None, env: list[str], dataset: str | None, key: list[str]
) -> list[str]:
    arguments = ["--engine", engine.value, "--timeout", str(timeout)]
    arguments += ["--memory", memory] if memory else []
    for each in env:
        arguments += ["--env", each]
    if engine is Engine.qemu:
        return [*arguments, *as_arguments(QemuFlags), "--snapshot", "--verbose", "--power-off-on-abort"]
    for each in key:
        arguments += [KEY_FLAG, each]
    return [*arguments, *(["--dataset", dataset] if dataset else [])]


def _command(image: Path, shared: list[str]) -> Callable[[Program], list[str]]:
    return lambda program: [*_UNIKILN, "run", *shared, str(image.absolute()), "--", program.path]


def _all(results: Iterable[Result], show: Callable[[Result], object]) -> list[Result]:
    """Every result, shown as it comes; by name in the end."""
    came = []
    for each in results:
        show(each)
        came.append(each)
    return sorted(came, key=lambda result: result.name)


def _silent(result: Result) -> None:
    """Show nothing."""


class _Lines:
    """A line for each result."""

    def __init__(self, wanted: list[Program]) -> None:
        self._width = max(len(printable(each.name)) for each in wanted)

    def __call__(self, result: Result) -> None:
        word = _WORDS[result.verdict.value]
        line = f"{word:8}{printable(result.name):{self._width}}  {result.seconds:8.2f} s"
        print(f"{line}  {printable(result.reason)}".rstrip(), flush=True)


def _totals(results: list[Result]) -> dict[str, int]:
    counts = Counter(each.verdict.value for each in results)
    return {"tests": len(results), **{word: counts[word] for word in _WORDS}}


def _print_summary(results: list[Result], seconds: float, quiet: bool) -> None:
    """What those that did not pass said, and the totals."""
    for each in results:
        if each.status:
            print(f"\n== {printable(each.name)}: {printable(each.reason)}")
            for line in [*each.output.splitlines(), *each.messages.splitlines()][-_SHOWN_LINES:]:
                print(f"   {printable(line)}")
    if not quiet:
        totals = _totals(results)
        told = ", ".join(f"{totals[word]} {word}" for word in _WORDS if totals[word])
        print(f"\n{totals['tests']} programs: {told}; {seconds:.2f} s")


def _write_junit(path: Path, image: Path, results: list[Result], seconds: float) -> None:
    from unikiln.observe.junit import document

    try:
        path.write_bytes(document(image.name, results, seconds))
    except OSError as error:
        raise HostError(f"{path}: {error.strerror}") from error
