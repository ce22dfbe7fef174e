"""The progress bar: files, bytes and rate, on a terminal only."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from unikiln.base.progress import QUIET, Progress

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

_REDRAW_SECONDS = 0.1


@contextmanager
def progress_bar(title: str, *, quiet: bool) -> Iterator[Progress]:
    """A bar on standard error while the block runs, or nothing if that is no terminal or ``quiet``."""
    if quiet or not sys.stderr.isatty():
        yield QUIET
        return
    with _new_bar() as rich:
        bar = _Bar(rich, title)
        yield bar
        bar.draw()


def _new_bar() -> RichProgress:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[counted]}"),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        console=Console(stderr=True),
        transient=True,
    )


class _Bar:
    """Adds up what it is told and draws ten times a second: drawing costs more than a small file does."""

    def __init__(self, rich: RichProgress, title: str) -> None:
        self._rich = rich
        self._task = rich.add_task(title, total=None, counted="")
        self._files = self._all_files = self._size = 0
        self._drawn = 0.0

    def total(self, files: int, size: int) -> None:
        """The work is ``files`` files and ``size`` bytes long."""
        self._all_files = files
        self._rich.update(self._task, total=size)

    def advance(self, files: int, size: int) -> None:
        """``files`` more files and ``size`` more bytes are done."""
        self._files += files
        self._size += size
        now = time.monotonic()
        if now - self._drawn >= _REDRAW_SECONDS:
            self._drawn = now
            self.draw()

    def draw(self) -> None:
        """Show where the work is."""
        self._rich.update(self._task, completed=self._size, counted=self._counted())

    def _counted(self) -> str:
        """How many files are done; work that counts bytes only says nothing about files."""
        if not self._all_files:
            return f"{self._files:,} files" if self._files else ""
        # The writer also tells of directories that are in no source, such as mount points.
        return f"{min(self._files, self._all_files):,}/{self._all_files:,} files"
