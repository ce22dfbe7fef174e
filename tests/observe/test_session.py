from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from tests.guest import tiny
from tests.machine.hostfs import HostFileSystem
from unikiln.errors import GuestCrashError, MachineError, UsageError
from unikiln.observe import session, stats
from unikiln.observe.trace import tracing


class Cache:
    hits, misses = 3, 4


def _install(root: Path, content: bytes) -> HostFileSystem:
    (root / "program").write_bytes(content)
    (root / "data").write_bytes(bytes(4096 * 4))
    return HostFileSystem(root)


def test_the_statistics_are_told_once(tmp_path: Path) -> None:
    told: list[stats.RunStats] = []
    filesystem = _install(tmp_path, tiny.file_loop(4, 2))
    request = session.Request(["/program"], memory=16 << 20)
    assert session.run(filesystem, request, cache=Cache(), tell=told.append) == 0
    (counts,) = told
    assert counts.translation_faults == 4 + 1 + 1, "data, the program's page, its stack"
    assert (counts.cache_hits, counts.cache_misses) == (3, 4)
    assert counts.system_calls == 5
    assert counts.dirty_pages == 1
    record = json.loads(stats.as_json(counts))
    assert record["system_calls_by_name"]["sched_yield"] == 2
    from rich.console import Console

    shown = io.StringIO()
    stats.print_table(counts, Console(file=shown))
    assert "access flag faults" in shown.getvalue()


def test_a_crash_is_an_error_with_a_report_and_the_statistics_come_all_the_same(tmp_path: Path) -> None:
    told: list[stats.RunStats] = []
    filesystem = _install(tmp_path, tiny.make_elf(tiny.words(0xF900001F)))  # str xzr, [x0]
    with pytest.raises(GuestCrashError) as died:
        session.run(filesystem, session.Request(["/program"], memory=16 << 20), tell=told.append)
    assert died.value.exit_status == 139
    assert "translation fault, level 2" in died.value.report
    assert len(told) == 1


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ("/app -x 'a b'", ["/app", "-x", "a b"]),
        ("--rootfs=zfs --verbose /app", ["/app"]),
    ],
)
def test_the_stored_command_line_is_split(stored: str, words: list[str]) -> None:
    assert session.split_command_line(stored) == words


@pytest.mark.parametrize("stored", [None, "", "--rootfs=zfs"])
def test_no_program_is_an_error(stored: str | None) -> None:
    with pytest.raises(UsageError, match="no program"):
        session.split_command_line(stored)


def test_tracepoints_are_written_while_it_runs(tmp_path: Path) -> None:
    filesystem = _install(tmp_path, tiny.touch_loop(2))
    stream = io.StringIO()
    with tracing(["mmu_vm_*", "syscall"], stream):
        session.run(filesystem, session.Request(["/program"], memory=16 << 20))
    lines = stream.getvalue().splitlines()
    assert any("mmu_vm_fault addr=0x" in line for line in lines)
    assert any("syscall mmap(" in line for line in lines)
    with pytest.raises(UsageError, match="no tracepoint"), tracing(["nonsense"], stream):
        pass


def test_a_checked_run_fails_if_the_machine_forgets_a_barrier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from unikiln.machine.checked import CheckedCpu

    filesystem = _install(tmp_path, tiny.touch_loop(3))
    request = session.Request(["/program"], memory=16 << 20, check_mmu=True)
    assert session.run(filesystem, request) == 0
    monkeypatch.setattr(CheckedCpu, "synchronize", lambda self: None)
    with pytest.raises(MachineError, match=r"missing dsb: .*\(and \d+ more\)"):
        session.run(filesystem, request)
