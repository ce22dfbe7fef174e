"""The table of system calls: number to name and function."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import NamedTuple

from unikiln.base.trace import tracepoint
from unikiln.errors import UnikilnError
from unikiln.machine.process import Process

trace_syscall = tracepoint("syscall", "%s(%s) = %d")

Handler = Callable[..., int]
MASK = (1 << 64) - 1


class SystemCall(NamedTuple):
    """``function`` takes the process and the first ``arity`` argument registers, unsigned."""

    name: str
    function: Handler
    arity: int


_table: dict[int, SystemCall] = {}


def system_call(number: int, name: str | None = None) -> Callable[[Handler], Handler]:
    """Register the function as system call ``number``, under its own name unless one is given.

    The function returns the result, or raises :class:`OSError` to fail with its error number.
    """

    def register(function: Handler) -> Handler:
        arity = function.__code__.co_argcount - 1
        _table[number] = SystemCall(name or function.__name__.removesuffix("_"), function, arity)
        return function

    return register


def call(process: Process, number: int, arguments: Sequence[int]) -> int:
    """Do system call ``number``; the value for x0, a negative error number when it fails."""
    entry = _table.get(number)
    counts = process.counters.system_calls
    if entry is None:
        counts[f"#{number}"] = counts.get(f"#{number}", 0) + 1
        process.log_once(f"system call {number} is not known; the program gets ENOSYS")
        return -errno.ENOSYS
    name = entry.name
    counts[name] = counts.get(name, 0) + 1
    try:
        result = entry.function(process, *arguments[: entry.arity])
    except OSError as error:
        result = -(error.errno or errno.EIO)
    except UnikilnError as error:
        process.log_once(f"{name}: {error}")
        result = -errno.EIO
    if trace_syscall.enabled:
        trace_syscall(name, ", ".join(f"{each:#x}" for each in arguments[: entry.arity]), result)
    return result


def signed(value: int, bits: int = 64) -> int:
    """A register's low ``bits`` as a signed number."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> bits - 1 else value


def descriptor(value: int) -> int:
    """A file descriptor argument: an int, so the upper half of the register does not count."""
    return signed(value, 32)
