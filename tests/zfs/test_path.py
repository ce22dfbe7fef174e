"""Paths in a dataset, against what ``pathlib`` does with the same calls, and against the manifest."""

from __future__ import annotations

import io
import os
import pathlib
import stat
from collections.abc import Iterator
from typing import Any

import pytest

from tests.zfs import corpus
from unikiln.base.device import FileDevice
from unikiln.errors import IsADirectoryInPoolError, PathNotFoundError, UsageError
from unikiln.zfs import ZfsPath, open_pool
from unikiln.zfs.pool import Pool

NAME = "ref_gang"


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    path = corpus.unpack("gang", tmp_path_factory.mktemp("pool"))
    with FileDevice(path) as device, open_pool(device) as pool:
        yield pool


@pytest.fixture(scope="module")
def expected() -> dict[str, dict[str, Any]]:
    paths: dict[str, dict[str, Any]] = corpus.manifest("gang")["datasets"][NAME]["paths"]
    return {path: entry for path, entry in paths.items() if "mountpoint" not in entry}


@pytest.fixture(scope="module")
def root(pool: Pool) -> ZfsPath:
    return pool.dataset(NAME).path()


@pytest.fixture
def file(root: ZfsPath, expected: dict[str, dict[str, Any]]) -> ZfsPath:
    fitting = (path for path, e in expected.items() if e["type"] == "file" and 100_000 < e["size"] < 1 << 22)
    return root / next(fitting)


def test_stat_is_what_os_stat_says(root: ZfsPath, expected: dict[str, dict[str, Any]]) -> None:
    for path, entry in expected.items():
        found = (root / path).lstat()
        assert isinstance(found, os.stat_result)
        assert (found.st_size, found.st_uid, found.st_gid) == (entry["size"], entry["uid"], entry["gid"])
        assert found.st_mtime_ns == entry["mtime_ns"]
        assert abs(found.st_mtime - entry["mtime_ns"] / 1e9) < 1e-5
        assert found.st_nlink == entry["nlink"]
        assert stat.S_IMODE(found.st_mode) == int(entry["mode"], 8)
        assert found.st_blocks >= 0
        assert found.st_rdev == (os.makedev(*entry["rdev"]) if "rdev" in entry else 0)


def test_kinds(root: ZfsPath, expected: dict[str, dict[str, Any]]) -> None:
    for path, entry in expected.items():
        here = root / path
        kinds = {
            "link": here.is_symlink(), "dir": here.is_dir(), "file": here.is_file(), "fifo": here.is_fifo(),
            "sock": here.is_socket(), "chr": here.is_char_device(), "blk": here.is_block_device(),
        }  # fmt: skip
        assert kinds[entry["type"]]
        if entry["type"] != "link":
            assert sum(kinds.values()) == 1


def test_every_name_is_listed(root: ZfsPath, expected: dict[str, dict[str, Any]]) -> None:
    found = {
        str(path).lstrip("/") for d, names, others in root.walk() for path in (d, *(d / n for n in others))
    }
    assert {path for path in expected if not (root / path).is_dir() or (root / path).is_symlink()} <= found
    assert found <= expected.keys() | {"child"} | {path for path in found if path not in expected}
    assert sorted(path.name for path in root.iterdir()) == sorted(
        {path for path in corpus.manifest("gang")["datasets"][NAME]["paths"] if path and "/" not in path}
    )


def test_globs_are_those_of_pathlib(root: ZfsPath, tmp_path: pathlib.Path) -> None:
    for directory, names, others in root.walk():
        for name in names:
            (tmp_path / str(directory / name)[1:]).mkdir(exist_ok=True)
        for name in others:
            if not (directory / name).is_symlink() and len(os.fsencode(name)) < 200:
                (tmp_path / str(directory / name)[1:]).touch()
    for pattern in ("*", "*/*", "**/*1*", "acl/*", "**/", "nothing*"):
        wanted = {"/" + os.fspath(path.relative_to(tmp_path)) for path in tmp_path.glob(pattern)}
        found = {str(path) for path in root.glob(pattern) if not through_a_link(path)}
        assert {path.replace("/.", "/") if path == "/." else path for path in wanted} == {
            path for path in found if len(path.rpartition("/")[2].encode(errors="surrogateescape")) < 200
        }
    assert {str(path) for path in root.rglob("*1")} == {str(path) for path in root.glob("**/*1")}


