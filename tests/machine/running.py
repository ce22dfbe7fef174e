"""Run a program from a directory of the host, and look at what is left."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tests.machine.hostfs import HostFileSystem
from unikiln.engine.embedded import EmbeddedEngine
from unikiln.machine.events import GuestSignal
from unikiln.machine.process import Process


@dataclass
class Finished:
    """A run that is over."""

    process: Process
    engine: EmbeddedEngine
    status: int
    death: GuestSignal | None = None
    said: list[str] = field(default_factory=list)


def run(
    root: Path, *arguments: str, memory: int = 64 << 20, scan_interval: float = 0.0, cwd: str = "/"
) -> Finished:
    """Run ``arguments`` to the end, under the checker of translation tables: it must find nothing."""
    said: list[str] = []
    process = Process(HostFileSystem(root), memory, log=said.append, check_mmu=True)
    engine = EmbeddedEngine(process, scan_interval=scan_interval)
    process.change_directory(cwd)
    place = process.find_program(arguments[0])
    process.start(place, [each.encode() for each in arguments], [b"PATH=/bin", b"HOME=/"])
    try:
        return Finished(process, engine, engine.run(), None, said)
    except GuestSignal as death:
        return Finished(process, engine, 128 + death.number, death, said)
    finally:
        assert process.checker is not None
        assert not process.checker.findings, "\n".join(map(str, process.checker.findings))
