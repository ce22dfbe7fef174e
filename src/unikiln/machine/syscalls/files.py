"""Open files: read, write, seek, duplicate, control."""

from __future__ import annotations

import errno
import fcntl as host_fcntl
import os
import struct
import termios
from collections.abc import Callable
from signal import Signals

from unikiln.machine.events import Errno, GuestSignal
from unikiln.machine.process import Process
from unikiln.machine.syscalls.table import descriptor, signed, system_call
from unikiln.machine.vfs.openfile import OpenFile, OpenStream

CHUNK = 1 << 20
MOST_IOVECS = 1024
MAX_RW_COUNT = 0x7FFF_F000
F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC = 0, 1, 2, 3, 4, 1030
SETTABLE_FLAGS = 0o2000 | 0o4000
O_CLOEXEC = 0o2000000
TCGETS, TCSETS, TCSETSW, TCSETSF, TIOCGPGRP, TIOCGWINSZ = 0x5401, 0x5402, 0x5403, 0x5404, 0x540F, 0x5413


def _read_into(process: Process, file: OpenFile, va: int, count: int, source: Callable[[int], bytes]) -> int:
    """Fill the buffer from ``source``, by chunks; what was read."""
    count = min(count, MAX_RW_COUNT)
    if isinstance(file, OpenStream):
        count = min(count, CHUNK)
        process.user.check_writable(va, count)
    done = 0
    while done < count:
        data = source(min(CHUNK, count - done))
        process.user.write(va + done, data)
        done += len(data)
        if len(data) < CHUNK:
            break
    process.counters.bytes_read += done
    return done


@system_call(63)
def read(process: Process, fd: int, va: int, count: int) -> int:
    """``read``."""
    file = process.files.file(descriptor(fd))
    return _read_into(process, file, va, count, file.read)


@system_call(67)
def pread64(process: Process, fd: int, va: int, count: int, offset: int) -> int:
    """``pread``."""
    if offset >> 63:
        raise Errno(errno.EINVAL)
    file = process.files.file(descriptor(fd))
    at = offset

    def next_part(length: int) -> bytes:
        nonlocal at
        data = file.read_at(at, length)
        at += len(data)
        return data

    return _read_into(process, file, va, count, next_part)


def _vectors(process: Process, va: int, count: int) -> list[tuple[int, int]]:
    if count > MOST_IOVECS:
        raise Errno(errno.EINVAL)
    words = process.user.unpack(f"{2 * count}Q", va)
    return list(zip(words[::2], words[1::2], strict=True))


@system_call(65)
def readv(process: Process, fd: int, va: int, count: int) -> int:
    """``readv``: stops at the first short part."""
    done = 0
    for base, length in _vectors(process, va, count):
        part = read(process, fd, base, length)
        done += part
        if part < length:
            break
    return done


def _write(process: Process, sink: Callable[[bytes], int], data: bytes) -> int:
    try:
        done = sink(data)
    except BrokenPipeError:
        if process.ignores(Signals.SIGPIPE):
            raise
        raise GuestSignal(Signals.SIGPIPE, "nobody reads its output") from None
    process.counters.bytes_written += done
    return done


@system_call(64)
def write(process: Process, fd: int, va: int, count: int) -> int:
    """``write``."""
    file = process.files.file(descriptor(fd))
    return _write(process, file.write, process.user.read(va, min(count, CHUNK)))


@system_call(68)
def pwrite64(process: Process, fd: int, va: int, count: int, offset: int) -> int:
    """``pwrite``."""
    if offset >> 63:
        raise Errno(errno.EINVAL)
    file = process.files.file(descriptor(fd))
    return _write(process, lambda data: file.write_at(offset, data), process.user.read(va, min(count, CHUNK)))


@system_call(66)
def writev(process: Process, fd: int, va: int, count: int) -> int:
    """``writev``: gathered first, so that it is one write."""
    file = process.files.file(descriptor(fd))
    data = b"".join(process.user.read(base, length) for base, length in _vectors(process, va, count))
    return _write(process, file.write, data)


@system_call(71)
def sendfile(process: Process, to: int, source: int, offset_at: int, count: int) -> int:
    """``sendfile``."""
    out, file = process.files.file(descriptor(to)), process.files.file(descriptor(source))
    count = min(count, CHUNK)
    if not offset_at:
        data = file.read(count)
    else:
        (offset,) = process.user.unpack("q", offset_at)
        data = file.read_at(offset, count)
        process.user.pack("q", offset_at, offset + len(data))
    process.counters.bytes_read += len(data)
    return _write(process, out.write, data)


@system_call(62)
def lseek(process: Process, fd: int, offset: int, whence: int) -> int:
    """``lseek``, SEEK_DATA and SEEK_HOLE too."""
    return process.files.file(descriptor(fd)).seek(signed(offset), whence)


