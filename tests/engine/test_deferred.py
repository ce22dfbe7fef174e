"""Ctrl-C and other signals reach whoever runs a guest, whatever the guest does."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.guest.tiny import getppid_loop, make_elf, words
from unikiln.cli.main import main
from unikiln.engine.deferred import DeferredSignals

PROGRAM = [sys.executable, "-c", "import sys; from unikiln.cli.main import main; sys.exit(main())"]
READ_KEY = words(0xD2800000, 0x910003E1, 0xD2800022, 0xD28007E8, 0xD4000001, 0x17FFFFFB)
"""``mov x0, 0; mov x1, sp; mov x2, 1; mov x8, 63; svc 0``, again and again."""


@pytest.mark.parametrize(
    "program",
    [make_elf(words(0x14000000)), getppid_loop(1 << 40), make_elf(READ_KEY)],
    ids=["computes", "calls", "waits"],
)
def test_ctrl_c_ends_every_guest(tmp_path: Path, program: bytes) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/guest").write_bytes(program)
    (tmp_path / "tree/guest").chmod(0o755)
    disk = tmp_path / "disk.raw"
    assert main(["build", str(tmp_path / "tree"), "-o", str(disk), "-q"]) == 0
    command = [*PROGRAM, "run", str(disk), "--", "/guest"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stderr=pipe, text=True) as ours:
        _wait_for_unicorn(ours.pid)
        ours.send_signal(signal.SIGINT)
        assert ours.wait(20) == 130
        assert ours.stderr is not None
        assert ours.stderr.read() == "unikiln: interrupted\n"


def _wait_for_unicorn(pid: int) -> None:
    """Until the guest is likely to run: its library is loaded, and a second has passed."""
    while "libunicorn" not in Path(f"/proc/{pid}/maps").read_text():
        time.sleep(0.05)
    time.sleep(1)


def test_handlers_wait_until_they_may_raise() -> None:
    seen: list[str] = []

    def handle(number: int, frame: object) -> None:
        seen.append(f"handled {signal.Signals(number).name}")

    before = signal.signal(signal.SIGALRM, handle)
    try:
        with DeferredSignals(lambda: seen.append("stop")) as signals:
            signal.raise_signal(signal.SIGALRM)
            assert seen == ["stop"]
            signals.deliver()
            signals.deliver()
            assert seen == ["stop", "handled SIGALRM"]
            signals.at_once = True
            signal.raise_signal(signal.SIGALRM)
            assert seen[2:] == ["handled SIGALRM"]
        assert signal.getsignal(signal.SIGALRM) is handle
    finally:
        signal.signal(signal.SIGALRM, before)


def test_signals_that_nobody_handles_stay_as_they_are() -> None:
    with DeferredSignals(lambda: None):
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


def test_another_thread_has_no_signals() -> None:
    handlers: list[object] = []

    def look() -> None:
        with DeferredSignals(lambda: None):
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGINT)]
