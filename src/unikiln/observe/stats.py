"""The statistics of a run, as a record and as a table."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Protocol

from unikiln.engine.embedded import EmbeddedEngine
from unikiln.machine.process import Process

if TYPE_CHECKING:
    from rich.console import Console


class CacheStats(Protocol):
    """What a cache counts."""

    @property
    def hits(self) -> int:
        """Reads that it answered."""

    @property
    def misses(self) -> int:
        """Reads that went below."""


@dataclass(frozen=True, slots=True)
class RunStats:
    """What happened during a run.

    ``instructions`` are those of all translated blocks that were entered. A block that a fault or an
    exception left early counts whole, and what is run again after a fault counts again: a few parts in ten
    thousand too many for most programs. Faults are exceptions delivered to ``page_fault``, those of system
    calls on the program's memory included (``kernel_faults`` says how many they are). ``dirty_pages`` are
    the entries that have the dirty state at the end.
    """

    seconds: float
    instructions: int
    translation_faults: int
    access_flag_faults: int
    permission_faults: int
    kernel_faults: int
    access_flags_cleared: int
    scans: int
    dirty_pages: int
    memory_used: int
    bytes_read: int
    bytes_written: int
    cache_hits: int | None
    cache_misses: int | None
    system_calls: int
    system_calls_by_name: dict[str, int]


def collect(engine: EmbeddedEngine, process: Process, seconds: float, cache: CacheStats | None) -> RunStats:
    """The statistics so far; ``cache`` is that of the file system, if it has one."""
    counters = process.counters
    calls = dict(sorted(counters.system_calls.items(), key=lambda item: (-item[1], item[0])))
    return RunStats(
        seconds=round(seconds, 6),
        instructions=engine.instructions,
        translation_faults=counters.translation_faults,
        access_flag_faults=counters.access_flag_faults,
        permission_faults=counters.permission_faults,
        kernel_faults=counters.kernel_faults,
        access_flags_cleared=counters.flags_cleared,
        scans=counters.scans,
        dirty_pages=process.space.dirty_pages(),
        memory_used=process.memory.used,
        bytes_read=counters.bytes_read + process.cache.bytes_read,
        bytes_written=counters.bytes_written,
        cache_hits=cache.hits if cache else None,
        cache_misses=cache.misses if cache else None,
        system_calls=sum(calls.values()),
        system_calls_by_name=calls,
    )


def as_json(stats: RunStats) -> str:
    """One JSON object."""
    return json.dumps(asdict(stats), indent=2)


def print_table(stats: RunStats, console: Console) -> None:
    """The record as a table, the most frequent system calls below."""
    from rich.table import Table

    table = Table(title="run", show_header=False)
    table.add_column("what")
    table.add_column("count", justify="right")
    for name, value in asdict(stats).items():
        if isinstance(value, int | float):
            table.add_row(name.replace("_", " "), f"{value:,}" if isinstance(value, int) else f"{value:.3f}")
    table.add_section()
    for name, count in list(stats.system_calls_by_name.items())[:10]:
        table.add_row(f"  {name}", f"{count:,}")
    console.print(table)
