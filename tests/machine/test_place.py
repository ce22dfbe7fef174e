from __future__ import annotations

import errno
import stat

import pytest

from unikiln.machine.events import Errno
from unikiln.machine.vfs.place import NameSpace, Place
from unikiln.machine.vfs.tmpfs import MemoryNode

FILE, DIRECTORY, LINK = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755, stat.S_IFLNK | 0o777


@pytest.fixture
def space() -> NameSpace:
    """/a/b/file, /a/up -> .., /abs -> /a/b, /loop -> loop, and another tree at /tmp."""
    root, a, b = MemoryNode(DIRECTORY), MemoryNode(DIRECTORY), MemoryNode(DIRECTORY)
    root.create(b"a", a)
    a.create(b"b", b)
    b.create(b"file", MemoryNode(FILE))
    a.create(b"up", MemoryNode(LINK, b".."))
    root.create(b"abs", MemoryNode(LINK, b"/a/b"))
    root.create(b"loop", MemoryNode(LINK, b"loop"))
    return NameSpace(Place(root), {b"tmp": MemoryNode(DIRECTORY)})


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (b"/", b"/"),
        (b"/a/b/file", b"/a/b/file"),
        (b"//a///b/", b"/a/b"),
        (b"/a/./b/../b/file", b"/a/b/file"),
        (b"/../../a", b"/a"),
        (b"/abs/file", b"/a/b/file"),
        (b"/abs", b"/a/b"),
        (b"/abs/..", b"/a"),
        (b"/a/up/a/up/tmp", b"/tmp"),
        (b"/tmp/..", b"/"),
        (b"b", b"/a/b"),
        (b".", b"/a"),
    ],
)
def test_paths(space: NameSpace, path: bytes, found: bytes) -> None:
    start = space.resolve(space.root, b"/a")
    assert space.resolve(start, path).path == found


@pytest.mark.parametrize(
    ("path", "error"),
    [
        (b"", errno.ENOENT),
        (b"/absent", errno.ENOENT),
        (b"/absent/x", errno.ENOENT),
        (b"/a/b/file/", errno.ENOTDIR),
        (b"/a/b/file/x", errno.ENOTDIR),
        (b"/loop", errno.ELOOP),
        (b"/loop/x", errno.ELOOP),
        (b"/" + b"n" * 256, errno.ENAMETOOLONG),
        (b"/a" * 2048, errno.ENAMETOOLONG),
    ],
)
def test_errors(space: NameSpace, path: bytes, error: int) -> None:
    with pytest.raises(Errno) as failed:
        space.resolve(space.root, path)
    assert failed.value.errno == error


def test_a_last_link_is_followed_only_when_asked(space: NameSpace) -> None:
    assert space.resolve(space.root, b"/abs", follow=False).node.is_link
    assert space.resolve(space.root, b"/abs/", follow=False).node.is_directory
    assert space.resolve(space.root, b"/loop", follow=False).node.is_link


def test_mounts_are_listed_and_found(space: NameSpace) -> None:
    names = [name for name, _, _ in space.entries(space.root)]
    assert names == [b".", b"..", b"a", b"abs", b"loop", b"tmp"]


def test_memory_files_keep_what_is_written() -> None:
    node = MemoryNode(FILE)
    assert node.write(5, b"abc") == 3
    assert node.read(0, 100) == b"\0" * 5 + b"abc"
    node.truncate(6)
    node.truncate(8)
    assert node.read(0, 100) == b"\0" * 5 + b"a\0\0"
    with pytest.raises(Errno):
        node.truncate(1 << 40)


def test_a_directory_goes_only_when_it_is_empty(space: NameSpace) -> None:
    a = space.resolve(space.root, b"/a").node
    with pytest.raises(Errno) as failed:
        a.remove(b"b")
    assert failed.value.errno == errno.ENOTEMPTY
    assert a.stat().nlink == 3
