"""Clocks and sleeping: the guest's time is the host's."""

from __future__ import annotations

import errno
import resource
import time

from unikiln.machine.events import Errno
from unikiln.machine.process import Process
from unikiln.machine.syscalls.table import signed, system_call

SECOND = 1_000_000_000
TIMER_ABSTIME = 1
_CLOCKS = {0, 1, 2, 3, 4, 5, 6, 7, 11}


def _now(clock: int) -> int:
    if clock not in _CLOCKS:
        raise Errno(errno.EINVAL)
    return time.clock_gettime_ns(clock)


@system_call(113)
def clock_gettime(process: Process, clock: int, va: int) -> int:
    """``clock_gettime``."""
    process.user.pack("qq", va, *divmod(_now(signed(clock, 32)), SECOND))
    return 0


@system_call(114)
def clock_getres(process: Process, clock: int, va: int) -> int:
    """``clock_getres``."""
    _now(signed(clock, 32))
    if va:
        process.user.pack("qq", va, 0, 1)
    return 0


@system_call(169)
def gettimeofday(process: Process, va: int, zone_at: int) -> int:
    """``gettimeofday``; the time zone is UTC."""
    if va:
        process.user.pack("qq", va, *divmod(time.time_ns() // 1000, 1_000_000))
    if zone_at:
        process.user.pack("ii", zone_at, 0, 0)
    return 0


def _duration(process: Process, va: int) -> int:
    seconds, ns = process.user.unpack("qq", va)
    if seconds < 0 or not 0 <= ns < SECOND:
        raise Errno(errno.EINVAL)
    return int(seconds * SECOND + ns)


@system_call(101)
def nanosleep(process: Process, va: int) -> int:
    """``nanosleep``: nothing interrupts it."""
    time.sleep(_duration(process, va) / SECOND)
    return 0


@system_call(115)
def clock_nanosleep(process: Process, clock: int, flags: int, va: int) -> int:
    """``clock_nanosleep``."""
    wait = _duration(process, va)
    now = _now(signed(clock, 32))
    if flags & TIMER_ABSTIME:
        wait = max(wait - now, 0)
    time.sleep(wait / SECOND)
    return 0


@system_call(153)
def times(process: Process, va: int) -> int:
    """``times``, in ticks of 10 ms."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    if va:
        process.user.pack("4q", va, int(usage.ru_utime * 100), int(usage.ru_stime * 100), 0, 0)
    return (time.monotonic_ns() - process.started_ns) // 10_000_000


@system_call(165)
def getrusage(process: Process, who: int, va: int) -> int:
    """``getrusage``: the host's processor time, of which the guest's is nearly all."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    user, system = (divmod(int(each * 1_000_000), 1_000_000) for each in (usage.ru_utime, usage.ru_stime))
    faults = process.counters.faults
    process.user.pack("18q", va, *user, *system, process.memory.used >> 10, 0, 0, 0, faults, *[0] * 9)
    return 0
