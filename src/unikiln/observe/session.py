"""One run from start to end: what ``unikiln run`` asks for, and what it tells afterwards."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from unikiln.base.filesystem import FileSystem
from unikiln.engine.embedded import EmbeddedEngine
from unikiln.errors import GuestCrashError, MachineError, UsageError
from unikiln.machine import crash
from unikiln.machine.events import GuestSignal
from unikiln.machine.process import DEFAULT_PATH, Process
from unikiln.observe.stats import CacheStats, RunStats, collect


@dataclass(frozen=True, slots=True)
class Request:
    """What to run and how; ``memory`` in bytes, ``scan_interval`` in seconds of guest time (0: never)."""

    arguments: list[str]
    memory: int = 512 << 20
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: str = "/"
    scan_interval: float = 0.01
    check_mmu: bool = False


def split_command_line(stored: str | None) -> list[str]:
    """Program and arguments of an image's stored command line, without the options of OSv's loader.

    :raises UsageError: none is stored
    """
    words = shlex.split(stored or "")
    while words and words[0].startswith("--"):
        words.pop(0)
    if not words:
        raise UsageError(
            "no program to run: none is given, and the image has no command line",
            hint="unikiln run IMAGE -- PROGRAM ARGUMENTS",
        )
    return words


def run(
    filesystem: FileSystem,
    request: Request,
    *,
    cache: CacheStats | None = None,
    tell: Callable[[RunStats], None] = lambda stats: None,
) -> int:
    """Run a program from ``filesystem``; its exit status, 128 and the number when a signal ended it.

    ``tell`` gets the statistics, however the run ends.

    :raises ElfError: the program cannot be loaded
    :raises GuestMemoryError: the machine is too small for it
    :raises MachineError: ``check_mmu``, and a change to the translation tables lacked something
    :raises GuestCrashError: an exception of the processor killed it
    """
    process = Process(filesystem, request.memory, check_mmu=request.check_mmu)
    engine = EmbeddedEngine(process, scan_interval=request.scan_interval)
    process.change_directory(request.directory)
    environment = {"PATH": DEFAULT_PATH.decode(), "HOME": "/", **request.environment}
    place = process.find_program(request.arguments[0], os.fsencode(environment["PATH"]))
    begin = time.perf_counter()
    try:
        process.start(
            place,
            [os.fsencode(each) for each in request.arguments],
            [os.fsencode(f"{key}={value}") for key, value in environment.items()],
        )
        status = engine.run()
        _refuse_findings(process)
        return status
    except GuestSignal as death:
        if not crash.is_crash(death):
            return 128 + death.number
        name = os.fsdecode(place.path)
        raise GuestCrashError(
            f"{name} died of {death.number.name}: {death.reason}",
            report=crash.report(death, process.space),
            signal=death.number,
        ) from death
    finally:
        tell(collect(engine, process, time.perf_counter() - begin, cache))


def _refuse_findings(process: Process) -> None:
    findings = process.checker.findings if process.checker else []
    if findings:
        more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
        raise MachineError(f"the machine changed its translation tables wrongly: {findings[0]}{more}")
