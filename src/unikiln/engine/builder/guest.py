"""What ``upload`` needs of a guest, whatever executes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

MKFS, CPIOD, PREFIX = "/tools/mkfs.so", "/tools/cpiod.so", "/zfs/zfs/"
READY = "Waiting for connection"
"""What cpiod says when it listens."""

Say = Callable[[str], object]
"""Takes a line of the guest's console."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a guest ended: ``status`` 0 is well, else ``reason`` says what happened, in a line."""

    status: int
    reason: str = ""


class BuilderGuest(Protocol):
    """Makes the pool ``osv`` on its disk, takes an archive on TCP port ``port`` of 127.0.0.1, ends by itself.

    ``keeps_everything``: owners, times, special files and hard links too, not only what OSv's cpiod keeps.
    ``early``: a connection to the port may stand before the guest listens.
    """

    keeps_everything: bool
    early: bool

    @property
    def port(self) -> int:
        """Where it listens; known when it was started."""

    def start(self, say: Say) -> None:
        """Start it; ``say`` hears its console, from any thread.

        :raises HostError: it does not start
        """

    def wait(self, seconds: float) -> Ending | None:
        """How it ended, if it does within ``seconds``."""

    def end(self) -> None:
        """End it, if it has not ended; when this returns, nothing of it is left."""


def command_line(*, verbose: bool, console: str = "") -> str:
    """What the guest is told to run, as OSv's ``upload_manifest.py`` has it."""
    cpiod = f"{CPIOD} --prefix {PREFIX}" + ("" if verbose else " --verbose=0")
    loader = f"{console} --norandom --nomount --noinit".strip()
    return f"{loader} {MKFS}; {cpiod}; /zfs.so set compression=off osv"
