"""Waiting until files are ready: files always are, the host's streams when the host says so."""

from __future__ import annotations

import errno
import select

from unikiln.machine.events import Errno
from unikiln.machine.process import Process
from unikiln.machine.syscalls.table import system_call
from unikiln.machine.vfs.openfile import OpenStream

POLLIN, POLLOUT, POLLNVAL = 1, 4, 0x20
MOST_POLLED = 1024
RECORD = 8
"""``struct pollfd``: descriptor, events asked for, events found."""


@system_call(73)
def ppoll(process: Process, va: int, count: int, timeout_at: int) -> int:
    """``ppoll``; the signal mask does not matter, as no signal arrives."""
    if count > MOST_POLLED:
        raise Errno(errno.EINVAL)
    words = process.user.unpack("iHH" * count, va)
    asked = list(zip(words[::3], words[1::3], strict=True))
    found = [_ready(process, fd, events) for fd, events in asked]
    waited = {number: fd for number, (fd, _) in enumerate(asked) if found[number] is None}
    seconds = _timeout(process, timeout_at)
    streams = _host_poll(process, waited, asked, 0 if any(found) else seconds)
    result = [streams[number] if events is None else events for number, events in enumerate(found)]
    for number, events in enumerate(result):
        process.user.pack("H", va + number * RECORD + 6, events)
    return sum(1 for events in result if events)


def _ready(process: Process, fd: int, events: int) -> int | None:
    """What is known at once; None for a stream, whose state only the host knows."""
    if fd < 0:
        return 0
    try:
        file = process.files.file(fd)
    except Errno:
        return POLLNVAL
    return None if isinstance(file, OpenStream) else events & (POLLIN | POLLOUT)


def _timeout(process: Process, va: int) -> float | None:
    if not va:
        return None
    seconds, ns = process.user.unpack("qq", va)
    return float(seconds + ns / 1e9)


def _host_poll(
    process: Process, waited: dict[int, int], asked: list[tuple[int, int]], seconds: float | None
) -> dict[int, int]:
    """Events by place in the request. Linux numbers them as the host does."""
    poll = select.poll()
    hosts: dict[int, int] = {}
    for number, fd in waited.items():
        file = process.files.file(fd)
        assert isinstance(file, OpenStream)
        hosts[number] = file.fd
        poll.register(file.fd, asked[number][1])
    ready = dict(poll.poll(None if seconds is None else seconds * 1000))
    return {number: ready.get(host, 0) for number, host in hosts.items()}
