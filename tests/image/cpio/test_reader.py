"""Archives as they come in: a byte at a time, without an end, and larger than memory."""

from __future__ import annotations

import io
import stat
from collections.abc import Iterator

import pytest

from tests.image.cpio.archives import archive, entry, file, symlink
from unikiln.errors import CpioError
from unikiln.image.cpio.newc import FIELD_MAX, Header
from unikiln.image.cpio.reader import PIECE, Entry, entries


class Drops:
    """Gives no more than ``most`` bytes at a time, and remembers how many were asked for at once."""

    def __init__(self, data: bytes, most: int) -> None:
        self._stream = io.BytesIO(data)
        self._most = most
        self.asked = 0

    def read(self, size: int, /) -> bytes:
        self.asked = max(self.asked, size)
        return self._stream.read(min(size, self._most))


class Endless:
    """A file of nearly 4 GiB that never comes to its end."""

    def __init__(self) -> None:
        self._head = io.BytesIO(Header(b"huge", stat.S_IFREG | 0o644, size=FIELD_MAX).pack())
        self.given = 0
        self.largest = 0

    def read(self, size: int, /) -> bytes:
        self.largest = max(self.largest, size)
        data = self._head.read(size) or bytes(size)
        self.given += len(data)
        return data


SAMPLE = archive(file(b"a", b"first"), symlink(b"l", b"target"), file(b"b", b"second file"), file(b"empty"))


def contents(found: Iterator[Entry]) -> list[tuple[bytes, bytes]]:
    return [(each.header.name, b"".join(each.content())) for each in found]


@pytest.mark.parametrize("most", [1, 2, 3, 7, 110, 1 << 20])
def test_short_reads(most: int) -> None:
    assert contents(entries(Drops(SAMPLE, most))) == [
        (b"a", b"first"), (b"l", b"target"), (b"b", b"second file"), (b"empty", b""),
    ]  # fmt: skip


def test_what_is_not_read_is_skipped() -> None:
    names = [each.header.name for each in entries(io.BytesIO(SAMPLE))]
    assert names == [b"a", b"l", b"b", b"empty"]


def test_what_is_read_in_part_is_skipped_to_its_end() -> None:
    data = archive(file(b"large", bytes(3 * PIECE)), file(b"next", b"here"))
    found = entries(io.BytesIO(data))
    large = next(found)
    assert len(next(large.content())) == PIECE
    assert b"".join(next(found).content()) == b"here"


def test_no_file_is_in_memory() -> None:
    stream = Endless()
    pieces = next(entries(stream)).content()
    for _ in range(64):
        assert len(next(pieces)) == PIECE
    assert stream.largest == PIECE
    assert stream.given <= 65 * PIECE + 4096


def test_a_size_that_lies_takes_no_memory() -> None:
    stream = Drops(Header(b"f", stat.S_IFREG, size=FIELD_MAX).pack() + b"short", 1 << 30)
    with pytest.raises(CpioError, match=f"ends {FIELD_MAX - 5} bytes before the content does"):
        list(next(entries(stream)).content())
    assert stream.asked == PIECE


def test_nothing_at_all() -> None:
    with pytest.raises(CpioError, match="at its start: the archive ends without a trailer"):
        list(entries(io.BytesIO(b"")))


def test_an_empty_archive() -> None:
    assert not list(entries(io.BytesIO(archive())))


def test_padding_may_be_anything() -> None:
    """GNU cpio and others leave what was in their buffers."""
    dirty = bytearray(archive(file(b"ab", b"12345")))
    name_end = 110 + 3
    dirty[name_end : name_end + 3] = b"???"
    content_end = name_end + 3 + 5
    dirty[content_end : content_end + 3] = b"!!!"
    assert contents(entries(io.BytesIO(bytes(dirty)))) == [(b"ab", b"12345")]


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_padding_that_is_cut_off(kept: int) -> None:
    data = file(b"ab", b"12345")
    with pytest.raises(CpioError, match=r"in ab: the archive ends within the padding of a content"):
        list(entries(io.BytesIO(data[: len(data) - 3 + kept])))


def test_hexadecimal_of_either_case() -> None:
    data = entry(Header(b"f", stat.S_IFREG | 0o644, uid=0xABCDEF), b"x")
    upper = data[:6] + data[6:110].upper() + data[110:]
    (found,) = [each.header for each in entries(io.BytesIO(upper + archive()))]
    assert (found.uid, found.size) == (0xABCDEF, 1)
