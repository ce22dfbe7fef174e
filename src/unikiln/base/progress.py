"""Progress of long work, told to whoever wants to show it.

A layer that works long takes a :class:`Progress` and calls :meth:`~Progress.advance`; it does not
know whether that is a bar on a terminal or nothing. :data:`QUIET` is nothing.
"""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """What long work reports to."""

    def total(self, files: int, size: int) -> None:
        """The work is ``files`` files and ``size`` bytes long."""

    def advance(self, files: int, size: int) -> None:
        """``files`` more files and ``size`` more bytes are done."""


class _Quiet:
    def total(self, files: int, size: int) -> None:
        """Say nothing."""

    def advance(self, files: int, size: int) -> None:
        """Say nothing."""


QUIET: Progress = _Quiet()
