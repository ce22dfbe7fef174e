"""Where the bytes of a file come from, and reading any part of them at any time, from any thread.

Most files of a tree are files of the host: a path. Others are a part of one, as the members of an
archive are: a :class:`Content`. Who writes a tree reads both through :func:`read`, :func:`chunks` and
:func:`data_ranges`, and asks for no more than it writes at that moment.
"""

from __future__ import annotations

import os
import weakref
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from typing import Protocol, TypeAlias

from unikiln.errors import HostError

_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_CHUNK = 1 << 20


class Content(Protocol):
    """The bytes of a file that is no file of its own on the host; ``name`` is for messages."""

    @property
    def name(self) -> str: ...  # noqa: D102

    def read_at(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``, or as many as there are; from any thread."""

    def data_ranges(self, size: int) -> Iterator[tuple[int, int]]:
        """(start, end) of what is no hole in the first ``size`` bytes, ascending."""


Source: TypeAlias = str | bytes | Content | None
"""A host path, or a :class:`Content`; None has no bytes, or is all a hole."""


def read(source: Source, offset: int, length: int) -> bytes:
    """Exactly ``length`` bytes of ``source`` from ``offset``.

    :raises HostError: it cannot be read, or has become shorter
    """
    if source is None:
        return bytes(length)
    with _Naming(source):
        data = _read_some(source, offset, length)
    if len(data) < length:
        raise HostError(f"{name(source)}: became shorter while it was read", hint="build from a tree at rest")
    return data


def data_ranges(source: Source, size: int) -> Iterator[tuple[int, int]]:
    """(start, end) of what holds data in the first ``size`` bytes of ``source``, ascending.

    :raises HostError: it cannot be opened
    """
    if source is None:
        return
    with _Naming(source):
        if not isinstance(source, str | bytes):
            yield from source.data_ranges(size)
            return
        handle = os.open(source, _OPEN)
        try:
            yield from _ranges(handle, 0, size)
        finally:
            os.close(handle)


def chunks(source: Source, size: int) -> Iterator[bytes]:
    """The first ``size`` bytes of ``source``, in pieces of at most a megabyte.

    :raises HostError: it cannot be read, or has become shorter
    """
    for offset in range(0, size, _CHUNK):
        yield read(source, offset, min(_CHUNK, size - offset))


class OpenFile:
    """A descriptor that is closed when nothing holds this any more."""

    def __init__(self, handle: int) -> None:
        self.handle = handle
        weakref.finalize(self, os.close, handle)


def name(source: str | bytes | Content) -> str:
    """``source`` in a message."""
    return os.fsdecode(source) if isinstance(source, str | bytes) else source.name


@dataclass(frozen=True, slots=True)
class Extent:
    """``length`` bytes at ``offset`` of a file's content, that lie at ``start`` of what holds them."""

    offset: int
    start: int
    length: int


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A :class:`Content` in an open file of the host: ``extents`` of it, ascending, holes between them."""

    name: str
    file: OpenFile
    extents: Sequence[Extent]

    def read_at(self, offset: int, length: int) -> bytes:
        """As in :class:`Content`."""
        data = bytearray()
        first = bisect_right(self.extents, offset, key=attrgetter("offset")) - 1
        for extent in islice(self.extents, max(first, 0), None):
            begin = max(extent.offset, offset)
            end = min(extent.offset + extent.length, offset + length)
            if extent.offset >= offset + length:
                break
            if begin >= end:
                continue
            data += bytes(begin - offset - len(data))
            data += _pread(self.file.handle, extent.start + begin - extent.offset, end - begin)
            if len(data) < end - offset:
                return bytes(data)
        return bytes(data.ljust(length, b"\0"))

    def data_ranges(self, size: int) -> Iterator[tuple[int, int]]:
        """As in :class:`Content`; a hole of the file that holds it is one of it."""
        for extent in self.extents:
            shift = extent.offset - extent.start
            for start, end in _ranges(self.file.handle, extent.start, extent.start + extent.length):
                yield start + shift, min(end + shift, size)


def _read_some(source: str | bytes | Content, offset: int, length: int) -> bytes:
    if not isinstance(source, str | bytes):
        return source.read_at(offset, length)
    handle = os.open(source, _OPEN)
    try:
        return _pread(handle, offset, length)
    finally:
        os.close(handle)


def _pread(handle: int, offset: int, length: int) -> bytes:
    """``length`` bytes, or fewer at the end of the file: one call may give fewer, as of 2 GiB and more."""
    data = os.pread(handle, length, offset)
    while 0 < len(data) < length:
        more = os.pread(handle, length - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data


def _ranges(handle: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """What holds data between ``start`` and ``end``, as the host says (``lseek`` with SEEK_DATA)."""
    while start < end:
        try:
            start = os.lseek(handle, start, os.SEEK_DATA)
        except OSError:  # no data from there on
            return
        if start >= end:
            return
        stop = min(os.lseek(handle, start, os.SEEK_HOLE), end)
        yield start, stop
        start = stop


class _Naming:
    """Turns the host's refusal into a :class:`HostError` that names the file; cheap enough for every read."""

    __slots__ = ("_source",)

    def __init__(self, source: str | bytes | Content) -> None:
        self._source = source

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise HostError(f"{name(self._source)}: {error.strerror}") from error
