"""An archive into a folder, whole or not at all.

A folder that is not there, or is empty, is filled beside its place and renamed. One that has files gets
more only after the archive was kept in a file and found to be whole.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from unikiln.errors import HostError, UnikilnError
from unikiln.image.cpio.folder import FolderReceiver
from unikiln.image.cpio.newc import Header
from unikiln.image.cpio.reader import Stream
from unikiln.image.cpio.receive import Names, Received, receive


def _ignore(_header: Header) -> None:
    """Nobody wants to know."""


def into_folder(
    stream: Stream, folder: Path, on_entry: Callable[[Header], None] = _ignore
) -> tuple[Received, list[str]]:
    """Expand ``stream`` below ``folder``; what arrived, and the files that this host would not have.

    :raises CpioError: the archive is damaged, ends early or lies; the folder is then as it was
    :raises HostError: the host refuses to write
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if _is_fresh(folder):
            with _beside(folder) as staging:
                return _expand(stream, staging, on_entry)
        with tempfile.TemporaryFile(dir=folder) as kept:
            receive(_Keeping(stream, kept.write), _Nowhere(), on_entry)
            kept.seek(0)
            return _expand(kept, folder)
    except OSError as error:
        if isinstance(error, UnikilnError):
            raise
        raise HostError(f"{os.fsdecode(error.filename or folder)}: {error.strerror}") from error


def _is_fresh(folder: Path) -> bool:
    """Whether another folder can take its place."""
    if not os.path.lexists(folder):
        return True
    replaceable = not folder.is_symlink() and not folder.is_mount() and os.access(folder.parent, os.W_OK)
    return replaceable and not any(folder.iterdir())


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """A new folder that becomes ``folder`` if the block succeeds, and else is removed."""
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        _dress(staging, folder)
        yield staging
        os.rename(staging, folder)  # noqa: PTH104  pathlib's makes the same call
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def _dress(staging: Path, folder: Path) -> None:
    """Owner and mode of the ``folder`` that it replaces, or those of any new one."""
    if folder.exists():
        status = folder.stat()
        if os.geteuid() == 0:
            os.chown(staging, status.st_uid, status.st_gid)
        staging.chmod(status.st_mode & 0o7777)
    else:
        umask = os.umask(0)
        os.umask(umask)
        staging.chmod(0o777 & ~umask)


def _expand(
    stream: Stream, folder: Path, on_entry: Callable[[Header], None] = _ignore
) -> tuple[Received, list[str]]:
    with closing(FolderReceiver(folder)) as receiver:
        return receive(stream, receiver, on_entry), receiver.failures


class _Keeping:
    """A stream whose bytes are written somewhere as they are read."""

    def __init__(self, stream: Stream, write: Callable[[bytes], object]) -> None:
        self._stream = stream
        self._write = write

    def read(self, size: int, /) -> bytes:
        data = self._stream.read(size)
        self._write(data)
        return data


class _Nowhere:
    """Receives, and keeps nothing: what is checked on the way is what counts."""

    def directory(self, names: Names, header: Header) -> None: ...

    def file(self, names: Names, header: Header, content: Iterator[bytes]) -> bool:
        return self._drain(content)

    def symlink(self, names: Names, header: Header, target: bytes) -> bool:
        return True

    def special(self, names: Names, header: Header) -> bool:
        return True

    def link(self, names: Names, earlier: bool) -> None: ...

    def fill(self, earlier: bool, content: Iterator[bytes]) -> None:
        self._drain(content)

    def finish(self) -> None: ...

    @staticmethod
    def _drain(content: Iterator[bytes]) -> bool:
        for _ in content:
            pass
        return True