@system_call(57)
def close(process: Process, fd: int) -> int:
    """``close``."""
    process.files.close(descriptor(fd))
    return 0


@system_call(436)
def close_range(process: Process, first: int, last: int, flags: int) -> int:
    """``close_range``, without flags."""
    if flags:
        raise Errno(errno.EINVAL)
    for fd in list(process.files):
        if first <= fd <= last:
            process.files.close(fd)
    return 0


@system_call(23)
def dup(process: Process, fd: int) -> int:
    """``dup``."""
    return process.files.add(process.files.file(descriptor(fd)))


@system_call(24)
def dup3(process: Process, fd: int, to: int, flags: int) -> int:
    """``dup3``."""
    if fd == to or flags & ~O_CLOEXEC:
        raise Errno(errno.EINVAL)
    file = process.files.file(descriptor(fd))
    process.files.replace(descriptor(to), file, close_on_exec=bool(flags))
    return to


@system_call(25)
def fcntl(process: Process, fd: int, command: int, value: int) -> int:
    """``fcntl``: descriptors and flags; locks are granted, there is nobody else."""
    entry = process.files.descriptor(descriptor(fd))
    if command in (F_DUPFD, F_DUPFD_CLOEXEC):
        return process.files.add(
            entry.file, close_on_exec=command == F_DUPFD_CLOEXEC, lowest=descriptor(value)
        )
    if command == F_GETFD:
        return int(entry.close_on_exec)
    if command == F_SETFD:
        entry.close_on_exec = bool(value & 1)
    elif command == F_GETFL:
        return entry.file.flags
    elif command == F_SETFL:
        entry.file.flags = entry.file.flags & ~SETTABLE_FLAGS | value & SETTABLE_FLAGS
    elif command not in (6, 7):
        raise Errno(errno.EINVAL)
    return 0


@system_call(29)
def ioctl(process: Process, fd: int, request: int, va: int) -> int:
    """``ioctl`` of terminals, where the host's stream is one."""
    file = process.files.file(descriptor(fd))
    if not isinstance(file, OpenStream) or not os.isatty(file.fd):
        raise Errno(errno.ENOTTY)
    if request == TIOCGWINSZ:
        process.user.write(va, host_fcntl.ioctl(file.fd, termios.TIOCGWINSZ, bytes(8)))
    elif request == TCGETS:
        process.user.write(va, _terminal_settings(file.fd))
    elif request == TIOCGPGRP:
        process.user.pack("i", va, 1)
    elif request not in (TCSETS, TCSETSW, TCSETSF):
        raise Errno(errno.EINVAL)
    return 0


def _terminal_settings(fd: int) -> bytes:
    """``struct termios`` of the kernel: four flag words, the line discipline, 19 control characters."""
    iflag, oflag, cflag, lflag, _, _, characters = termios.tcgetattr(fd)
    control = b"".join(each if isinstance(each, bytes) else bytes([each]) for each in characters[:19])
    return struct.pack("<4IB", iflag, oflag, cflag, lflag, 0) + control.ljust(19, b"\0")


@system_call(32)
def flock(process: Process, fd: int, operation: int) -> int:
    """``flock``: nobody else holds a lock."""
    process.files.file(descriptor(fd))
    return 0


@system_call(82)
def fsync(process: Process, fd: int) -> int:
    """``fsync``: nothing is kept."""
    process.files.file(descriptor(fd))
    return 0


@system_call(83)
def fdatasync(process: Process, fd: int) -> int:
    """``fdatasync``."""
    return fsync(process, fd)


@system_call(81)
def sync(process: Process) -> int:
    """``sync``."""
    return 0


@system_call(46)
def ftruncate(process: Process, fd: int, size: int) -> int:
    """``ftruncate``."""
    file = process.files.file(descriptor(fd))
    if not file.flags & 3 or size >> 63:
        raise Errno(errno.EINVAL)
    file.node.truncate(size)
    return 0


@system_call(47)
def fallocate(process: Process, fd: int, mode: int, offset: int, length: int) -> int:
    """``fallocate``, without flags: the size alone."""
    if mode:
        raise Errno(errno.EOPNOTSUPP)
    node = process.files.file(descriptor(fd)).node
    if offset + length > node.size:
        node.truncate(offset + length)
    return 0


@system_call(223)
def fadvise64(process: Process, fd: int, offset: int, length: int, advice: int) -> int:
    """``posix_fadvise``: taken note of, no more."""
    process.files.file(descriptor(fd))
    return 0


@system_call(285)
def copy_file_range(process: Process) -> int:
    """``copy_file_range``: programs fall back to reading and writing."""
    raise Errno(errno.ENOSYS)
