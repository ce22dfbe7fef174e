"""A QEMU that runs: started with a monitor of ours, and ended with the block, however that is left."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
from collections.abc import Sequence
from types import TracebackType
from typing import IO, TYPE_CHECKING, NamedTuple, Self

from unikiln.base.process import die_with_parent
from unikiln.engine.qemu.command import control_socket
from unikiln.errors import GuestGoneError, HostError

if TYPE_CHECKING:
    from unikiln.base.qmp import Event, Qmp

_END_SECONDS = 3.0
"""How long QEMU may take to write out its disks when it is asked to end."""
_MONITOR_SECONDS = 60.0
_FORWARD = re.compile(r"(TCP|UDP)\[HOST_FORWARD\]\s+\S+\s+\S+\s+(\d+)\s+\S+\s+(\d+)")


class Forward(NamedTuple):
    """Port ``outside`` of the host leads to port ``inside`` of the guest."""

    protocol: str
    outside: int
    inside: int


class Guest:
    """Start ``command``, which is QEMU and its arguments, stopped before its first instruction: :meth:`go`
    lets it run.

    The monitor is a socket that QEMU inherits, so nobody else can reach it and no file is left. QEMU is in a
    session of its own: what a terminal sends reaches only us. It dies with the thread that started it, even
    if that is killed.

    :raises HostError: QEMU does not start; the message is QEMU's
    """

    qmp: Qmp
    """QEMU's monitor."""

    def __init__(self, command: Sequence[str]) -> None:
        from unikiln.base.qmp import Qmp

        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self.process = _start([*command, "-S", *control_socket(theirs.fileno())], theirs.fileno())
        except BaseException:
            ours.close()
            raise
        try:
            self.qmp = Qmp(ours, timeout=_MONITOR_SECONDS)
        except GuestGoneError as error:
            said = self._end()
            raise _failure(command[0], said, self.process.returncode) from error
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._end()
        finally:
            self.qmp.close()

    @property
    def stdin(self) -> IO[bytes]:
        """What the console reads; unbuffered."""
        assert self.process.stdin is not None
        return self.process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        """What the console says; unbuffered."""
        assert self.process.stdout is not None
        return self.process.stdout

    @property
    def stderr(self) -> IO[bytes]:
        """What QEMU itself says; unbuffered."""
        assert self.process.stderr is not None
        return self.process.stderr

    def go(self) -> None:
        """Let the guest run; a QEMU that has just died is found dead by whoever waits for it.

        :raises GuestGoneError: QEMU refuses
        """
        try:
            self.qmp.execute("cont")
        except GuestGoneError as error:
            try:
                self.process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                raise error from None

    def forwards(self) -> list[Forward]:
        """What the user network forwards. Where a rule says port 0, the host chose one that was free."""
        found = _FORWARD.findall(self.qmp.human("info usernet"))
        return [Forward(kind.lower(), int(outside), int(inside)) for kind, outside, inside in found]

    def forwarded_port(self, port: int) -> int:
        """The host's TCP port that leads to the guest's ``port``. QEMU has bound it: it is nobody else's.

        :raises HostError: no rule leads there
        """
        for each in self.forwards():
            if each.protocol == "tcp" and each.inside == port:
                return each.outside
        raise HostError(f"no port of this host leads to the guest's port {port}")

    def events(self) -> list[Event]:
        """What happened to a QEMU that has ended."""
        return self.qmp.events()

    def end(self) -> None:
        """Ask QEMU to end, and kill it if it does not; nothing happens when it has ended."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def _end(self) -> bytes:
        """End QEMU and close our ends of its pipes; what it still had to say."""
        with contextlib.suppress(OSError):  # what the guest did not read
            self.stdin.close()
        try:
            self.end()
            return self.stderr.read()
        finally:
            self.process.kill()
            self.process.wait()
            self.stdout.close()
            self.stderr.close()


def _start(command: list[str], inherited: int) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    try:
        return subprocess.Popen(
            command,
            bufsize=0,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            pass_fds=[inherited],
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - one system call, no lock
        )
    except OSError as error:
        raise HostError(f"{command[0]}: {error.strerror}") from error


def _failure(program: str, said: bytes, status: int) -> HostError:
    """QEMU's first complaint; what it says after that is advice."""
    lines = [line.strip() for line in said.decode(errors="replace").splitlines() if line.strip()]
    complaints = [line for line in lines if ": warning: " not in line]
    if complaints:
        first, *more = complaints
        return HostError(first, hint=" ".join(more) or None)
    died = f"died of signal {-status}" if status < 0 else f"exited {status}"
    return HostError(f"{program} {died} before the guest started")
