from __future__ import annotations

import pytest

from unikiln.base.qmp import Event
from unikiln.engine.qemu.console import Console
from unikiln.engine.qemu.outcome import End, Outcome, crashed, judge, timed_out


def console(text: str) -> Console:
    made = Console()
    made.feed(text.encode())
    return made


def shutdown(reason: str) -> list[Event]:
    told = Event("SHUTDOWN", {"guest": reason.startswith("guest"), "reason": reason})
    return [Event("RTC_CHANGE", {"offset": 0}), told, Event("STOP", {})]


QUIET = "Hello from C code\nPowering off.\n"


def test_only_a_guest_that_ends_itself_well_is_well() -> None:
    assert judge(console(QUIET), shutdown("guest-shutdown"), 0) == Outcome(End.powered_off, 0)


@pytest.mark.parametrize(
    ("text", "reason", "status", "expected"),
    [
        ("Failed to load object: /x. Powering off.\n", "guest-shutdown", 0, (End.failed, 1)),
        ("program /x returned 7\n", "guest-shutdown", 0, (End.failed, 7)),
        ("Aborted\n[backtrace]\n", "guest-shutdown", 0, (End.crashed, 134)),
        (QUIET, "guest-panic", 0, (End.crashed, 134)),
        (QUIET, "guest-reset", 0, (End.reset, 1)),
        (QUIET, "host-qmp-quit", 0, (End.stopped, 1)),
        (QUIET, "host-signal", 0, (End.stopped, 1)),
        (QUIET, "host-ui", 0, (End.stopped, 1)),
    ],
)
def test_other_ends(text: str, reason: str, status: int, expected: tuple[End, int]) -> None:
    outcome = judge(console(text), shutdown(reason), status)
    assert (outcome.end, outcome.status) == expected
    assert outcome.reason


def test_a_qemu_that_dies() -> None:
    assert judge(console(QUIET), [], -9) == Outcome(End.died, 1, "QEMU died of SIGKILL")
    assert judge(console(QUIET), [], 0).reason == "QEMU exited 0, and the guest did not end it"


def test_we_end_it() -> None:
    assert timed_out(1.5) == Outcome(End.timeout, 124, "the guest did not end within 1.5 s")
    ended = crashed(console("Assertion failed: 1 (a: b: 2)\n\n[backtrace]\n0x1 <a>\n"))
    assert ended.reason == "Assertion failed: 1 (a: b: 2)"
    assert ended.report.splitlines()[-1] == "0x1 <a>"
