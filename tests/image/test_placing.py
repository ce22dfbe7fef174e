from __future__ import annotations

import stat

import pytest

from unikiln.base.tree import Node, directory, walk
from unikiln.errors import ManifestError
from unikiln.image.placing import find, place


def file(size: int = 0) -> Node:
    return Node(stat.S_IFREG | 0o644, size=size)


def link(target: bytes) -> Node:
    return Node(stat.S_IFLNK | 0o777, target=target)


def folder(mode: int = 0o755, **children: Node) -> Node:
    made = directory(mode)
    made.children = {name.encode(): child for name, child in children.items()}
    return made


def paths(root: Node) -> list[bytes]:
    return [path for path, _ in walk(root)]


def test_parents_are_made_once() -> None:
    root = directory()
    place(root, b"a/b//c", file(), time_ns=7)
    place(root, b"/a/./b/d", file(), time_ns=9)
    assert paths(root) == [b"/", b"/a", b"/a/b", b"/a/b/c", b"/a/b/d"]
    assert root.children[b"a"].mtime_ns == 7


def test_directories_are_merged_at_any_depth() -> None:
    root = directory()
    place(root, b"/", folder(0o700, a=folder(x=file(1), b=folder(y=file(2)))))
    place(root, b"/", folder(0o711, a=folder(0o770, x=file(3), b=folder(z=file(4)))))
    assert paths(root) == [b"/", b"/a", b"/a/x", b"/a/b", b"/a/b/y", b"/a/b/z"]
    assert (stat.S_IMODE(root.mode), stat.S_IMODE(root.children[b"a"].mode)) == (0o711, 0o770)
    assert root.children[b"a"].children[b"x"].size == 3


def test_what_is_placed_is_not_merged_into() -> None:
    mine = folder(a=folder(x=file()))
    root = directory()
    place(root, b"/", mine)
    place(root, b"/y", file())
    assert paths(mine) == [b"/", b"/a", b"/a/x"]


def test_a_link_to_a_directory_stays_and_leads() -> None:
    root = directory()
    place(root, b"/usr/lib", folder(x=file()))
    place(root, b"/lib", link(b"usr/lib"))
    place(root, b"/", folder(lib=folder(0o700, y=file(), sub=folder(z=file()))))
    assert root.children[b"lib"].is_symlink
    lib = root.children[b"usr"].children[b"lib"]
    assert sorted(lib.children) == [b"sub", b"x", b"y"]
    assert stat.S_IMODE(lib.mode) == 0o755  # the link's directory keeps its own


@pytest.mark.parametrize("target", [b"nowhere", b"file", b"l", b"/"])
def test_other_links_give_way_to_a_directory(target: bytes) -> None:
    root = directory()
    place(root, b"/file", file())
    place(root, b"/l", link(target))
    place(root, b"/l", folder(x=file()))
    assert root.children[b"l"].is_symlink == (target == b"/")
    assert find(root, b"/l/x") is not None


def test_files_and_directories_replace_each_other() -> None:
    root = directory()
    place(root, b"/a", folder(x=file()))
    place(root, b"/a", file(1))
    assert root.children[b"a"].is_file
    place(root, b"/a", folder())
    assert root.children[b"a"].is_directory


def test_links_never_lead_above_the_root() -> None:
    root = directory()
    place(root, b"/d/up", link(b"../../../../x"))
    place(root, b"/d/up/file", file())
    assert paths(root) == [b"/", b"/d", b"/d/up", b"/x", b"/x/file"]


def test_find() -> None:
    root = directory()
    place(root, b"/a/b", file(5))
    place(root, b"/l", link(b"/a"))
    place(root, b"/end", link(b"a/b"))
    found = find(root, b"l/b")
    assert found is not None
    assert found.size == 5
    at_end = find(root, b"/end")
    assert at_end is not None
    assert at_end.is_symlink
    assert find(root, b"/") is root
    assert find(root, b"/a/none") is find(root, b"/none/x") is find(root, b"/a/b/c") is None
    with pytest.raises(ManifestError, match=r"'\.\.'"):
        find(root, b"/a/../b")


def test_depth_is_no_limit() -> None:
    root, other = directory(), directory()
    for tree in (root, other):
        below = tree
        for _ in range(3000):
            below.children[b"d"] = below = directory()
    place(root, b"/", other)
    assert len(paths(root)) == 3001
