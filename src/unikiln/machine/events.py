"""How a guest leaves its instruction stream for good: exceptions from the kernel to the engine."""

from __future__ import annotations

import errno
import os
import signal


class GuestExit(Exception):
    """The program ended itself; ``status`` is 0 to 255."""

    def __init__(self, status: int) -> None:
        super().__init__(f"exit status {status}")
        self.status = status


class GuestSignal(Exception):
    """A synchronous signal that kills the program: ``reason`` says why, ``address`` where."""

    def __init__(self, number: signal.Signals, reason: str, address: int | None = None, esr: int = 0) -> None:
        super().__init__(reason)
        self.number = number
        self.reason = reason
        self.address = address
        self.esr = esr


class ProgramReplaced(Exception):
    """``execve`` succeeded: the processor continues at the new program's entry."""


class Errno(OSError):
    """A system call fails with this error number."""

    def __init__(self, number: int) -> None:
        super().__init__(number, os.strerror(number))
        self.number = number


EFAULT = Errno(errno.EFAULT)
