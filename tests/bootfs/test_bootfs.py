from __future__ import annotations

import os
import stat
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rofs.trees import empty_device, file, folder, small
from unikiln.base.device import MemoryDevice
from unikiln.base.tree import Node, directory
from unikiln.bootfs.filesystem import FileSystem
from unikiln.bootfs.format import looks_like
from unikiln.bootfs.writer import Written, files, write
from unikiln.errors import (
    HostError,
    ImageError,
    IsADirectoryInPoolError,
    NotADirectoryInPoolError,
    UnikilnError,
    UsageError,
)


def record(size: int, offset: int, kind: int, name: bytes) -> bytes:
    return struct.pack("<QQB111s", size, offset, kind, name)


def image_of(tree: Node, tmp_path: Path) -> bytes:
    path = tmp_path / "image"
    with empty_device(path) as device:
        write(device, files(tree))
    return path.read_bytes()


def opened(image: bytes) -> FileSystem:
    return FileSystem(MemoryDevice(image))


def test_every_byte(tmp_path: Path) -> None:
    with empty_device(tmp_path / "image") as device:
        assert write(device, files(small(tmp_path))) == Written(768 + 3 + 513 + 5, records=5, bytes_in=516)
    assert (tmp_path / "image").read_bytes() == (
        record(3, 768, 0, b"/a")
        + record(513, 771, 0, b"/d/b")
        + record(5, 1284, 1, b"/d/l")
        + record(0, 1289, 0, b"/d/none")
        + record(0, 1289, 0, b"/z/")
        + bytes(128)
        + b"abc"
        + b"B" * 513
        + b"../a\0"
    )


def test_what_was_written_is_read(tmp_path: Path) -> None:
    image = image_of(small(tmp_path), tmp_path)
    assert looks_like(image)
    filesystem = opened(image + bytes(200))  # in a partition of whole sectors
    assert filesystem.size == len(image)
    assert [(entry.name, entry.type) for entry in filesystem.root.entries()] == [
        (b"a", 8),
        (b"d", 4),
        (b"z", 4),
    ]
    assert filesystem.path(b"/d/l").read(0, 10) == b"abc"
    assert filesystem.path(b"/d/l", follow=False).readlink() == b"../a"
    assert filesystem.path(b"/d/b").read(510, 10) == b"BBB"
    assert list(filesystem.path(b"/d/b").data_ranges()) == [(0, 513)]
    assert filesystem.path(b"/d/none").attributes.size == 0
    assert filesystem.root.attributes.mode == 0o40777
    assert filesystem.inode(filesystem.path(b"/z").object).is_directory


def test_an_empty_tree(tmp_path: Path) -> None:
    image = image_of(directory(), tmp_path)
    assert image == bytes(128)
    assert not looks_like(image)
    assert list(opened(image).root.entries()) == []


def test_content_that_ends_in_zeros(tmp_path: Path) -> None:
    image = image_of(folder(x=file(tmp_path, "x", bytes(5000))), tmp_path)
    assert image == record(5000, 256, 0, b"/x") + bytes(128 + 5000)


def test_the_order_is_the_callers(tmp_path: Path) -> None:
    node = file(tmp_path, "x", b"x")
    with empty_device(tmp_path / "image") as device:
        write(device, [(b"/z/1", node), (b"/a", node), (b"/z/2", node)])
        assert [each.name for each in FileSystem(device).records] == [b"/z/1", b"/a", b"/z/2"]


@pytest.mark.parametrize("length", [110, 111])
def test_the_longest_path(tmp_path: Path, length: int) -> None:
    tree = folder(**{"d" * 50: folder(**{"n" * (length - 52): file(tmp_path, "x", b"x")})})
    if length == 110:
        assert opened(image_of(tree, tmp_path)).path(b"/" + b"d" * 50 + b"/" + b"n" * 58).read(0, 9) == b"x"
    else:
        with pytest.raises(ImageError, match=r"path of 111 bytes.*110.*--fs rofs"):
            image_of(tree, tmp_path)


@pytest.mark.parametrize("mode", [stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK])
def test_what_a_bootfs_cannot_hold(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ImageError, match=r"/dev/x.*leave it out"):
        image_of(folder(dev=folder(x=Node(mode | 0o666, rdev=os.makedev(1, 3)))), tmp_path)


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    tree = folder(x=file(tmp_path, "x", b"x"))
    (tmp_path / "x").unlink()
    with pytest.raises(HostError, match="No such file"):
        image_of(tree, tmp_path)


