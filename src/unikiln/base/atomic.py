"""Output that is whole or absent: written beside its place, then renamed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unikiln.errors import HostError, UnikilnError


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give the path of a new temporary file beside ``path``; rename it there if the block succeeds.

    Whatever ends the block early, Ctrl-C included, removes the temporary file and leaves what
    stood at ``path`` as it was. The result has the mode that a plain ``open`` would give it.
    """
    target = Path(path)
    temporary = _temporary_beside(target)
    try:
        yield temporary
        os.replace(temporary, target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, UnikilnError):
            raise HostError(f"{error.filename or target}: {error.strerror}") from error
        raise


def _temporary_beside(target: Path) -> Path:
    if target.is_dir():
        raise HostError(f"{target}: is a directory", hint="name a file")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise HostError(f"{target}: {error.strerror}") from error
    umask = os.umask(0)
    os.umask(umask)
    os.fchmod(handle, 0o666 & ~umask)
    os.close(handle)
    return Path(name)
