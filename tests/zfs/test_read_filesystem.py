"""Paths, links, directories, holes and extended attributes, in pools that OpenZFS made."""

from __future__ import annotations

import stat
from collections.abc import Iterator

import pytest

from tests.zfs import corpus
from unikiln.base.device import FileDevice
from unikiln.errors import (
    IsADirectoryInPoolError,
    NotADirectoryInPoolError,
    PathNotFoundError,
    PoolNotFoundError,
    UsageError,
)
from unikiln.zfs.filesystem import FileSystem, Inode
from unikiln.zfs.pool import Pool, open_pool


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    path = corpus.unpack("gang", tmp_path_factory.mktemp("pool"))
    with FileDevice(path) as device, open_pool(device) as pool:
        yield pool


@pytest.fixture(scope="module")
def fs(pool: Pool) -> FileSystem:
    return pool.filesystem()


def everything(fs: FileSystem) -> Iterator[tuple[bytes, Inode]]:
    stack = [(b"", fs.root)]
    while stack:
        path, inode = stack.pop()
        yield path or b"/", inode
        if inode.is_directory:
            stack += [(path + b"/" + each.name, fs.inode(each.object)) for each in inode.entries()]


def test_every_path_leads_to_its_inode(fs: FileSystem) -> None:
    for path, inode in everything(fs):
        assert fs.path(path, follow=False).object == inode.object


def test_entries_say_the_type(fs: FileSystem) -> None:
    for _, inode in everything(fs):
        if inode.is_directory:
            for entry in inode.entries():
                assert fs.inode(entry.object).attributes.mode >> 12 == entry.type


def test_links_are_followed_to_where_they_lead(fs: FileSystem) -> None:
    followed = 0
    for path, inode in everything(fs):
        target = inode.readlink() if inode.is_symlink else b""
        if target and b"/" not in target:
            beside = fs.path(path.rpartition(b"/")[0] or b"/").lookup(target)
            if beside is not None and not beside.is_symlink:
                assert fs.path(path).object == beside.object
                followed += 1
    assert followed


def test_a_link_that_leads_nowhere(fs: FileSystem) -> None:
    dangling = 0
    for path, inode in everything(fs):
        if inode.is_symlink:
            try:
                fs.path(path)
            except (PathNotFoundError, NotADirectoryInPoolError):
                dangling += 1
    assert dangling


def test_a_loop_of_links_ends(fs: FileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    path = next(path for path, inode in everything(fs) if inode.is_symlink)
    monkeypatch.setattr(Inode, "readlink", lambda inode: path)
    with pytest.raises(PathNotFoundError, match="too many levels"):
        fs.path(path)


def test_dots_never_lead_out(fs: FileSystem) -> None:
    assert fs.path(b"/../../..").object == fs.root.object
    assert fs.path(b"").object == fs.root.object
    name = next(iter(fs.root.entries())).name
    assert fs.path(b"/./" + name + b"/../" + name + b"//").object == fs.path(name).object


def test_what_is_not_there(fs: FileSystem) -> None:
    with pytest.raises(FileNotFoundError):
        fs.path(b"/no/such/thing")
    assert fs.root.lookup(b"no") is None


def test_the_wrong_kind(fs: FileSystem) -> None:
    path, file = next((path, each) for path, each in everything(fs) if stat.S_ISREG(each.attributes.mode))
    with pytest.raises(NotADirectoryError):
        fs.path(path + b"/below")
    with pytest.raises(NotADirectoryInPoolError):
        fs.path(path + b"/")
    with pytest.raises(NotADirectoryInPoolError):
        list(file.entries())
    with pytest.raises(UsageError):
        file.readlink()
    with pytest.raises(IsADirectoryInPoolError):
        fs.root.read(0, 1)


def test_pieces_make_up_the_whole(fs: FileSystem) -> None:
    inode = max(
        (each for _, each in everything(fs) if 0 < each.attributes.size < 8 << 20),
        key=lambda each: each.attributes.size,
    )
    size = inode.attributes.size
    whole = inode.read(0, size)
    assert len(whole) == size
    assert b"".join(inode.read(at, 70_001) for at in range(0, size, 70_001)) == whole
    assert inode.read(size - 3, 100) == whole[-3:]
    assert inode.read(size, 10) == b""
    assert inode.read(size + 5, 10) == b""
    assert inode.read(0, 0) == b""


def test_what_is_between_data_ranges_is_zeros(fs: FileSystem) -> None:
    holes = 0
    for _, inode in everything(fs):
        size = inode.attributes.size
        if not stat.S_ISREG(inode.attributes.mode) or size > 8 << 20:
            continue
        end = 0
        for start, length in inode.data_ranges():
            assert end <= start < start + length <= size
            holes += start > end
            assert not any(inode.read(end, start - end))
            end = start + length
        assert not any(inode.read(end, size - end))
    assert holes


def test_absurd_reads_are_refused(fs: FileSystem) -> None:
    large = [each for _, each in everything(fs) if each.attributes.size > 5 << 30]
    for inode in large:
        with pytest.raises(UsageError):
            inode.read(0, inode.attributes.size)
        assert inode.read(4 << 30, 4) is not None


def test_datasets_by_name(pool: Pool) -> None:
    names = [info.name for info in pool.datasets()]
    assert pool.filesystem(names[0]).name == names[0]
    with pytest.raises(PoolNotFoundError, match=names[0]):
        pool.filesystem("nope/nope")
    with pytest.raises(PoolNotFoundError):
        pool.filesystem(f"{names[0]}@nope")


def test_repeated_reads_hit_the_cache(pool: Pool) -> None:
    fs = pool.filesystem()
    list(everything(fs))
    before = pool.arc.stats.misses
    list(everything(pool.filesystem()))
    assert pool.arc.stats.misses == before
    assert pool.arc.stats.hits > 0
