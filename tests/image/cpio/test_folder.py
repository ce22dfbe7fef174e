"""A host that refuses: what of a folder stays then, and what is told."""

from __future__ import annotations

import errno
import io
import os
import stat
from contextlib import closing
from pathlib import Path

import pytest

from tests.image.cpio.archives import archive, entry, file, folder, symlink
from unikiln.errors import HostError
from unikiln.image.cpio.folder import FolderReceiver
from unikiln.image.cpio.newc import Header
from unikiln.image.cpio.receive import receive


def expand(data: bytes, top: Path) -> list[str]:
    """The failures."""
    top.mkdir(exist_ok=True)
    with closing(FolderReceiver(top)) as receiver:
        receive(io.BytesIO(data), receiver)
        return receiver.failures


def refuse(code: int):  # type: ignore[no-untyped-def]  # noqa: ANN201
    def call(*arguments: object, **options: object) -> int:
        raise OSError(code, os.strerror(code))

    return call


def test_a_full_disk_leaves_no_part_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unikiln.image.cpio.folder.os.pwrite", refuse(errno.ENOSPC))
    with pytest.raises(HostError, match="/d/f of the archive: No space left on device"):
        expand(archive(file(b"d/f", b"content")), tmp_path / "top")
    assert not list((tmp_path / "top/d").iterdir())


def test_devices_that_only_root_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unikiln.image.cpio.folder.os.mknod", refuse(errno.EPERM))
    device = entry(Header(b"null", stat.S_IFCHR | 0o666, rdevice=(1, 3)))
    assert expand(archive(device, file(b"after")), tmp_path / "top") == ["/null: Operation not permitted"]
    assert (tmp_path / "top/after").exists()


def test_names_of_a_device_that_could_not_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unikiln.image.cpio.folder.os.mknod", refuse(errno.EPERM))
    devices = [entry(Header(name, stat.S_IFCHR, nlink=2, inode=1, rdevice=(1, 3))) for name in (b"a", b"b")]
    assert len(expand(archive(*devices), tmp_path / "top")) == 2


def test_other_refusals_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unikiln.image.cpio.folder.os.mknod", refuse(errno.EIO))
    with pytest.raises(HostError, match="/p of the archive: Input/output error"):
        expand(archive(entry(Header(b"p", stat.S_IFIFO))), tmp_path / "top")


def test_modes_of_folders_come_last(tmp_path: Path) -> None:
    """A folder that nobody may write to is filled first."""
    data = archive(folder(b"locked", 0o500), file(b"locked/f", b"x"), folder(b"locked/below", 0o500))
    expand(data, tmp_path / "top")
    assert stat.S_IMODE((tmp_path / "top/locked").stat().st_mode) == 0o500
    assert (tmp_path / "top/locked/f").read_bytes() == b"x"
    (tmp_path / "top/locked").chmod(0o700)


def test_times_of_folders_come_last(tmp_path: Path) -> None:
    data = archive(entry(Header(b"d", stat.S_IFDIR | 0o755, mtime=99)), file(b"d/f", b"x"))
    expand(data, tmp_path / "top")
    assert (tmp_path / "top/d").stat().st_mtime == 99


def test_times_of_links_are_their_own(tmp_path: Path) -> None:
    link = entry(Header(b"l", stat.S_IFLNK | 0o777, mtime=77), b"f")
    expand(archive(entry(Header(b"f", stat.S_IFREG | 0o644, mtime=55)), link), tmp_path / "top")
    assert (tmp_path / "top/l").lstat().st_mtime == 77
    assert (tmp_path / "top/f").stat().st_mtime == 55


def test_what_is_replaced_loses_no_other_name(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    (top / "old").write_text("old")
    (top / "other").hardlink_to(top / "old")
    expand(archive(file(b"old", b"new")), top)
    assert (top / "old").read_text() == "new"
    assert (top / "other").read_text() == "old"


def test_a_link_over_its_own_first_name(tmp_path: Path) -> None:
    """Of three names the first is replaced by something else; the file lives on by its second."""
    same = [file(name, inode=4, nlink=3) for name in (b"a", b"b")]
    expand(archive(*same, symlink(b"a", b"x"), file(b"c", b"late", inode=4, nlink=3)), tmp_path / "top")
    assert (tmp_path / "top/b").samefile(tmp_path / "top/c")
    assert (tmp_path / "top/b").read_bytes() == b"late"
    assert (tmp_path / "top/a").is_symlink()


def test_large_files_with_holes(tmp_path: Path) -> None:
    data = bytes(1 << 20) + b"middle" + bytes((3 << 20) - 6)
    expand(archive(file(b"sparse", data)), tmp_path / "top")
    path = tmp_path / "top/sparse"
    assert path.read_bytes() == data
    assert path.stat().st_blocks * 512 < 1 << 20