def unpacked(*records: tuple[int, int, int, bytes], content: bytes = b"") -> FileSystem:
    return opened(b"".join(record(*each) for each in records) + bytes(128) + content)


def test_links_on_the_way_are_followed_inside() -> None:
    filesystem = unpacked((4, 384, 1, b"/lib"), (2, 388, 0, b"/lib/x"), content=b"usr\0hi")
    assert filesystem.path(b"/usr/x").read(0, 9) == filesystem.path(b"/lib/x").read(0, 9) == b"hi"
    above = unpacked((8, 384, 1, b"/a"), (2, 392, 0, b"/a/x"), content=b"../../.\0hi")
    assert above.path(b"/x").attributes.size == 2


def test_of_two_files_with_one_name_the_later_stays() -> None:
    assert unpacked((1, 384, 0, b"/x"), (1, 385, 0, b"/x"), content=b"ab").path(b"/x").read(0, 9) == b"b"


@pytest.mark.parametrize(
    ("records", "content", "said"),
    [
        ([(0, 256, 2, b"/x")], b"", "type 2"),
        ([(0, 256, 0, b"x" * 111)], b"", "type 0, name"),
        ([(9, 256, 0, b"/x")], b"12345678", "ends at byte 265 of 264"),
        ([(1 << 63, 1 << 63, 0, b"/x")], b"", "ends at byte"),
        ([(3, 256, 1, b"/x")], b"abc", "no NUL"),
        ([(0, 256, 1, b"/x")], b"", "has 0 bytes"),
        ([(5000, 256, 1, b"/x")], bytes(5000), "has 5000 bytes"),
        ([(1, 256, 0, b"/x/")], b"1", "is called /x/"),
        ([(0, 256, 0, b"/..")], b"", "is called /.."),
        ([(1, 256, 0, b"//")], b"1", "is called //"),
        ([(1, 384, 0, b"/x"), (1, 384, 0, b"/x/y")], b"1", "goes through x"),
        ([(0, 384, 0, b"/x/"), (1, 384, 0, b"/x")], b"1", "as a directory and as a file"),
        ([(2, 384, 1, b"/x"), (1, 384, 0, b"/x/y")], b"x\0", "goes through x"),
    ],
)
def test_records_that_make_no_sense(
    records: list[tuple[int, int, int, bytes]], content: bytes, said: str
) -> None:
    with pytest.raises(ImageError, match=said):
        unpacked(*records, content=content)


def test_records_without_an_end() -> None:
    for image in (record(0, 256, 0, b"/x"), record(0, 256, 0, b"/x") * 600 + bytes(100), b""):
        with pytest.raises(ImageError, match=r"no end|ends at byte"):
            opened(image)


def test_wrong_kinds() -> None:
    filesystem = unpacked((1, 256, 0, b"/x"), content=b"x")
    with pytest.raises(IsADirectoryInPoolError):
        filesystem.root.read(0, 1)
    with pytest.raises(NotADirectoryInPoolError):
        filesystem.path(b"/x").lookup(b"y")
    with pytest.raises(UsageError):
        filesystem.path(b"/x").readlink()
    with pytest.raises(ImageError, match="no inode 3"):
        filesystem.inode(3)


@given(data=st.binary(max_size=128), place=st.integers(0, 768), kind=st.integers(0, 2))
def test_hostile_records_never_crash(data: bytes, place: int, kind: int) -> None:
    image = bytearray(record(2, 640, 1, b"/l") + record(9, 640, kind, b"/l/x/../y/"))
    image += bytes(384) + b"l\0" + bytes(300)
    image[place : place + len(data)] = data
    try:
        filesystem = opened(bytes(image))
        for number in range(1, 9):
            filesystem.inode(number).attributes  # noqa: B018
    except UnikilnError:
        pass


def test_a_small_file_that_names_very_many_folders() -> None:
    names = (b"/%x" % number + b"/a" * 45 + b"/" for number in range(6_000))
    image = b"".join(record(0, 0, 0, name) for name in names) + bytes(128)
    with pytest.raises(ImageError, match="more than 262144 files"):
        opened(image)


def test_too_many_files(tmp_path: Path) -> None:
    node = file(tmp_path, "x", b"")
    with empty_device(tmp_path / "image") as device, pytest.raises(ImageError, match="100001 files"):
        write(device, [(b"/x", node)] * 100_001)
