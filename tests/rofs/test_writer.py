from __future__ import annotations

import os
import stat
import struct
from pathlib import Path

import pytest

from tests.rofs.trees import empty_device, file, folder, link, small
from unikiln.base.device import FileDevice
from unikiln.base.tree import Node, directory
from unikiln.errors import HostError, ImageError
from unikiln.rofs.filesystem import FileSystem
from unikiln.rofs.verify import verify
from unikiln.rofs.writer import Written, write

# Of the tree that ``small`` makes: blocks 0 superblock, 1 a, 2 and 3 b, 4 structures.
ENTRIES = [(4, b"b"), (5, b"l"), (6, b"none"), (2, b"a"), (3, b"d"), (7, b"z")]
INODES = [
    (0x4000, 1, 3, 3),  # /: entries 3 to 5, behind those of what is below it
    (0x8000, 2, 1, 3),  # /a: block 1, 3 bytes
    (0x4000, 3, 0, 3),  # /d
    (0x8000, 4, 2, 513),  # /d/b
    (0xA000, 5, 0, 1),  # /d/l: symbolic link 0
    (0x8000, 6, 4, 0),  # /d/none: no blocks, but where they would be
    (0x4000, 7, 3, 0),  # /z
]


def image_of(tree: Node, tmp_path: Path) -> bytes:
    path = tmp_path / "image"
    with empty_device(path) as device:
        write(device, tree)
    return path.read_bytes()


def test_every_byte(tmp_path: Path) -> None:
    with empty_device(tmp_path / "image") as device:
        assert write(device, small(tmp_path)) == Written(size=5 * 512, inodes=7, bytes_in=516)
    structures = b"".join(struct.pack("<QH", number, len(name)) + name for number, name in ENTRIES)
    structures += struct.pack("<H", 4) + b"../a"
    structures += b"".join(struct.pack("<4Q", *fields) for fields in INODES)
    expected = struct.pack("<8Q", 0xDEADBEAD, 1, 512, 4, 1, 6, 1, 7).ljust(512, b"\0")
    expected += b"abc".ljust(512, b"\0") + (b"B" * 513).ljust(1024, b"\0") + structures.ljust(512, b"\0")
    assert (tmp_path / "image").read_bytes() == expected


def test_an_empty_tree(tmp_path: Path) -> None:
    image = image_of(directory(), tmp_path)
    assert struct.unpack_from("<8Q", image) == (0xDEADBEAD, 1, 512, 1, 1, 0, 0, 1)
    assert image[512:] == struct.pack("<4Q", 0x4000, 1, 0, 0).ljust(512, b"\0")


def test_structures_that_fill_their_block_are_followed_by_an_empty_one(tmp_path: Path) -> None:
    # Root's and one file's inode are 64 bytes, its entry is 10 and its name.
    image = image_of(folder(**{"n" * (512 - 74): file(tmp_path, "x", b"")}), tmp_path)
    assert struct.unpack_from("<8Q", image)[3:5] == (1, 1)
    assert len(image) == 3 * 512
    assert image[1024:] == bytes(512)


def test_what_rofs_has_no_place_for_is_left_behind(tmp_path: Path) -> None:
    plain, dressed = small(tmp_path), small(tmp_path)
    for node in (dressed, dressed.children[b"a"]):
        node.uid, node.mtime_ns, node.xattrs = 1000, 5 * 10**9, {b"user.a": b"b"}
        node.mode = stat.S_IFMT(node.mode) | 0o4711
    assert image_of(plain, tmp_path) == image_of(dressed, tmp_path)


def test_each_name_of_a_file_has_a_copy(tmp_path: Path) -> None:
    node = file(tmp_path, "one", b"one")
    node.link_key = (1, 2)
    image = image_of(folder(first=node, second=node), tmp_path)
    assert struct.unpack_from("<8Q", image)[3:] == (3, 1, 2, 0, 3)
    assert image[512:515] == image[1024:1027] == b"one"


def test_content_of_zeros_takes_no_space_on_the_host(tmp_path: Path) -> None:
    hole = Node(stat.S_IFREG | 0o644, size=64 << 20)
    with empty_device(tmp_path / "image") as device:
        assert write(device, folder(hole=hole, last=file(tmp_path, "x", b"x"))).bytes_in == (64 << 20) + 1
    assert (tmp_path / "image").stat().st_blocks * 512 < 1 << 20
    with FileDevice(tmp_path / "image") as device:
        assert not list(verify(FileSystem(device)))


def test_a_tree_as_deep_as_paths_get(tmp_path: Path) -> None:
    root = top = directory()
    for _ in range(2000):
        top.children = {b"d": directory()}
        top = top.children[b"d"]
    with empty_device(tmp_path / "image") as device:
        assert write(device, root).inodes == 2001
        assert FileSystem(device).path(b"/d" * 2000).object == 2001


@pytest.mark.parametrize(
    ("name", "node", "said"),
    [
        ("null", Node(stat.S_IFCHR | 0o666, rdev=os.makedev(1, 3)), "/d/null.*'c'.*leave it out"),
        ("pipe", Node(stat.S_IFIFO | 0o666), "/d/pipe.*'p'"),
        ("long", link(b"x" * 0x10000), "/d/long.*65536 bytes"),
    ],
)
def test_what_rofs_cannot_hold(tmp_path: Path, name: str, node: Node, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        image_of(folder(d=folder(**{name: node})), tmp_path)


def test_a_file_that_shrinks(tmp_path: Path) -> None:
    node = file(tmp_path, "x", b"x" * 100)
    (tmp_path / "x").write_bytes(b"x")
    with pytest.raises(HostError, match="became shorter"):
        image_of(folder(x=node), tmp_path)
