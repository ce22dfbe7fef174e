"""Signals: actions are remembered, deadly ones kill; handlers are not run yet."""

from __future__ import annotations

import errno
import struct
from signal import Signals

from unikiln.machine.events import Errno, GuestSignal
from unikiln.machine.process import SIG_DFL, SIG_IGN, Process
from unikiln.machine.syscalls.identity import PID
from unikiln.machine.syscalls.table import signed, system_call

SIGSET_SIZE = 8
SIGNALS = 64
ACTION_SIZE = 32
"""``struct kernel_sigaction``: handler, flags, restorer, mask."""
_HARMLESS = {Signals.SIGCHLD, Signals.SIGCONT, Signals.SIGURG, Signals.SIGWINCH}
_UNCATCHABLE = {Signals.SIGKILL, Signals.SIGSTOP}


@system_call(134)
def rt_sigaction(process: Process, number: int, new_at: int, old_at: int, size: int) -> int:
    """``rt_sigaction``."""
    if size != SIGSET_SIZE or not 1 <= number <= SIGNALS or (new_at and number in _UNCATCHABLE):
        raise Errno(errno.EINVAL)
    new = process.user.read(new_at, ACTION_SIZE) if new_at else None
    if old_at:
        process.user.write(old_at, process.actions.get(number, bytes(ACTION_SIZE)))
    if new is not None:
        process.actions[number] = new
    return 0


@system_call(135)
def rt_sigprocmask(process: Process, how: int, new_at: int, old_at: int, size: int) -> int:
    """``rt_sigprocmask``."""
    old = process.signal_mask
    if new_at:
        (mask,) = process.user.unpack("Q", new_at)
        if how > 2:
            raise Errno(errno.EINVAL)
        process.signal_mask = (old | mask, old & ~mask, mask)[how]
    if old_at:
        process.user.pack("Q", old_at, old)
    return 0


@system_call(132)
def sigaltstack(process: Process, new_at: int, old_at: int) -> int:
    """``sigaltstack``: none is in use."""
    if old_at:
        process.user.write(old_at, struct.pack("<QixxxxQ", 0, 2, 0))
    return 0


@system_call(136)
def rt_sigpending(process: Process, va: int) -> int:
    """``rt_sigpending``: none is."""
    process.user.pack("Q", va, 0)
    return 0


def _send(process: Process, number: int) -> int:
    if not 0 <= number <= SIGNALS:
        raise Errno(errno.EINVAL)
    if number == 0 or number in _HARMLESS:
        return 0
    handler = process.handler(number)
    if handler == SIG_DFL or number in _UNCATCHABLE:
        raise GuestSignal(Signals(number), "sent by itself")
    if handler != SIG_IGN:
        process.log_once(f"the handler of signal {number} is not run: signals are not delivered yet")
    return 0


@system_call(129)
def kill(process: Process, pid: int, number: int) -> int:
    """``kill``: there is only itself."""
    if signed(pid, 32) not in (0, PID, -PID, -1):
        raise Errno(errno.ESRCH)
    return _send(process, number)


@system_call(130)
def tkill(process: Process, tid: int, number: int) -> int:
    """``tkill``."""
    return kill(process, tid, number)


@system_call(131)
def tgkill(process: Process, pid: int, tid: int, number: int) -> int:
    """``tgkill``."""
    return kill(process, tid, number)
