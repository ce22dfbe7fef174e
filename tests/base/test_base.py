from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unikiln.base import trace
from unikiln.base.atomic import replacing
from unikiln.base.device import FileDevice, MemoryDevice, SliceDevice
from unikiln.base.progress import QUIET
from unikiln.base.size import format_size, parse_size, round_up
from unikiln.base.tree import NO_XATTRS, Node, directory, totals, walk
from unikiln.errors import HostError, ImageError, NoSpaceError, PathNotFoundError, UsageError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("512", 512),
        ("128K", 128 << 10),
        ("1m", 1 << 20),
        ("1.5G", 3 << 29),
        ("2TiB", 2 << 40),
        (" 7 KB ", 7168),
    ],
)
def test_sizes_are_parsed(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "K", "-1", "1KK", "1.K", "0x10", "one"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="not a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (1023, "1023B"), (1024, "1K"), (1536, "1.50K"), (10 << 20, "10M"), (1 << 62, "4E")],
)
def test_sizes_are_printed(size: int, text: str) -> None:
    assert format_size(size) == text


@given(st.integers(0, 1 << 70), st.integers(1, 1 << 40))
def test_rounding_up(value: int, multiple: int) -> None:
    rounded = round_up(value, multiple)
    assert rounded % multiple == 0
    assert 0 <= rounded - value < multiple


def test_output_replaces_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "image"
    target.write_text("old")
    with replacing(target) as beside:
        beside.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["image"]
    assert stat.S_IMODE(target.stat().st_mode) & 0o600 == 0o600


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), RuntimeError(), OSError(28, "full"), NoSpaceError("x")]
)
def test_interrupted_output_leaves_nothing(error: BaseException, tmp_path: Path) -> None:
    (tmp_path / "image").write_text("old")
    expected = HostError if type(error) is OSError else type(error)
    with pytest.raises(expected), replacing(tmp_path / "image") as beside:
        beside.write_text("half")
        raise error
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("image", "old")]


def test_output_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="is a directory"), replacing(tmp_path):
        pass
    with pytest.raises(HostError, match="No such file"), replacing(tmp_path / "no" / "image"):
        pass


def test_file_devices(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    with FileDevice(path, writable=True) as device:
        device.write_at(8, b"abcd")
        assert (device.size, device.read_at(0, 12)) == (12, b"01234567abcd")
        device.truncate(4)
        device.flush()
        with pytest.raises(ImageError, match="outside"):
            device.read_at(0, 5)
    device.close()
    for wrong in (tmp_path, tmp_path / "absent"):
        with pytest.raises(HostError):
            FileDevice(wrong)


def test_slices_stay_inside() -> None:
    below = MemoryDevice(bytes(100))
    part = SliceDevice(below, 10, 20)
    part.write_at(18, b"xy")
    assert below.read_at(28, 2) == b"xy"
    for offset, length in ((19, 2), (-1, 1), (0, 21)):
        with pytest.raises(ImageError):
            part.read_at(offset, length)
        with pytest.raises(ImageError):
            part.write_at(offset, bytes(length))


def test_tracepoints_tell_only_whoever_listens() -> None:
    heard: list[str] = []
    point = trace.tracepoint("test_base_point", "addr=%#x")
    assert point is trace.tracepoint("test_base_point", "addr=%#x")
    point(1)
    for each in trace.select("test_base_*"):
        each.attach(lambda name, message: heard.append(f"{name} {message}"))
    assert point.enabled
    point(0x1000)
    assert heard == ["test_base_point addr=0x1000"]
    with pytest.raises(UsageError, match="no tracepoint"):
        trace.select("test_base_no*")


def test_trees() -> None:
    root = directory(0o700, time_ns=5)
    link = Node(stat.S_IFREG, size=10, link_key=(1, 2))
    root.children = {b"d": directory(), b"a": link, b"s": Node(stat.S_IFLNK, target=b"a")}
    root.children[b"d"].children[b"b"] = link
    assert [path for path, _ in walk(root)] == [b"/", b"/d", b"/d/b", b"/a", b"/s"]
    assert totals(root) == (4, 10)
    assert (root.is_directory, link.is_file, root.children[b"s"].is_symlink) == (True, True, True)
    assert link.xattrs is NO_XATTRS
    assert NO_XATTRS == {}


def test_errors_are_the_built_in_ones_too() -> None:
    error = PathNotFoundError("/x: not there", hint="look")
    assert isinstance(error, FileNotFoundError)
    assert str(error) == "/x: not there (look)"
    assert isinstance(NoSpaceError("full"), OSError)
    assert (UsageError.exit_status, HostError.exit_status) == (2, 1)


def test_quiet_progress_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    QUIET.total(1, 2)
    QUIET.advance(1, 2)
    assert capsys.readouterr() == ("", "")
