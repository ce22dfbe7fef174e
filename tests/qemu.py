"""A QEMU that runs while a test talks to its monitor."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests import judges

_QUIET = ("-nodefaults", "-no-user-config", "-display", "none")
_START_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Running:
    """A machine: the socket of its monitor, and its process."""

    socket: Path
    process: subprocess.Popen[bytes]


@contextmanager
def machine(program: str, folder: Path, *arguments: str) -> Iterator[Running]:
    """Start ``program`` with ``arguments`` and a monitor; it ends with the block."""
    qemu = judges.find(program)
    assert qemu is not None, judges.absent(program)
    path = folder / "qmp"
    log = folder / "qemu.log"
    command = [str(qemu), *_QUIET, "-qmp", f"unix:{path},server=on,wait=off", *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        wait_until(lambda: listens(path) or process.poll() is not None, "QEMU listens")
        assert process.poll() is None, log.read_text(errors="replace")
        yield Running(path, process)
    finally:
        process.kill()
        process.wait()


def listens(path: Path) -> bool:
    """Whether one can connect: between the socket's appearance and that, QEMU refuses."""
    with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
        probe.connect(str(path))
        return True
    return False


def wait_until(happened: Callable[[], bool], what: str, seconds: float = _START_SECONDS) -> None:
    """Look again and again until it ``happened``; fail if it does not within ``seconds``."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.02)
