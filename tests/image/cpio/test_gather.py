"""The spool, and what trees make of what waits in it."""

from __future__ import annotations

import errno
import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.image.cpio.archives import archive, file, gathered
from unikiln.base.source import chunks, data_ranges
from unikiln.errors import CpioError, HostError
from unikiln.image.cpio.gather import Spool
from unikiln.image.cpio.to_image import into_image

PIECE = 1 << 18


def pieces(*contents: bytes) -> Iterator[bytes]:
    return iter(contents)


def test_content_comes_back(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    kept = [spool.put(str(n), pieces(bytes([n + 1]) * 1000, b"tail")) for n in range(3)]
    for number, (part, size) in enumerate(kept):
        assert size == 1004
        assert b"".join(chunks(part, size)) == bytes([number + 1]) * 1000 + b"tail"


def test_nobody_sees_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.put("x", pieces(b"content"))
    assert not list(tmp_path.iterdir())


def test_zeros_take_no_space(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    part, size = spool.put("x", pieces(b"a" * PIECE, bytes(PIECE), bytes(PIECE), b"b" * PIECE, bytes(PIECE)))
    assert size == 5 * PIECE
    assert list(data_ranges(part, size)) == [(0, PIECE), (3 * PIECE, 4 * PIECE)]
    assert b"".join(chunks(part, size)) == b"a" * PIECE + bytes(2 * PIECE) + b"b" * PIECE + bytes(PIECE)
    assert spool.put("zeros", pieces(bytes(PIECE))) == (None, PIECE)
    assert spool.put("nothing", pieces()) == (None, 0)


def test_neighbours_are_one_extent(tmp_path: Path) -> None:
    part, _ = Spool(tmp_path).put("x", pieces(b"a" * PIECE, b"b" * PIECE, b"c"))
    assert part is not None
    assert len(part.extents) == 1


def test_the_file_lives_as_long_as_its_parts(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    spool = Spool(tmp_path)
    part, size = spool.put("x", pieces(b"content"))
    del spool
    gc.collect()
    assert b"".join(chunks(part, size)) == b"content"
    del part
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    spool = Spool(tmp_path)
    monkeypatch.setattr("unikiln.image.cpio.gather.os.pwrite", full)
    with pytest.raises(HostError, match="No space left on device"):
        spool.put("x", pieces(b"content"))


def test_no_folder_for_it(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="none: No such file"):
        Spool(tmp_path / "none")


def test_later_content_replaces_earlier(tmp_path: Path) -> None:
    """Of several names of a file that all bring content, the last one's counts, as for Linux."""
    named = [file(name, text, inode=1, nlink=2) for name, text in ((b"a", b"first"), (b"b", b"2"))]
    root = gathered(archive(*named), tmp_path)
    node = root.children[b"a"]
    assert node is root.children[b"b"]
    assert b"".join(chunks(node.source, node.size)) == b"2"


def test_half_an_archive_is_no_image(tmp_path: Path) -> None:
    import io

    data = archive(*(file(b"%d" % number, b"x" * 900) for number in range(8)))
    for length in range(0, len(data) - 4, 1000):
        with pytest.raises(CpioError):
            into_image(io.BytesIO(data[:length]), tmp_path / "disk.raw", b"/", lambda header: None)
        assert not list(tmp_path.iterdir())
