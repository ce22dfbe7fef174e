"""Files that may be compressed: what they hold, in a descriptor that any part can be read from."""

from __future__ import annotations

import bz2
import gzip
import importlib
import lzma
import os
import shutil
import stat
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, TypeAlias

from unikiln.base.source import OpenFile
from unikiln.errors import HostError, ImageError, UnsupportedError

Opener: TypeAlias = Callable[[IO[bytes]], Any]

_PIECE = 1 << 20
_HOLE = 1 << 16
_ZSTD_INPUT = 1 << 11
"""So little because each byte may become 32 KiB, and all that comes of one call comes at once."""
_DAMAGED = (EOFError, zlib.error, lzma.LZMAError, ValueError, RuntimeError)
"""What decompressors raise; ``RuntimeError`` is of lz4."""


def open_plain(path: Path) -> OpenFile:
    """What is in the file ``path``, decompressed; ``-`` is standard input.

    What is compressed, or comes from a pipe, is first copied to a temporary file, which nobody else sees
    and which is gone with the descriptor.

    :raises HostError: the file cannot be read, or the temporary one not written
    :raises ImageError: it is damaged
    :raises UnsupportedError: there is nothing to decompress it with
    """
    with _naming(path):
        handle = os.dup(0) if path == Path("-") else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        file = OpenFile(handle)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            with open(handle, "rb", closefd=False) as stream:
                file = _spool(stream)
        opener = _opener(os.pread(file.handle, _LONGEST_MAGIC, 0))
        if opener is None:
            return file
        with open(file.handle, "rb", closefd=False) as stream, opener(stream) as plain:
            stream.seek(0)
            return _spool(plain)


def is_compressed(start: bytes) -> bool:
    """Whether a file that begins with ``start`` is compressed."""
    return _opener(start) is not None


def _opener(start: bytes) -> Opener | None:
    for magic, opener in _OPENERS:
        if start.startswith(magic):
            return opener
    return None


def _spool(stream: IO[bytes]) -> OpenFile:
    """All of ``stream`` in a temporary file, zeros as holes."""
    with tempfile.TemporaryFile(prefix="unikiln-") as spool:
        while piece := stream.read(_PIECE):
            for start in range(0, len(piece), _HOLE):
                _write_sparse(spool, piece[start : start + _HOLE])
        spool.truncate()
        spool.flush()
        return OpenFile(os.dup(spool.fileno()))


def _write_sparse(file: IO[bytes], data: bytes) -> None:
    if data.count(0) == len(data):
        file.seek(len(data), os.SEEK_CUR)
    else:
        file.write(data)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except gzip.BadGzipFile as error:
        raise ImageError(f"{path} is damaged: {error}") from error
    except OSError as error:
        if error.errno is None:  # what decompressors raise for bytes they do not understand
            raise ImageError(f"{path} is damaged: {error}") from error
        raise HostError(f"{path}: {error.strerror}", hint="is there room for temporary files?") from error
    except _DAMAGED as error:
        raise ImageError(f"{path} is damaged: {error}") from error


def _open_lz4(stream: IO[bytes]) -> Any:  # noqa: ANN401
    return importlib.import_module("lz4.frame").open(stream)


def _open_zstd(stream: IO[bytes]) -> Any:  # noqa: ANN401
    """By the package ``zstandard`` if it is there, else by the program ``zstd``."""
    if find_spec("zstandard") is not None:
        return _ZstdFrames(stream)
    program = shutil.which("zstd")
    if program is None:
        raise UnsupportedError(
            "there is nothing to decompress zstd with", hint="install zstd, or the Python package zstandard"
        )
    return _run_zstd(program, stream)


class _ZstdFrames:
    """A file of zstd frames, read once; unlike ``zstandard``'s own reader it tells when the last is cut."""

    def __init__(self, stream: IO[bytes]) -> None:
        module: Any = importlib.import_module("zstandard")
        self._error = module.ZstdError
        self._new = module.ZstdDecompressor().decompressobj
        self._frame = self._new()
        self._stream = stream

    def __enter__(self) -> _ZstdFrames:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is held."""

    def read(self, size: int) -> bytes:
        """Some of what comes next, of any length; nothing at the end."""
        plain = b""
        while not plain:
            data = self._frame.unused_data or self._stream.read(min(size, _ZSTD_INPUT))
            if self._frame.eof:
                if not data:
                    return b""
                self._frame = self._new()
            elif not data:
                raise EOFError("the last frame is cut")
            try:
                plain = self._frame.decompress(data)
            except self._error as error:
                raise ValueError(str(error)) from error
        return plain


@contextmanager
def _run_zstd(program: str, stream: IO[bytes]) -> Iterator[IO[bytes]]:
    """What the program makes of ``stream``, of which only the descriptor is read."""
    os.lseek(stream.fileno(), 0, os.SEEK_SET)
    with subprocess.Popen(
        [program, "-dcq"], stdin=stream, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        yield process.stdout
        said = process.stderr.read().decode(errors="replace").strip()
    if process.returncode:
        raise ValueError(said)


_OPENERS: tuple[tuple[bytes, Opener], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\0", lzma.open),
    (b"\x5d\0\0", lzma.open),
    (b"\x28\xb5\x2f\xfd", _open_zstd),
    (b"\x04\x22\x4d\x18", _open_lz4),
)
"""What compressed files begin with, and what decompresses them."""

_LONGEST_MAGIC = 6
