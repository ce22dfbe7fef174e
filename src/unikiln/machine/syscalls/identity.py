"""Who and where the program is: one process, root, on a machine called unikiln."""

from __future__ import annotations

import errno
import os
import time

import unikiln
from unikiln.machine.events import Errno
from unikiln.machine.process import Process
from unikiln.machine.syscalls.table import signed, system_call

PID = 1
RELEASE = b"6.1.0-unikiln"
RLIM_INFINITY = (1 << 64) - 1
RLIMIT_STACK, RLIMIT_NOFILE, RLIMITS = 3, 7, 16
_LIMITS = {RLIMIT_STACK: 8 << 20, RLIMIT_NOFILE: 1024}
MOST_RANDOM = 1 << 20


def _pid(process: Process) -> int:
    return PID


def _nothing(process: Process) -> int:
    return 0


for _number, _name in ((172, "getpid"), (178, "gettid"), (156, "getsid")):
    system_call(_number, _name)(_pid)
for _number, _name in (
    (173, "getppid"), (174, "getuid"), (175, "geteuid"), (176, "getgid"), (177, "getegid"),
    (143, "setregid"), (144, "setgid"), (145, "setreuid"), (146, "setuid"), (147, "setresuid"),
    (149, "setresgid"), (151, "setfsuid"), (152, "setfsgid"), (158, "getgroups"), (159, "setgroups"),
    (154, "setpgid"), (140, "setpriority"), (119, "sched_setscheduler"), (120, "sched_getscheduler"),
    (121, "sched_getparam"), (122, "sched_setaffinity"), (124, "sched_yield"),
):  # fmt: skip
    system_call(_number, _name)(_nothing)


@system_call(155)
def getpgid(process: Process) -> int:
    """``getpgid``."""
    return PID


@system_call(157)
def setsid(process: Process) -> int:
    """``setsid``: it leads a session already."""
    raise Errno(errno.EPERM)


@system_call(141)
def getpriority(process: Process) -> int:
    """``getpriority``: 20 minus a niceness of 0."""
    return 20


@system_call(148)
def getresuid(process: Process, real: int, effective: int, saved: int) -> int:
    """``getresuid``: root."""
    for va in (real, effective, saved):
        process.user.pack("I", va, 0)
    return 0


@system_call(150)
def getresgid(process: Process, real: int, effective: int, saved: int) -> int:
    """``getresgid``: root."""
    return getresuid(process, real, effective, saved)


@system_call(160)
def uname(process: Process, va: int) -> int:
    """``uname``."""
    version = b"#1 unikiln " + unikiln.__version__.encode()
    fields = (b"Linux", b"unikiln", RELEASE, version, b"aarch64", b"(none)")
    process.user.write(va, b"".join(each[:64].ljust(65, b"\0") for each in fields))
    return 0


@system_call(166)
def umask(process: Process, mask: int) -> int:
    """``umask``."""
    old, process.umask = process.umask, mask & 0o777
    return old


@system_call(261)
def prlimit64(process: Process, pid: int, kind: int, new_at: int, old_at: int) -> int:
    """``prlimit``: limits can be read, and set to no effect."""
    if kind >= RLIMITS:
        raise Errno(errno.EINVAL)
    limit = _LIMITS.get(kind, RLIM_INFINITY)
    if old_at:
        process.user.pack("QQ", old_at, limit, limit if kind == RLIMIT_NOFILE else RLIM_INFINITY)
    return 0


@system_call(163)
def getrlimit(process: Process, kind: int, va: int) -> int:
    """``getrlimit``."""
    return prlimit64(process, 0, kind, 0, va)


@system_call(164)
def setrlimit(process: Process, kind: int, va: int) -> int:
    """``setrlimit``."""
    return prlimit64(process, 0, kind, va, 0)


@system_call(179)
def sysinfo(process: Process, va: int) -> int:
    """``sysinfo``."""
    uptime = (time.monotonic_ns() - process.started_ns) // 1_000_000_000
    total, free = process.memory.size, process.memory.size - process.memory.used
    process.user.pack("q3Q6QHHIQQI4x", va, uptime, 0, 0, 0, total, free, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1)
    return 0


@system_call(123)
def sched_getaffinity(process: Process, pid: int, size: int, va: int) -> int:
    """``sched_getaffinity``: one processor."""
    if size < 8:
        raise Errno(errno.EINVAL)
    process.user.pack("Q", va, 1)
    return 8


@system_call(168)
def getcpu(process: Process, cpu_at: int, node_at: int) -> int:
    """``getcpu``: processor 0 of node 0."""
    for va in (cpu_at, node_at):
        if va:
            process.user.pack("I", va, 0)
    return 0


@system_call(278)
def getrandom(process: Process, va: int, size: int, flags: int) -> int:
    """``getrandom``, from the host."""
    size = min(size, MOST_RANDOM)
    process.user.write(va, os.urandom(size))
    return size


@system_call(167)
def prctl(process: Process, option: int, value: int) -> int:
    """``prctl``: the name of the thread."""
    if option == 15:
        process.command = process.user.string(value, 16)[:15]
    elif option == 16:
        process.user.write(value, process.command.ljust(16, b"\0"))
    elif signed(option, 32) not in (1, 4, 22, 38):
        raise Errno(errno.EINVAL)
    return 0
