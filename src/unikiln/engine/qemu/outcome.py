"""How a guest ended: by what QEMU told (QEMU, qapi/run-state.json, ShutdownCause) and by its console.

QEMU exits 0 for nearly everything, so its exit status alone says little.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from signal import Signals
from typing import TYPE_CHECKING

from unikiln.engine.qemu.console import Console

if TYPE_CHECKING:
    from unikiln.base.qmp import Event

TIMED_OUT = 124
"""The exit status of timeout(1)."""
CRASHED = 128 + Signals.SIGABRT
"""The exit status of a program that aborts, as a shell has it."""


class End(StrEnum):
    """What ended a guest."""

    powered_off = "powered off"
    failed = "failed"
    crashed = "crashed"
    reset = "reset"
    timeout = "timeout"
    stopped = "stopped"
    died = "died"


@dataclass(frozen=True, slots=True)
class Outcome:
    """``status`` is 0 only if the guest ended by itself and well; else ``reason`` tells why in one line."""

    end: End
    status: int
    reason: str = ""
    report: str = ""


def judge(console: Console, events: Iterable[Event], exit_status: int) -> Outcome:
    """What became of a guest whose QEMU ended by itself."""
    causes = [event.data.get("reason", "") for event in events if event.name == "SHUTDOWN"]
    cause = causes[-1] if causes else ""
    if console.halted:
        return crashed(console)
    if cause == "guest-panic":
        return Outcome(End.crashed, CRASHED, "the guest panicked")
    if cause == "guest-reset":
        why = console.trouble.reason if console.trouble else "the guest reset its machine"
        return Outcome(End.reset, 1, why)
    if cause.startswith("guest"):
        if console.trouble is None:
            return Outcome(End.powered_off, 0)
        return Outcome(End.failed, console.trouble.status, console.trouble.reason)
    if cause:
        return Outcome(End.stopped, 1, f"QEMU was ended from outside, not by the guest ({cause})")
    return Outcome(End.died, 1, _died(exit_status))


def crashed(console: Console) -> Outcome:
    """A guest that stopped for good; QEMU may run on."""
    reason = console.trouble.reason if console.trouble else "the guest halted"
    return Outcome(End.crashed, CRASHED, reason, "\n".join(console.report))


def timed_out(seconds: float) -> Outcome:
    """A guest that was ended because it took too long."""
    return Outcome(End.timeout, TIMED_OUT, f"the guest did not end within {seconds:g} s")


def _died(status: int) -> str:
    if status < 0:
        return f"QEMU died of {Signals(-status).name}"
    return f"QEMU exited {status}, and the guest did not end it"
