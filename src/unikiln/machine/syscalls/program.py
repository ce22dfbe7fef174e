"""The program itself: ending, replacing, and what a single thread needs."""

from __future__ import annotations

import errno
import os

from unikiln.errors import ElfError
from unikiln.machine.events import Errno, GuestExit, ProgramReplaced
from unikiln.machine.process import Process
from unikiln.machine.syscalls.identity import PID
from unikiln.machine.syscalls.lookup import place_at
from unikiln.machine.syscalls.table import signed, system_call

FUTEX_WAIT, FUTEX_WAKE, FUTEX_WAIT_BITSET, FUTEX_COMMAND = 0, 1, 9, 0x7F


@system_call(93, "exit")
def exit_(process: Process, status: int) -> int:
    """``exit`` of the only thread."""
    raise GuestExit(status & 0xFF)


@system_call(94)
def exit_group(process: Process, status: int) -> int:
    """``exit_group``."""
    raise GuestExit(status & 0xFF)


@system_call(221)
def execve(process: Process, path_at: int, argv_at: int, env_at: int) -> int:
    """``execve``: the new program takes the place of this one."""
    place = place_at(process, -100, path_at)
    argv, env = process.user.strings(argv_at), process.user.strings(env_at)
    if not place.node.is_regular or not place.node.mode & 0o111:
        raise Errno(errno.EACCES)
    try:
        process.start(place, argv, env)
    except ElfError as error:
        process.log_once(str(error))
        raise Errno(errno.ENOEXEC) from error
    process.files.close_for_exec()
    raise ProgramReplaced(os.fsdecode(place.path))


@system_call(96)
def set_tid_address(process: Process, va: int) -> int:
    """``set_tid_address``: the thread's number."""
    return PID


@system_call(99)
def set_robust_list(process: Process) -> int:
    """``set_robust_list``: there is no other thread to tell."""
    return 0


@system_call(98)
def futex(process: Process, va: int, operation: int, value: int, timeout_at: int) -> int:
    """``futex`` with one thread: nobody to wake, and waiting would be forever."""
    command = operation & FUTEX_COMMAND
    if command == FUTEX_WAKE:
        return 0
    if command not in (FUTEX_WAIT, FUTEX_WAIT_BITSET):
        raise Errno(errno.ENOSYS)
    (word,) = process.user.unpack("i", va)
    if word != signed(value, 32):
        raise Errno(errno.EAGAIN)
    raise Errno(errno.ETIMEDOUT if timeout_at else errno.EDEADLK)


def _no_second_thread(process: Process) -> int:
    process.log_once("the program wants a second process or thread; it gets ENOSYS")
    raise Errno(errno.ENOSYS)


for _number, _name in ((220, "clone"), (435, "clone3")):
    system_call(_number, _name)(_no_second_thread)


@system_call(260)
def wait4(process: Process) -> int:
    """``wait4``: there are no children."""
    raise Errno(errno.ECHILD)


def _not_here(process: Process) -> int:
    raise Errno(errno.ENOSYS)


for _number, _name in ((293, "rseq"), (283, "membarrier"), (59, "pipe2"), (72, "pselect6")):
    system_call(_number, _name)(_not_here)
