"""What a guest's console tells about its end, line by line.

OSv's lines, of ``loader.cc``, ``runtime.cc``, ``core/app.cc``, ``core/mmu.cc`` and ``libc/signal.cc``; the
status of a program is told only with OSv's ``--verbose``. Linux's panic is known too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

_LONGEST_LINE = 4096
_REPORT_LINES = 64

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_BACKTRACE = re.compile(r"\[backtrace\]$")
_STILL_ON = re.compile(r"power: poweroff failed: ")
_HALTING = re.compile(r"Halting\.$")
_ABORT = re.compile(r"Aborted$|Assertion failed: |.*[Aa]bort")
_PANIC = re.compile(r"(?:\[ *[\d.]+\] )?(Kernel panic - not syncing: .*)")
_STATUS = re.compile(r"program (?:(.+) returned|exited with status) (-?\d+)$")
_POWERING_OFF = re.compile(r"(?!Powering off)(.+)\. Powering off\.$")
_UNPARSED = re.compile(r"Failed to parse command line\.$")
_FAULT = re.compile(r"page fault outside application, addr: 0x[0-9a-f]+$")


class Trouble(NamedTuple):
    """``reason`` is the console's own line; ``status`` the exit status that it stands for."""

    reason: str
    status: int = 1


@dataclass(slots=True)
class Console:
    """Give it what the console says; it remembers what went wrong.

    ``halted``: the guest stopped for good, but does not end QEMU. ``report``: the lines from the abort on.
    """

    trouble: Trouble | None = None
    halted: bool = False
    report: list[str] = field(default_factory=list)
    _rest: str = ""
    _last: str = ""

    def feed(self, data: bytes) -> None:
        """More output."""
        text = self._rest + data.decode("utf-8", "replace")
        *lines, rest = re.split(r"\r*\n", text)
        self._rest = rest[-_LONGEST_LINE:]
        for line in lines:
            self._line(_ESCAPES.sub("", line).strip("\r"))

    def end(self) -> None:
        """There is no more: what came without a line's end is a line."""
        self.feed(b"\n")

    def _line(self, line: str) -> None:
        reason = self._halts(line)
        if self.report:
            self.report += [line] if len(self.report) < _REPORT_LINES else []
        elif reason is not None:
            self.trouble = Trouble(reason)
            self.report = list(dict.fromkeys((self._last, line) if reason == self._last else (line,)))
        elif _FAULT.match(line):
            self.trouble, self.report = Trouble(line), [line]
        elif self.trouble is None:
            self.trouble = _trouble(line)
        self.halted = self.halted or reason is not None
        self._last = line if line.strip() else self._last

    def _halts(self, line: str) -> str | None:
        """Why the guest stops for good with this line, if it does."""
        panic = _PANIC.match(line)
        if panic:
            return panic[1]
        if _BACKTRACE.match(line) or (_HALTING.match(line) and _ABORT.match(self._last)):
            return self._last or line
        return line if _STILL_ON.match(line) else None


def _trouble(line: str) -> Trouble | None:
    returned = _STATUS.match(line)
    if returned:
        status = int(returned[2])
        return Trouble(line, status & 0xFF or 1) if status else None
    off = _POWERING_OFF.match(line)
    if off:
        return Trouble(off[1])
    return Trouble(line) if _UNPARSED.match(line) else None
