"""Parts of files: reading any of them, and where they have holes."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unikiln.base.source import Extent, OpenFile, Part, Source, chunks, data_ranges, name, read
from unikiln.errors import HostError

MIB = 1 << 20


def opened(path: Path) -> OpenFile:
    return OpenFile(os.open(path, os.O_RDONLY))


@given(
    lengths=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=6),
    offset=st.integers(0, 300),
    length=st.integers(0, 300),
)
def test_any_stretch_of_a_part(
    tmp_path: Path, lengths: list[tuple[int, int]], offset: int, length: int
) -> None:
    """Each pair is a hole and the data after it; data lie one after the other in the file, from byte 3."""
    expected, extents, data = b"", [], b"xyz"
    for number, (hole, size) in enumerate(lengths):
        expected += bytes(hole)
        piece = bytes([65 + number]) * size
        if size:
            extents.append(Extent(len(expected), len(data), size))
        expected += piece
        data += piece
    (tmp_path / "file").write_bytes(data)
    part = Part("part", opened(tmp_path / "file"), extents)
    wanted = expected.ljust(700, b"\0")[offset : offset + length]
    assert read(part, offset, length) == wanted
    covered = [position for start, end in data_ranges(part, 700) for position in range(start, end)]
    assert covered == [at for extent in extents for at in range(extent.offset, extent.offset + extent.length)]


def test_holes_of_the_file_are_holes_of_the_part(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.truncate(4 * MIB)
        file.seek(2 * MIB)
        file.write(b"data")
    part = Part("part", opened(tmp_path / "file"), [Extent(0, MIB, 3 * MIB)])
    ((start, end),) = data_ranges(part, 3 * MIB)
    assert start <= MIB < end < 2 * MIB
    assert list(data_ranges(str(tmp_path / "file"), 4 * MIB)) == [(start + MIB, end + MIB)]


def test_content_in_pieces(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"ab" * MIB)
    pieces = list(chunks(str(tmp_path / "file"), 2 * MIB - 1))
    assert [len(piece) for piece in pieces] == [MIB, MIB - 1]
    assert b"".join(pieces) == (b"ab" * MIB)[:-1]
    assert list(chunks(None, 3)) == [bytes(3)]
    assert list(data_ranges(None, 3)) == []
    assert list(chunks(None, 0)) == []


def test_the_file_is_closed_with_the_last_part(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"ab")
    file = opened(tmp_path / "file")
    handle = file.handle
    parts = [Part("p", file, [Extent(0, at, 1)]) for at in range(2)]
    del file
    gc.collect()
    assert [read(part, 0, 1) for part in parts] == [b"a", b"b"]
    del parts
    gc.collect()
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(handle)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(b"ab")
    cases: list[tuple[Source, str]] = [
        (str(tmp_path / "absent"), "absent: No such file"),
        (os.fsencode(tmp_path), "Is a directory"),
        (str(tmp_path / "short"), "short: became shorter"),
        (Part("my part", opened(tmp_path / "short"), [Extent(0, 1, 5)]), "my part: became shorter"),
    ]
    for source, said in cases:
        with pytest.raises(HostError, match=said):
            read(source, 0, 5)
    with pytest.raises(HostError, match="absent: No such file"):
        list(data_ranges(str(tmp_path / "absent"), 1))
    assert name(b"/a\xff") == os.fsdecode(b"/a\xff")
