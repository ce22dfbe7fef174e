"""An archive as it comes in, from a file, a pipe or a socket, an entry at a time.

Nothing is believed: a header that is none, a name that is not as long as it says, content that ends
early are errors, and no more than a piece of a file is in memory. Where a name leads is for the receiver.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

from unikiln.errors import CpioError
from unikiln.image.cpio import newc
from unikiln.image.cpio.newc import Header

PIECE = 1 << 18
"""Bytes of content at a time."""


class Stream(Protocol):
    """What an archive is read from."""

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes; none at the end."""


@dataclass(slots=True)
class Entry:
    """An entry whose content may still be read, until the next one is asked for."""

    header: Header
    _stream: Stream
    _left: int = field(init=False)

    def __post_init__(self) -> None:
        self._left = self.header.size

    def content(self) -> Iterator[bytes]:
        """What is left of the content, in pieces.

        :raises CpioError: the archive ends before it
        """
        while self._left:
            piece = self._stream.read(min(self._left, PIECE))
            if not piece:
                raise CpioError(f"the archive ends {self._left} bytes before the content does")
            self._left -= len(piece)
            yield piece

    def skip(self) -> None:
        """Read the rest of the content, and the padding after it."""
        for _ in self.content():
            pass
        _padding(self._stream, self.header.size, "content")


def entries(stream: Stream) -> Iterator[Entry]:
    """The entries before the trailer; what the caller does not read of one is skipped.

    :raises CpioError: what is wrong with the archive, and in which entry
    """
    name = b""
    while True:
        try:
            header = _header(stream)
        except CpioError as error:
            where = f"after {_shown(name)}" if name else "at its start"
            raise CpioError(f"cpio archive, {where}: {error.message}", hint=error.hint) from None
        if header.is_trailer:
            return
        name = header.name
        entry = Entry(header, stream)
        try:
            yield entry
            entry.skip()
        except CpioError as error:
            raise placed(error, name) from None


def placed(error: CpioError, name: bytes) -> CpioError:
    """The error, and in which entry it is."""
    return CpioError(f"cpio archive, in {_shown(name)}: {error.message}", hint=error.hint)


def _shown(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")


def _header(stream: Stream) -> Header:
    header, length = newc.parse(_exactly(stream, newc.HEADER_SIZE))
    name = _exactly(stream, length)
    if name.find(b"\0") != length - 1:
        raise CpioError(f"a name that is not as long as the header says ({length - 1} bytes)")
    _padding(stream, newc.HEADER_SIZE + length, "name")
    header = replace(header, name=name[:-1])
    if header.is_trailer and header.size:
        raise CpioError("a trailer with content")
    return header


def _padding(stream: Stream, length: int, what: str) -> None:
    """Read what fills ``length`` bytes up; writers leave garbage there, so only its length counts."""
    count = len(newc.padding(length))
    if count and len(_some(stream, count)) < count:
        raise CpioError(f"the archive ends within the padding of a {what}")


def _exactly(stream: Stream, count: int) -> bytes:
    data = _some(stream, count)
    if len(data) < count:
        raise CpioError("the archive ends without a trailer", hint="it was cut off")
    return data


def _some(stream: Stream, count: int) -> bytes:
    """``count`` bytes, or fewer at the end."""
    data = stream.read(count)
    while 0 < len(data) < count:
        more = stream.read(count - len(data))
        if not more:
            break
        data += more
    return data
