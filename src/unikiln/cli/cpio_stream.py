"""Archives that verbs of ``unikiln cpio`` read and write: a file, or ``-`` for standard input and output."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from unikiln.errors import HostError, UsageError

ArchiveArgument = Annotated[
    str, typer.Argument(metavar="ARCHIVE", help="A newc archive; - is standard input.")
]
_STANDARD = "-"


@contextmanager
def reading(archive: str) -> Iterator[BinaryIO]:
    """The archive, open.

    :raises HostError: it cannot be opened
    """
    if archive == _STANDARD:
        yield sys.stdin.buffer
        return
    try:
        file = Path(archive).open("rb")  # noqa: SIM115  closed below
    except OSError as error:
        raise HostError(f"{archive}: {error.strerror}") from error
    with file:
        yield file


@contextmanager
def writing(archive: str) -> Iterator[BinaryIO]:
    """A new archive, at its place when the block is done; on standard output at once.

    :raises UsageError: standard output is a terminal
    """
    from unikiln.base.atomic import replacing

    if archive != _STANDARD:
        with replacing(archive) as beside, beside.open("wb") as file:
            yield file
        return
    if sys.stdout.isatty():
        raise UsageError("an archive is nothing for a terminal", hint="give --output, or send it elsewhere")
    yield sys.stdout.buffer