def through_a_link(path: ZfsPath) -> bool:
    return any(each.is_symlink() for each in (path, *path.parents))


def test_parts_are_those_of_pure_paths(root: ZfsPath) -> None:
    path, pure = root / "a" / "b.tar.gz", pathlib.PurePosixPath("/a/b.tar.gz")
    assert (str(path), path.name, path.stem, path.suffix) == (str(pure), pure.name, pure.stem, pure.suffix)
    assert path.parts == pure.parts
    assert str(path.parent) == "/a"
    assert [str(each) for each in path.parents] == ["/a", "/"]
    assert path == root.joinpath("a", "b.tar.gz")
    assert path != root
    assert len({path, root / "a/b.tar.gz"}) == 1
    assert root < path
    assert repr(root) == "ZfsPath('ref_gang', '/')"
    assert root != "/"


def test_reading(file: ZfsPath) -> None:
    whole = file.read_bytes()
    assert len(whole) == file.stat().st_size
    with file.open("rb") as stream:
        assert stream.read() == whole
        assert stream.seek(-10, io.SEEK_END) == len(whole) - 10
        assert stream.read(100) == whole[-10:]
        assert stream.seek(1000) == 1000
        assert stream.read(70_000) == whole[1000:71_000]
        assert stream.seek(5, io.SEEK_CUR) == 71_005
        assert stream.tell() == 71_005
    with file.open("rb", buffering=0) as raw:
        assert isinstance(raw, io.RawIOBase)
        buffer = bytearray(7)
        assert raw.readinto(buffer) == 7
        assert buffer == whole[:7]
        assert raw.seekable()
        assert raw.readable()
        assert not raw.writable()
        with pytest.raises(OSError, match="seek"):
            raw.seek(-1)
    with file.open("r", encoding="latin-1", newline="") as text:
        assert text.read() == whole.decode("latin-1")
    assert file.read_text("latin-1").replace("\n", "") == whole.decode("latin-1").replace(
        "\r\n", "\n"
    ).replace("\r", "\n").replace("\n", "")


def test_holes_are_found_as_lseek_finds_them(root: ZfsPath, tmp_path: pathlib.Path) -> None:
    sparse = [
        path
        for d, _, others in root.walk()
        for path in (d / name for name in others)
        if path.is_file() and not path.is_symlink() and path.stat().st_size < 1 << 24 and has_hole(path)
    ]
    assert sparse
    for path in sparse[:10]:
        with path.open("rb", buffering=0) as raw:
            at, size, content = 0, path.stat().st_size, path.read_bytes()
            while at < size:
                hole = raw.seek(at, os.SEEK_HOLE)
                assert at <= hole <= size
                try:
                    data = raw.seek(hole, os.SEEK_DATA) if hole < size else size
                except OSError as error:
                    assert error.errno == 6
                    data = size
                assert not any(content[hole:data])
                at = data if data > at else size
            with pytest.raises(OSError, match="lies"):
                raw.seek(size, os.SEEK_DATA)


def has_hole(path: ZfsPath) -> bool:
    ranges = list(path.inode().data_ranges())
    return sum(length for _, length in ranges) < path.stat().st_size


def test_links(root: ZfsPath, expected: dict[str, dict[str, Any]]) -> None:
    links = [path for path, entry in expected.items() if entry["type"] == "link"]
    assert links
    for path in links:
        assert str((root / path).readlink()) == str(pathlib.PurePosixPath(expected[path]["target"]))
        assert (root / path).exists(follow_symlinks=False)
    with pytest.raises(UsageError):
        root.readlink()


def test_extended_attributes_have_names_of_text(root: ZfsPath, expected: dict[str, dict[str, Any]]) -> None:
    for path, entry in expected.items():
        found = (root / path).xattrs(follow_symlinks=False)
        assert sorted(found) == sorted(entry.get("xattrs", {}))
        assert all(isinstance(value, bytes) for value in found.values())


def test_what_is_refused(root: ZfsPath, file: ZfsPath) -> None:
    assert not (root / "nothing").exists()
    assert not (file / "below").exists()
    with pytest.raises(PathNotFoundError):
        (root / "nothing").stat()
    with pytest.raises(FileNotFoundError):
        (root / "nothing").read_bytes()
    with pytest.raises(IsADirectoryInPoolError):
        root.open("rb")
    with pytest.raises(UsageError, match="only read"):
        file.open("wb")
    with pytest.raises(NotADirectoryError):
        list(file.iterdir())
