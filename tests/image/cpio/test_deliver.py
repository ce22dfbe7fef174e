"""Whole or not at all: what a folder is after an archive that was, and after one that was not."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from tests.image.cpio.archives import archive, file, folder, symlink
from unikiln.errors import CpioError, HostError
from unikiln.image.cpio.deliver import into_folder

WHOLE = archive(folder(b"d", 0o750), file(b"d/new", b"new"), file(b"old", b"changed"))


def deliver(data: bytes, dest: Path) -> None:
    into_folder(io.BytesIO(data), dest)


def names(where: Path) -> list[str]:
    return sorted(str(each.relative_to(where)) for each in where.rglob("*"))


def test_a_new_folder(tmp_path: Path) -> None:
    received, failures = into_folder(io.BytesIO(WHOLE), tmp_path / "a/b/dest")
    assert (received.entries, received.size, failures) == (3, 10, [])
    assert names(tmp_path / "a/b") == ["dest", "dest/d", "dest/d/new", "dest/old"]
    assert (tmp_path / "a/b/dest").stat().st_mode & 0o777 == 0o755


def test_an_empty_folder_keeps_its_mode(tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    dest.mkdir(0o711)
    owner = 12 if os.geteuid() == 0 else os.geteuid()
    os.chown(dest, owner, -1)
    deliver(WHOLE, dest)
    assert dest.stat().st_uid == owner
    assert dest.stat().st_mode & 0o777 == 0o711
    assert names(dest) == ["d", "d/new", "old"]


def test_the_archive_may_say_the_mode_of_the_top(tmp_path: Path) -> None:
    deliver(archive(folder(b".", 0o700)), tmp_path / "dest")
    assert (tmp_path / "dest").stat().st_mode & 0o777 == 0o700


def test_a_folder_with_files_gets_more(tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    dest.mkdir()
    (dest / "old").write_text("old")
    (dest / "kept").write_text("kept")
    inode = dest.stat().st_ino
    deliver(WHOLE, dest)
    assert names(dest) == ["d", "d/new", "kept", "old"]
    assert (dest / "old").read_text() == "changed"
    assert dest.stat().st_ino == inode


def test_links_that_are_there_lead_inside(tmp_path: Path) -> None:
    dest, outside = tmp_path / "dest", tmp_path / "outside"
    dest.mkdir()
    outside.mkdir()
    (dest / "lib").symlink_to("/usr/lib")
    (dest / "out").symlink_to(outside)
    deliver(archive(file(b"lib/x", b"1"), file(b"out/y", b"2")), dest)
    assert (dest / "usr/lib/x").read_text() == "1"
    assert not names(outside)


@pytest.mark.parametrize("start", ["absent", "empty", "filled"])
def test_half_an_archive_changes_nothing(tmp_path: Path, start: str) -> None:
    dest = tmp_path / "dest"
    if start != "absent":
        dest.mkdir()
    if start == "filled":
        (dest / "old").write_text("old")
    before = names(tmp_path)
    for length in range(0, len(WHOLE) - 4, 7):
        with pytest.raises(CpioError):
            deliver(WHOLE[:length], dest)
        assert names(tmp_path) == before
    if start == "filled":
        assert (dest / "old").read_text() == "old"


def test_one_bad_entry_spoils_all(tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    dest.mkdir()
    (dest / "old").write_text("old")
    with pytest.raises(CpioError, match=r"in \.\./x"):
        deliver(archive(file(b"old", b"changed"), file(b"../x")), dest)
    assert (dest / "old").read_text() == "old"


def test_a_link_is_no_empty_folder(tmp_path: Path) -> None:
    """What it leads to is filled; the link stays."""
    (tmp_path / "real").mkdir()
    (tmp_path / "dest").symlink_to("real")
    deliver(archive(symlink(b"l", b"x")), tmp_path / "dest")
    assert (tmp_path / "dest").is_symlink()
    assert os.readlink(tmp_path / "real/l") == "x"  # noqa: PTH115


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "dest").write_text("a file")
    with pytest.raises(HostError, match="dest: Not a directory"):
        deliver(WHOLE, tmp_path / "dest")
