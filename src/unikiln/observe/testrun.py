"""Running the programs of a folder, each in a guest of its own, and what came of them.

Each runs in a process that is started for it, several at a time; its output goes to files until it has ended.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from signal import SIGKILL
from stat import S_ISDIR, S_ISREG
from typing import IO

from unikiln.base.filesystem import Inode
from unikiln.base.process import die_with_parent
from unikiln.errors import HostError, UsageError

_ELF = b"\x7fELF"
_MACHINE_AT = 18
_TIMED_OUT = 124
_MOST_OUTPUT = 1 << 20
_GRACE_SECONDS = 15.0
"""What a process may take beyond its guest's time: to start, and to end the guest by itself."""
_TERMINATION_SECONDS = 5.0

Find = Callable[[bytes], Inode]
"""The inode at a path, links followed."""


class Verdict(StrEnum):
    """What came of a program."""

    passed = "passed"
    failed = "failed"
    timeout = "timeout"
    crashed = "crashed"


@dataclass(frozen=True, slots=True)
class Result:
    """One program's run. ``reason`` is one line, empty if it passed; ``messages`` is what was not the
    guest's.
    """

    name: str
    path: str
    verdict: Verdict
    seconds: float
    status: int
    reason: str
    output: str
    messages: str


@dataclass(frozen=True, slots=True)
class Program:
    """A program in the image."""

    name: str
    path: str


def programs(find: Find, folder: str, pattern: str, machine: int | None) -> list[Program]:
    """The programs in ``folder`` whose names match ``pattern``, by name: ELF files, for ``machine`` if that
    is given.

    :raises UsageError: it is no directory
    """
    top = os.fsencode(folder.rstrip("/"))
    directory = find(top or b"/")
    if not S_ISDIR(directory.attributes.mode):
        raise UsageError(f"{folder}: is no directory in the image")
    names = sorted(entry.name for entry in directory.entries())
    wanted = [name for name in names if fnmatchcase(os.fsdecode(name), pattern)]
    return [
        Program(os.fsdecode(name), os.fsdecode(top + b"/" + name))
        for name in wanted
        if _is_program(find, top + b"/" + name, machine)
    ]


def _is_program(find: Find, path: bytes, machine: int | None) -> bool:
    try:
        inode = find(path)
    except FileNotFoundError:  # a link to nothing
        return False
    if not S_ISREG(inode.attributes.mode):
        return False
    head = inode.read(0, _MACHINE_AT + 2)
    found = int.from_bytes(head[_MACHINE_AT:], "little")
    return head.startswith(_ELF) and machine in (None, found)


def run_all(
    wanted: Sequence[Program],
    command: Callable[[Program], Sequence[str]],
    *,
    jobs: int,
    timeout: float,
) -> Iterator[Result]:
    """Run every program by its ``command``, ``jobs`` at a time; results as they come.

    ``timeout`` is what the command itself keeps to, in seconds. When the iterator is closed, so is all that
    runs.

    :raises HostError: a process cannot be started
    """
    waiting = list(reversed(wanted))
    running: set[_Running] = set()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                program = waiting.pop()
                running.add(_Running(program, command(program), timeout))
            for each in _ended(running):
                running.remove(each)
                yield each.result()
    finally:
        for each in running:
            each.stop()


class _Running:
    """A process, and the files that its output goes to."""

    def __init__(self, program: Program, command: Sequence[str], timeout: float) -> None:
        self._program = program
        self._timeout = timeout
        self._began = time.monotonic()
        self.deadline = self._began + timeout + _GRACE_SECONDS
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by result and stop
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._messages,
                process_group=0,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - one system call, no lock
            )
        except OSError as error:
            raise HostError(f"{command[0]}: {error.strerror}") from error
        self.descriptor = os.pidfd_open(self._process.pid)

    def stop(self) -> None:
        """End it and all that it started."""
        self._process.terminate()
        try:
            self._process.wait(_TERMINATION_SECONDS)
        except subprocess.TimeoutExpired:
            self._kill()
        self._close()

    def result(self) -> Result:
        """What came of it; it has ended, or must."""
        overdue = self._process.poll() is None
        if overdue:
            self._kill()
        seconds = time.monotonic() - self._began
        output, messages = _read(self._output), _read(self._messages)
        status = _TIMED_OUT if overdue else self._process.wait()
        verdict = _verdict(status, seconds >= self._timeout)
        reason = "" if verdict is Verdict.passed else self._reason(verdict, status, messages)
        self._close()
        return Result(
            self._program.name, self._program.path, verdict, seconds, status, reason, output, messages
        )

    def _reason(self, verdict: Verdict, status: int, messages: str) -> str:
        if verdict is Verdict.timeout:
            return f"did not end within {self._timeout:g} s"
        said = [line for line in messages.splitlines() if line.startswith("unikiln: ")]
        return said[-1].removeprefix("unikiln: ") if said else f"exit status {status}"

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, SIGKILL)
        self._process.wait()

    def _close(self) -> None:
        os.close(self.descriptor)
        self._output.close()
        self._messages.close()


def _ended(running: set[_Running]) -> list[_Running]:
    """Wait until one ends, or is overdue."""
    with selectors.DefaultSelector() as selector:
        for each in running:
            selector.register(each.descriptor, selectors.EVENT_READ, each)
        patience = min(each.deadline for each in running) - time.monotonic()
        ended = [key.data for key, _ in selector.select(max(0.0, patience))]
    return ended or [each for each in running if time.monotonic() >= each.deadline]


def _verdict(status: int, late: bool) -> Verdict:
    if status == 0:
        return Verdict.passed
    if status == _TIMED_OUT and late:
        return Verdict.timeout
    return Verdict.crashed if status > 128 or status < 0 else Verdict.failed


def _read(file: IO[bytes]) -> str:
    """What is in the file; of very much, the end."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _MOST_OUTPUT))
    return file.read().decode("utf-8", "replace")
