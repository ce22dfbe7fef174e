"""A folder of the host that no path leads out of: links are followed as if the folder were the root.

Every step is relative to an open directory and follows no link by itself, so that nobody can plant one
between the look and the step. (Linux has ``openat2`` and ``RESOLVE_IN_ROOT`` for this; Python has not.)
"""

from __future__ import annotations

import os
from pathlib import Path

from unikiln.errors import HostError

Names = tuple[bytes, ...]
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_LINKS = 40
"""As many links as Linux follows before it calls them a loop."""


class Inside:
    """The folder ``top``, open; one directory below it stays open, as most steps go to the same one."""

    def __init__(self, top: Path) -> None:
        try:
            self._top = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise HostError(f"{top}: {error.strerror}") from error
        self._asked: Names = ()
        self._real: Names = ()
        self._fd = os.dup(self._top)

    def close(self) -> None:
        """Close what is open."""
        os.close(self._fd)
        os.close(self._top)

    def forget(self) -> None:
        """Look again next time: a name on the way may stand for something else now."""
        self._go((), os.dup(self._top))

    def open(self, names: Names, *, make: bool = True) -> tuple[int, Names]:
        """The directory at ``names``, open until the next call, and its names without links on the way.

        :param make: whether directories that are not there are made, with mode 0755
        :raises HostError: too many links
        :raises OSError: something on the way is no directory, or is not there
        """
        if names != self._asked:
            self._descend(names, make=make)
            self._asked = names
        return self._fd, self._real

    def _go(self, real: Names, fd: int) -> None:
        os.close(self._fd)
        self._asked, self._real, self._fd = real, real, fd

    def _descend(self, names: Names, *, make: bool) -> None:
        self.forget()
        left = list(reversed(names))
        links = 0
        while left:
            name = left.pop()
            if name == b"..":
                self._reopen(self._real[:-1])
                continue
            target = self._step(name, make=make)
            if target is None:
                continue
            links += 1
            if links > _MOST_LINKS:
                raise HostError(f"{os.fsdecode(b'/'.join(names))}: goes through a loop of symbolic links")
            if target.startswith(b"/"):
                self.forget()
            left += [part for part in reversed(target.split(b"/")) if part not in (b"", b".")]

    def _step(self, name: bytes, *, make: bool) -> bytes | None:
        """Go to the directory ``name``; the target, and no step, if it is a link."""
        try:
            fd = os.open(name, _DIRECTORY, dir_fd=self._fd)
        except FileNotFoundError:
            if not make:
                raise
            os.mkdir(name, 0o755, dir_fd=self._fd)
            fd = os.open(name, _DIRECTORY, dir_fd=self._fd)
        except OSError as error:
            try:
                return os.readlink(name, dir_fd=self._fd)
            except OSError:
                raise error from None
        self._go((*self._real, name), fd)
        return None

    def _reopen(self, real: Names) -> None:
        self.forget()
        for name in real:
            self._go((*self._real, name), os.open(name, _DIRECTORY, dir_fd=self._fd))
