from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.image.memory_fs import MemoryFileSystem, MemoryInode
from unikiln.errors import CorruptError, HostError, ImageError
from unikiln.image.extract import Extracted, extract
from unikiln.image.walk import walk

ROOT = os.geteuid() == 0


@pytest.fixture
def fs() -> MemoryFileSystem:
    return MemoryFileSystem()


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    """A destination with something beside it that must stay as it is."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_text("kept")
    return tmp_path / "dest"


@pytest.fixture(autouse=True)
def nothing_outside_changes(dest: Path) -> object:
    yield
    assert sorted(path.name for path in dest.parent.iterdir()) in (["dest", "outside"], ["outside"])
    assert [path.name for path in (dest.parent / "outside").iterdir()] == ["precious"]
    assert (dest.parent / "outside" / "precious").read_text() == "kept"


def take(fs: MemoryFileSystem, dest: Path) -> Extracted:
    return extract(fs, fs.root, dest)


def test_attributes(fs: MemoryFileSystem, dest: Path) -> None:
    folder = fs.put(b"folder", fs.folder(0o500))
    node = fs.put(b"file", fs.file(b"content", 0o4751), folder)
    node.attrs = {b"user.note": b"value"}
    node.uid = node.gid = 1234 if ROOT else os.geteuid()
    done = take(fs, dest)
    status = (dest / "folder/file").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_atime_ns, status.st_mtime_ns) == (
        0o4751,
        1_000_000_001,
        2_000_000_002,
    )
    assert os.getxattr(dest / "folder/file", "user.note") == b"value"
    assert stat.S_IMODE((dest / "folder").stat().st_mode) == 0o500
    assert (dest / "folder").stat().st_mtime_ns == dest.stat().st_mtime_ns == 2_000_000_002
    assert (done.files, done.size, done.warnings) == (1, 7, [])
    if ROOT:
        assert (status.st_uid, status.st_gid) == (1234, 1234)
    (dest / "folder").chmod(0o700)


def test_links_and_specials(fs: MemoryFileSystem, dest: Path) -> None:
    node = fs.put(b"a", fs.file(b"x"))
    node.nlink = 2
    fs.put(b"b", node, fs.put(b"folder", fs.folder()))
    fs.put(b"link", fs.symlink(b"/etc/passwd"))
    fs.put(b"fifo", fs.special(stat.S_IFIFO))
    take(fs, dest)
    assert (dest / "a").stat().st_ino == (dest / "folder/b").stat().st_ino
    assert (dest / "link").readlink() == Path("/etc/passwd")
    assert (dest / "link").lstat().st_mtime_ns == 2_000_000_002
    assert (dest / "fifo").is_fifo()
    assert stat.S_IMODE((dest / "fifo").stat().st_mode) == 0o640


def test_holes_stay_holes(fs: MemoryFileSystem, dest: Path) -> None:
    node = fs.put(b"sparse", fs.file())
    node.content = bytes(5 << 20) + b"data"
    node.size, node.ranges = 100 << 20, [(5 << 20, 1 << 20)]
    take(fs, dest)
    status = (dest / "sparse").stat()
    assert status.st_size == 100 << 20
    assert status.st_blocks * 512 < 1 << 20
    with (dest / "sparse").open("rb") as file:
        file.seek(5 << 20)
        assert file.read(5) == b"data\0"


def test_devices_need_root(fs: MemoryFileSystem, dest: Path) -> None:
    fs.put(b"null", fs.special(stat.S_IFCHR)).rdev = os.makedev(1, 3)
    done = take(fs, dest)
    if done.failures:
        assert done.failures == ["/null: Operation not permitted"]
        assert not (dest / "null").exists()
    else:
        assert (dest / "null").stat().st_rdev == os.makedev(1, 3)


@pytest.mark.parametrize("name", [b"..", b".", b"", b"../outside/evil", b"/etc/evil", b"a/b", b"nul\0name"])
def test_names_that_lead_out_are_refused(fs: MemoryFileSystem, dest: Path, name: bytes) -> None:
    fs.put(name, fs.file(b"evil"))
    with pytest.raises(ImageError, match="no file can have"):
        take(fs, dest)


def test_a_directory_called_dot_dot(fs: MemoryFileSystem, dest: Path) -> None:
    fs.put(b"evil", fs.file(b"evil"), fs.put(b"..", fs.folder()))
    with pytest.raises(ImageError):
        take(fs, dest)


@pytest.mark.parametrize("link_first", [True, False])
def test_a_link_and_a_directory_of_one_name(fs: MemoryFileSystem, dest: Path, link_first: bool) -> None:
    """The image names ``a`` twice: a link to the outside, and a directory with a file for it."""
    link, folder = fs.symlink(b"../outside"), fs.folder()
    fs.put(b"precious", fs.file(b"overwritten"), folder)
    for node in [link, folder] if link_first else [folder, link]:
        fs.put(b"a", node)
    if link_first:
        take(fs, dest)
        assert (dest / "a/precious").read_text() == "overwritten"
    else:
        with pytest.raises(HostError):
            take(fs, dest)


def test_a_link_that_is_there_already_is_not_followed(fs: MemoryFileSystem, dest: Path) -> None:
    dest.mkdir()
    (dest / "folder").symlink_to("../outside")
    (dest / "precious").symlink_to("../outside/precious")
    fs.put(b"precious", fs.file(b"new"), fs.put(b"folder", fs.folder()))
    fs.put(b"precious", fs.file(b"new"))
    take(fs, dest)
    assert not (dest / "folder").is_symlink()
    assert (dest / "precious").read_text() == "new"


def test_what_is_there_is_added_to_and_replaced(fs: MemoryFileSystem, dest: Path) -> None:
    fs.put(b"file", fs.file(b"new"), fs.put(b"folder", fs.folder()))
    (dest / "folder").mkdir(parents=True)
    (dest / "folder/file").write_text("old and long")
    (dest / "folder/other").write_text("other")
    take(fs, dest)
    take(fs, dest)
    assert (dest / "folder/file").read_text() == "new"
    assert (dest / "folder/other").read_text() == "other"


def test_a_directory_in_its_own_tree(fs: MemoryFileSystem, dest: Path) -> None:
    fs.put(b"again", fs.root, fs.put(b"folder", fs.folder()))
    with pytest.raises(CorruptError, match="folder/again"):
        take(fs, dest)


@pytest.mark.parametrize("target", [b"", b"a\0b"])
def test_links_that_cannot_be(fs: MemoryFileSystem, dest: Path, target: bytes) -> None:
    fs.put(b"link", fs.symlink(target))
    with pytest.raises(ImageError, match="leads nowhere"):
        take(fs, dest)


def test_files_too_large_for_the_host_are_told_and_left_out(fs: MemoryFileSystem, dest: Path) -> None:
    huge = fs.put(b"huge", fs.file())
    huge.size, huge.ranges, huge.nlink = (1 << 63) - 1, [], 2
    fs.put(b"huge-too", huge)
    fs.put(b"small", fs.file(b"x"))
    done = take(fs, dest)
    if done.failures:  # some file systems have files of that size
        assert done.failures == ["/huge: File too large", "/huge-too: File too large"]
        assert [path.name for path in dest.iterdir()] == ["small"]


def test_sizes_that_cannot_be(fs: MemoryFileSystem, dest: Path) -> None:
    node = fs.put(b"huge", fs.file())
    node.size, node.ranges = 1 << 64, []
    with pytest.raises(ImageError, match="/huge of the image"):
        take(fs, dest)


def test_times_that_cannot_be(fs: MemoryFileSystem, dest: Path) -> None:
    fs.put(b"file", fs.file()).mtime_ns = (1 << 64) * 10**9
    with pytest.raises(ImageError, match="/file of the image"):
        take(fs, dest)


def test_one_file(fs: MemoryFileSystem, dest: Path) -> None:
    dest.mkdir()
    extract(fs, fs.file(b"content"), dest / "name")
    assert (dest / "name").read_text() == "content"
    with pytest.raises(HostError, match="absent"):
        extract(fs, fs.file(b"content"), dest / "absent" / "name")


def test_depth_is_no_limit(fs: MemoryFileSystem, dest: Path) -> None:
    folder = fs.root
    for _ in range(300):
        folder = fs.put(b"directory-with-a-name", fs.folder(), folder)
    fs.put(b"file", fs.file(b"deep"), folder)
    assert take(fs, dest).files == 1  # deeper than a path can be long


def test_names_the_host_knows_no_attributes_for(fs: MemoryFileSystem, dest: Path) -> None:
    fs.put(b"file", fs.file()).attrs = {b"nonsense": b"x"}
    assert "nonsense" in take(fs, dest).warnings[0]


def test_walk_goes_by_name(fs: MemoryFileSystem) -> None:
    folder = fs.put(b"b", fs.folder())
    for name in (b"z", b"a"):
        fs.put(name, fs.file(), folder)
        fs.put(name, fs.file())
    visits = list(walk(fs, fs.root))
    assert [visit.names for visit in visits] == [(), (b"a",), (b"b",), (b"b", b"a"), (b"b", b"z"), (b"z",)]
    assert [visit.last for visit in visits][3:] == [(False, False), (False, True), (True,)]


def test_memory_inodes_are_inodes() -> None:
    assert MemoryInode(1, stat.S_IFDIR).attributes.mode == stat.S_IFDIR
