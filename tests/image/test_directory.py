from __future__ import annotations

import os
import socket
import stat
import time
from pathlib import Path

import pytest

from unikiln.base.tree import Node, totals, walk
from unikiln.errors import HostError
from unikiln.image.directory import Scanner, file_key, scan


def test_every_attribute_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"content")
    file.chmod(0o4711)
    os.setxattr(file, "user.note", b"value")
    os.utime(file, ns=(1_000_000_001, 2_000_000_002))
    node = scan(tmp_path).children[b"file"]
    assert (node.mode, node.size) == (stat.S_IFREG | 0o4711, 7)
    assert (node.atime_ns, node.mtime_ns) == (1_000_000_001, 2_000_000_002)
    assert (node.uid, node.gid) == (os.geteuid(), file.stat().st_gid)
    assert node.xattrs == {b"user.note": b"value"}
    assert node.source == os.fsencode(file)


def test_hard_links_are_one_node(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "b").hardlink_to(tmp_path / "a")
    tree = scan(tmp_path)
    assert tree.children[b"a"] is tree.children[b"folder"].children[b"b"]
    assert totals(tree) == (3, 5)


def test_all_kinds_of_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("nowhere/at/all")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(tmp_path / "socket"))
    children = scan(tmp_path).children
    assert stat.S_ISFIFO(children[b"fifo"].mode)
    assert stat.S_ISSOCK(children[b"socket"].mode)
    assert children[b"link"].is_symlink
    assert children[b"link"].target == b"nowhere/at/all"
    assert all(node.size == 0 and node.source is None for node in children.values())


def test_names_are_bytes_and_sorted(tmp_path: Path) -> None:
    for name in (b"\xff\xfe", "é".encode(), b"b", b"a"):
        (tmp_path / os.fsdecode(name)).touch()
    assert list(scan(tmp_path).children) == [b"a", b"b", "é".encode(), b"\xff\xfe"]


def test_a_file_can_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "disk.raw").touch()
    (tmp_path / "kept").touch()
    key = file_key(tmp_path / "disk.raw")
    assert key is not None
    assert list(scan(tmp_path, exclude=[key]).children) == [b"kept"]
    assert file_key(tmp_path / "absent") is None


def test_what_is_no_directory_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("file", "absent"):
        with pytest.raises(HostError, match=name):
            scan(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything")
def test_unreadable_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "secret").touch(mode=0)
    with pytest.raises(HostError, match="secret: Permission denied"):
        scan(tmp_path)


def test_following_a_link_is_a_choice(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    path = os.fsencode(tmp_path / "link")
    assert Scanner().node(path).is_symlink
    assert Scanner().node(path, follow=True).is_file


def test_depth_is_no_limit(tmp_path: Path) -> None:
    root = parent = Node(stat.S_IFDIR)
    for _ in range(5000):
        child = Node(stat.S_IFDIR)
        parent.children[b"d"] = child
        parent = child
    assert sum(1 for _ in walk(root)) == 5001


def test_many_files_are_scanned_quickly(tmp_path: Path) -> None:
    for folder in range(20):
        (tmp_path / str(folder)).mkdir()
        for file in range(100):
            (tmp_path / str(folder) / str(file)).touch()
    started = time.process_time()
    tree = scan(tmp_path)
    assert totals(tree)[0] == 2021
    assert time.process_time() - started < 0.2  # a tenth of that on a quiet machine
