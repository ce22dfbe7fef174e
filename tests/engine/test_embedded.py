from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from signal import Signals

import pytest

from tests.guest import tiny
from tests.guest.compile import compile_guest
from tests.machine.running import Finished, run
from unikiln.base.trace import select
from unikiln.machine import crash
from unikiln.machine.syscalls.table import system_call
from unikiln.mmu.aarch64.syndrome import Syndrome

Install = Callable[[str, bytes], None]


def test_the_exit_status_is_the_guests(root: Path, install: Install) -> None:
    install("program", tiny.make_elf(tiny.exit_with(42)))
    assert run(root, "/program").status == 42


def test_instructions_are_counted(root: Path, install: Install) -> None:
    install("program", tiny.getppid_loop(1000))
    done = run(root, "/program")
    assert done.process.counters.system_calls == {"getppid": 1000, "exit_group": 1}
    assert 3000 <= done.engine.instructions <= 3100


def test_each_new_page_is_one_translation_fault(root: Path, install: Install) -> None:
    install("program", tiny.touch_loop(100))
    one, many = (_counts(run(root, "/program")) for _ in range(2))
    assert one == many, "a run is repeatable"
    install("program", tiny.touch_loop(1100))
    assert _counts(run(root, "/program"))[0] - one[0] == 1000


def _counts(done: Finished) -> tuple[int, int, int]:
    c = done.process.counters
    return c.translation_faults, c.access_flag_faults, c.permission_faults


def test_a_pass_of_the_scanner_makes_every_file_page_fault_once(root: Path, install: Install) -> None:
    install("program", tiny.file_loop(30, 4))
    system_call(124, "sched_yield")(lambda process: process.tick() or 0)
    try:
        done = run(root, "/program")
    finally:
        system_call(124, "sched_yield")(lambda process: 0)
    c = done.process.counters
    assert c.scans == 4
    assert c.flags_cleared == 4 * 31, "30 pages of data and the program's own"
    assert c.access_flag_faults == 3 * 31 + 1, "after the last pass, only the program's own page is used"
    assert done.process.space.dirty_pages() == 1, "the stack; reading made nothing dirty"


def test_access_flag_faults_are_told_with_their_address(root: Path, install: Install) -> None:
    install("program", tiny.file_loop(3, 2))
    told: list[str] = []
    (point,) = select("mmu_vm_access_flag_fault")
    sink = lambda name, message: told.append(message)  # noqa: E731
    point.attach(sink)
    system_call(124, "sched_yield")(lambda process: process.tick() or 0)
    try:
        run(root, "/program")
    finally:
        point.detach(sink)
        system_call(124, "sched_yield")(lambda process: 0)
    addresses = [int(each.removeprefix("addr="), 16) for each in told]
    data = [each for each in addresses if each > 0x1_0000_0000]
    assert len(data) == 3
    assert [each - data[0] for each in data] == [0, 4096, 8192]


@pytest.mark.judge("aarch64-linux-gnu-gcc")
def test_memory_works_while_the_scanner_interrupts(root: Path) -> None:
    """Status 0, or the line of memory.c that found something wrong."""
    compile_guest("memory", root / "memory")
    done = run(root, "/memory", "x", scan_interval=0.001)
    assert (done.status, done.said) == (0, [])
    assert done.process.counters.scans > 10


@pytest.mark.judge("aarch64-linux-gnu-gcc")
def test_memory_works_with_atomic_instructions(root: Path) -> None:
    compile_guest("memory", root / "memory", "-march=armv8.1-a", "-static-pie", "-fPIE")
    assert run(root, "/memory", "x", scan_interval=0.0005).status == 0


@pytest.mark.judge("aarch64-linux-gnu-gcc")
@pytest.mark.parametrize(
    ("how", "signal", "status", "write", "address"),
    [
        ("n", Signals.SIGSEGV, 0x04, True, 8),
        ("r", Signals.SIGSEGV, 0x07, True, None),
        ("j", Signals.SIGSEGV, 0x04, False, 0),
        ("x", Signals.SIGSEGV, 0x07, False, None),
        ("e", Signals.SIGBUS, 0x07, False, None),
    ],
)
def test_a_crash_carries_the_syndrome(
    root: Path, how: str, signal: Signals, status: int, write: bool, address: int | None
) -> None:
    compile_guest("crash", root / "crash")
    death = run(root, "/crash", how).death
    assert death is not None
    syndrome = Syndrome.decode(death.esr)
    assert death.number is signal
    assert syndrome.ec == (0x20 if how in "jx" else 0x24)
    assert (syndrome.status & 0x3C, syndrome.is_write, syndrome.il) == (status & 0x3C, write, True)
    if address is not None:
        assert death.address == address
    if how == "r":
        assert (death.address or 0) & 0xFFF == 0x123, "FAR is exact, not the page"


@pytest.mark.judge("aarch64-linux-gnu-gcc")
@pytest.mark.parametrize(("how", "signal"), [("u", Signals.SIGILL), ("b", Signals.SIGTRAP)])
def test_bad_instructions_kill(root: Path, how: str, signal: Signals) -> None:
    compile_guest("crash", root / "crash")
    assert run(root, "/crash", how).status == 128 + signal


@pytest.mark.judge("aarch64-linux-gnu-gcc")
def test_the_report_has_registers_syndrome_and_mapping(root: Path) -> None:
    compile_guest("crash", root / "crash")
    done = run(root, "/crash", "r")
    assert done.death is not None
    report = crash.report(done.death, done.process.space)
    assert "SIGSEGV" in report
    assert "data abort from a lower exception level" in report
    assert "WnR 1" in report
    assert "at 0x123 of anonymous memory" in report
    assert "of /crash" in report
    assert " x30 " in report


@pytest.mark.judge("aarch64-linux-gnu-gcc")
def test_a_page_that_a_system_call_copied_is_seen_at_once(root: Path) -> None:
    """The processor held a read-only translation of the page that was there before."""
    compile_guest("stale", root / "stale")
    assert run(root, "/stale").status == 0
