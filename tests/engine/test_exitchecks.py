from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.guest import tiny
from tests.machine.running import run
from unikiln.engine import exitchecks


def test_an_unknown_release_is_left_alone(
    root: Path, install: Callable[[str, bytes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written into its record, and programs run all the same, interrupted too."""
    done: list[bool] = []
    leave_out = exitchecks.ExitChecks.leave_out

    def watched(self: exitchecks.ExitChecks) -> bool:
        done.append(leave_out(self))
        return done[-1]

    monkeypatch.setattr(exitchecks.ExitChecks, "leave_out", watched)
    monkeypatch.setattr(exitchecks, "RELEASES", set())
    install("program", tiny.getppid_loop(20_000))
    assert run(root, "/program", scan_interval=0.001).status == 0
    assert done == [False]


def test_the_place_must_be_the_only_one(monkeypatch: pytest.MonkeyPatch) -> None:
    import ctypes

    monkeypatch.setattr(exitchecks, "_release", lambda: (2, 1, 4))
    record = ctypes.create_string_buffer(8192)
    checks = exitchecks.ExitChecks(ctypes.addressof(record))
    assert not checks.leave_out(), "nothing changed"
    record[103] = record[203] = b"\1"
    assert not checks.leave_out(), "two places"
    record[203] = b"\0"
    assert checks.leave_out()
    assert record.raw[100:104] == b"\0\0\1\1"
