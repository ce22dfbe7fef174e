from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings

from tests.image.memory_fs import MemoryFileSystem
from tests.trees import Spec, materialise, trees
from unikiln.base.tree import Node, directory
from unikiln.image.compare import FIELDS, Difference, compare, of_filesystem, of_tree
from unikiln.image.directory import scan


def tree() -> Node:
    """A directory with one of each."""
    root = directory()
    both = Node(stat.S_IFREG | 0o644, uid=1, gid=2, mtime_ns=5, size=3)
    root.children = {
        b"a": both, b"b": both, b"c": Node(stat.S_IFREG | 0o600), b"d": directory(),
        b"l": Node(stat.S_IFLNK | 0o777, target=b"a"),
        b"n": Node(stat.S_IFCHR | 0o600, rdev=os.makedev(1, 3)),
    }  # fmt: skip
    return root


def differ(change: Callable[[Node], object], *ignore: str) -> list[Difference]:
    changed = tree()
    change(changed)
    return list(compare(of_tree(tree()), of_tree(changed), frozenset(ignore)))


def test_the_same() -> None:
    assert not differ(lambda root: None)


def put(field: str, name: bytes, value: object) -> Callable[[Node], None]:
    return lambda root: setattr(root.children[name], field, value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put("mode", b"c", stat.S_IFREG | 0o4755), "! /c: mode 0600, 4755"),
        (put("mode", b"c", stat.S_IFIFO | 0o600), "! /c: type file, fifo"),
        (put("uid", b"d", 9), "! /d: uid 0, 9"),
        (put("gid", b"d", 9), "! /d: gid 0, 9"),
        (put("size", b"c", 7), "! /c: size 0, 7"),
        (put("mtime_ns", b"c", 8), "! /c: mtime 0, 8"),
        (put("target", b"l", b"b"), "! /l: target 'a', 'b'"),
        (put("rdev", b"n", os.makedev(1, 5)), "! /n: device [1, 3], [1, 5]"),
        (put("xattrs", b"c", {b"user.k": b"v"}), "! /c: xattr user.k none, 'v'"),
        (lambda root: root.children.pop(b"d"), "- /d"),
        (lambda root: root.children[b"d"].children.update({b"x": directory()}), "+ /d/x"),
        (lambda root: root.children.update({b"e": root.children[b"c"]}), "+ /e"),
        (lambda root: root.children.update({b"b": tree().children[b"b"]}), "! /b: links '/a', '/b'"),
        (lambda root: setattr(root, "mode", stat.S_IFDIR | 0o700), "! /: mode 0755, 0700"),
    ],
)
def test_each_kind_of_difference(change: Callable[[Node], object], said: str) -> None:
    found = differ(change)
    assert [str(each) for each in found] == [said]
    field = "xattrs" if "xattr" in said else found[0].field
    assert field in (*FIELDS, "only")
    if field != "only":
        assert not differ(change, field)


def test_modes_of_links_do_not_count() -> None:
    assert not differ(put("mode", b"l", stat.S_IFLNK | 0o600))


def test_names_in_order_of_their_paths(tmp_path: Path) -> None:
    """``a`` and what is in it come before ``a-``, though ``-`` sorts before ``/``."""
    left, right = directory(), directory()
    for root, names in ((left, [b"a-", b"a", b"z"]), (right, [b"a", b"b"])):
        for name in names:
            root.children[name] = directory()
        root.children[b"a"].children[b"x"] = directory()
    assert [str(each) for each in compare(of_tree(left), of_tree(right))] == ["- /a-", "+ /b", "- /z"]


def test_where_content_differs(tmp_path: Path) -> None:
    for at in (0, 1, 4095, (1 << 20) - 1, 1 << 20, (2 << 20) + 4):
        left, right = tmp_path / "left", tmp_path / "right"
        for side in (left, right):
            side.mkdir(exist_ok=True)
            (side / "f").write_bytes(bytes((2 << 20) + 5))
            (side / "f").chmod(0o644)
        with (right / "f").open("r+b") as file:
            file.seek(at)
            file.write(b"!")
        found = list(compare(of_tree(scan(left)), of_tree(scan(right)), frozenset({"mtime"})))
        assert [str(each) for each in found] == [f"! /f: content, from byte {at}"]


def test_checksums_stand_for_content() -> None:
    left, right = tree(), tree()
    sums = {id(left.children[b"a"]): 1}
    found = [str(each) for each in compare(of_tree(left, sums), of_tree(right))]
    assert found == ["! /a: content, from byte 0", "! /b: content, from byte 0"]
    sums[id(left.children[b"a"])] = 0xFF41D912  # the CRC-32 of three zeros
    assert not list(compare(of_tree(left, sums), of_tree(right)))


def test_a_file_system_and_a_tree(tmp_path: Path) -> None:
    memory = MemoryFileSystem()
    shared = memory.file(b"abc")
    shared.nlink = 2
    memory.put(b"x", shared)
    memory.put(b"y", shared, memory.put(b"d", memory.folder()))
    memory.put(b"l", memory.symlink(b"d"))
    for name, content in (("d", None), ("x", b"abc")):
        if content is None:
            (tmp_path / name).mkdir()
        else:
            (tmp_path / name).write_bytes(content)
    (tmp_path / "d/y").hardlink_to(tmp_path / "x")
    (tmp_path / "l").symlink_to("d")
    ignored = frozenset({"mtime", "uid", "gid", "mode"})
    assert not list(compare(of_filesystem(memory), of_tree(scan(tmp_path)), ignored))
    memory.put(b"z", shared)
    assert [str(e) for e in compare(of_filesystem(memory), of_tree(scan(tmp_path)), ignored)] == ["- /z"]


@settings(max_examples=20)
@given(spec=trees())
def test_a_tree_is_itself(spec: Spec, tmp_path_factory: pytest.TempPathFactory) -> None:
    where = materialise(spec, tmp_path_factory.mktemp("case") / "source")
    assert not list(compare(of_tree(scan(where)), of_tree(scan(where))))
