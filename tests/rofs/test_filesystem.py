from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rofs.trees import empty_device, small
from unikiln.base.device import MemoryDevice
from unikiln.errors import (
    ImageError,
    IsADirectoryInPoolError,
    NotADirectoryInPoolError,
    PathNotFoundError,
    UnikilnError,
    UsageError,
)
from unikiln.image.walk import walk
from unikiln.rofs.filesystem import FileSystem
from unikiln.rofs.verify import verify
from unikiln.rofs.writer import write

STRUCTURES = 4 * 512
INODES = STRUCTURES + 6 * 10 + 9 + 6
"""Where the inodes of the tree ``small`` begin: behind six entries with nine bytes of names, and one link."""


@pytest.fixture
def image(tmp_path: Path) -> bytearray:
    with empty_device(tmp_path / "image") as device:
        write(device, small(tmp_path))
    return bytearray((tmp_path / "image").read_bytes())


def opened(image: bytes | bytearray) -> FileSystem:
    return FileSystem(MemoryDevice(image))


def inode_word(number: int, word: int) -> int:
    return INODES + (number - 1) * 32 + word * 8


def test_what_was_written_is_read(image: bytearray) -> None:
    filesystem = opened(image)
    found = {b"/".join(visit.names): visit.inode for visit in walk(filesystem, filesystem.root)}
    assert sorted(found) == [b"", b"a", b"d", b"d/b", b"d/l", b"d/none", b"z"]
    assert found[b"d/b"].read(510, 100) == b"BBB"
    assert found[b"d/b"].attributes.size == 513
    assert list(found[b"d/b"].data_ranges()) == [(0, 513)]
    assert found[b"d/none"].read(0, 10) == b""
    assert found[b"d/l"].readlink() == b"../a"
    assert found[b"d/l"].attributes.mode == 0xA000 | 0o555
    assert filesystem.path(b"/d/l").read(0, 10) == b"abc"
    assert filesystem.path(b"/d/l", follow=False).attributes.size == 4
    assert [(entry.name, entry.type) for entry in filesystem.root.entries()] == [
        (b"a", 8),
        (b"d", 4),
        (b"z", 4),
    ]
    assert not list(verify(filesystem))


def test_wrong_kinds(image: bytearray) -> None:
    filesystem = opened(image)
    with pytest.raises(PathNotFoundError, match="/nothing"):
        filesystem.path(b"/nothing")
    with pytest.raises(IsADirectoryInPoolError):
        filesystem.root.read(0, 1)
    with pytest.raises(NotADirectoryInPoolError):
        list(filesystem.path(b"/a").entries())
    with pytest.raises(UsageError, match="not a symbolic link"):
        filesystem.root.readlink()


@pytest.mark.parametrize(
    ("word", "value", "said"),
    [
        (0, 0xDEADBEEF, "no ROFS superblock"),
        (1, 2, "version 2"),
        (2, 4096, "blocks of 4096"),
        (3, 1 << 60, "truncated"),
        (4, 2, "truncated"),
        (4, 1 << 55, "structures of"),
        (5, 1 << 63, "cannot hold"),
        (5, 7, "make no sense|symbolic link|inode"),
        (6, 40, "make no sense"),
        (7, 1 << 40, "cannot hold"),
        (7, 0, "no inode 1"),
    ],
)
def test_superblocks_that_lie(image: bytearray, word: int, value: int, said: str) -> None:
    struct.pack_into("<Q", image, word * 8, value)
    with pytest.raises(ImageError, match=said):
        filesystem = opened(image)
        assert filesystem.root
        raise ImageError("; ".join(verify(filesystem)))


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (inode_word(3, 0), 0x1000, "inode 3 has mode 0x1000"),
        (inode_word(3, 1), 9, "inode 3 says that it is 9"),
        (inode_word(3, 3), 7, "directory 3 has entries up to 7 of 6"),
        (inode_word(3, 2), (1 << 64) - 1, "directory 3 has entries up to"),
        (inode_word(4, 3), 1 << 40, "file 4 is in bytes"),
        (inode_word(4, 2), 4, "file 4 lies in the structures"),
        (inode_word(4, 2), 0, "file 4 is in bytes 0"),
        (inode_word(5, 2), 1, "symbolic link 1 of 1"),
        (STRUCTURES, 99, "no inode 99"),
        (STRUCTURES, 7, "directory 7 is reached by two names|inodes are in no directory"),
        (STRUCTURES, 1, "directory 1 is reached by two names"),
        (STRUCTURES, 5, "1 inodes are in no directory"),
    ],
)
def test_verify_finds_it(image: bytearray, place: int, value: int, said: str) -> None:
    struct.pack_into("<Q", image, place, value)
    with pytest.raises(ImageError, match=said):
        raise ImageError("; ".join(verify(opened(image))))


@pytest.mark.parametrize("name", [b"/", b"\0", b"."])
def test_names_that_are_none(image: bytearray, name: bytes) -> None:
    image[STRUCTURES + 10 : STRUCTURES + 11] = name
    with pytest.raises(ImageError, match="has a name"):
        list(opened(image).path(b"/d").entries())
    assert any("has a name" in finding for finding in verify(opened(image)))


def test_a_name_twice(image: bytearray) -> None:
    image[STRUCTURES + 21 : STRUCTURES + 22] = b"b"
    assert list(verify(opened(image))) == ["directory 3 has a name twice"]
    assert opened(image).path(b"/d/b").object == 4  # the first, as OSv finds it


def test_a_directory_in_itself_ends(image: bytearray) -> None:
    struct.pack_into("<Q", image, STRUCTURES, 3)
    with pytest.raises(UnikilnError, match="two names"):
        list(walk(opened(image), opened(image).root))


def test_any_prefix_is_refused_or_read(image: bytearray) -> None:
    for size in range(0, len(image), 7):
        with pytest.raises(ImageError):
            opened(image[:size])


@given(place=st.integers(0, 5 * 512 - 1), value=st.integers(0, 255), data=st.data())
def test_one_wrong_byte_never_crashes(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("rofs")
    with empty_device(folder / "image") as device:
        write(device, small(folder))
    image = bytearray((folder / "image").read_bytes())
    image[place] = value
    other = data.draw(st.integers(STRUCTURES, 5 * 512 - 1))
    image[other] = data.draw(st.integers(0, 255))
    try:
        filesystem = opened(image)
        list(verify(filesystem))
        for visit in walk(filesystem, filesystem.root):
            if visit.inode.attributes.mode >> 12 == 8:
                visit.inode.read(0, 1 << 20)
    except UnikilnError:
        pass


def test_names_and_links_of_no_bytes_end_the_reading_at_once(image: bytearray) -> None:
    image[STRUCTURES + 8 : STRUCTURES + 10] = bytes(2)
    with pytest.raises(ImageError, match="make no sense, at byte 0"):
        opened(image)
    zeros = MemoryDevice(image[:512] + bytes(64 << 20))
    zeros.write_at(24, struct.pack("<3Q", 1, 1 << 17, 1 << 21))
    with pytest.raises(ImageError, match="make no sense, at byte 0"):
        FileSystem(zeros)
