"""System calls of AArch64 Linux, by number, in modules by family (include/uapi/asm-generic/unistd.h)."""

from unikiln.machine.syscalls import (
    directories,
    files,
    identity,
    memory,
    metadata,
    names,
    open,
    poll,
    program,
    signals,
    time,
    xattr,
)
from unikiln.machine.syscalls.table import call

__all__ = [
    "call",
    "directories",
    "files",
    "identity",
    "memory",
    "metadata",
    "names",
    "open",
    "poll",
    "program",
    "signals",
    "time",
    "xattr",
]
