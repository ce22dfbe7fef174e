"""The table of file descriptors."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass

from unikiln.machine.events import Errno
from unikiln.machine.vfs.openfile import OpenFile, OpenStream

MOST_DESCRIPTORS = 1024
O_RDWR = 2


@dataclass(slots=True)
class Descriptor:
    """A number's open file and whether ``execve`` closes it."""

    file: OpenFile
    close_on_exec: bool = False


class DescriptorTable:
    """Small numbers to open files; 0, 1 and 2 are the host's standard streams at first."""

    def __init__(self) -> None:
        self._open = {fd: Descriptor(OpenStream(fd, O_RDWR)) for fd in range(3)}

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self._open))

    def descriptor(self, fd: int) -> Descriptor:
        """What ``fd`` refers to.

        :raises Errno: EBADF
        """
        try:
            return self._open[fd]
        except KeyError:
            raise Errno(errno.EBADF) from None

    def file(self, fd: int) -> OpenFile:
        """The open file of ``fd``."""
        return self.descriptor(fd).file

    def add(self, file: OpenFile, *, close_on_exec: bool = False, lowest: int = 0) -> int:
        """The lowest free number from ``lowest``.

        :raises Errno: EMFILE
        """
        fd = lowest
        while fd in self._open:
            fd += 1
        if fd >= MOST_DESCRIPTORS:
            raise Errno(errno.EMFILE)
        self._open[fd] = Descriptor(file, close_on_exec)
        return fd

    def replace(self, fd: int, file: OpenFile, *, close_on_exec: bool) -> None:
        """Make ``fd`` refer to ``file``, whatever it was."""
        if not 0 <= fd < MOST_DESCRIPTORS:
            raise Errno(errno.EBADF)
        self._open[fd] = Descriptor(file, close_on_exec)

    def close(self, fd: int) -> None:
        """Free the number."""
        self.descriptor(fd)
        del self._open[fd]

    def close_for_exec(self) -> None:
        """Close what is marked so."""
        for fd in [fd for fd, each in self._open.items() if each.close_on_exec]:
            del self._open[fd]
