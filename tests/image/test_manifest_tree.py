"""Manifests as trees: links of the host, folders, what is missing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from unikiln.base.tree import Node, walk
from unikiln.errors import HostError, ManifestError
from unikiln.image.sources import SourceOptions, assemble


def tree_of(folder: Path, text: str) -> dict[bytes, Node]:
    (folder / "manifest").write_text(text)
    return dict(walk(assemble(SourceOptions.of(folder / "manifest"))))


@pytest.fixture
def skel(tmp_path: Path) -> Path:
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "usr/empty").mkdir()
    (tmp_path / "usr/lib/real").write_text("content")
    (tmp_path / "usr/lib/link").symlink_to("real")
    (tmp_path / "usr/lib/rooted").symlink_to("/usr/lib/real")
    (tmp_path / "usr/dangling").symlink_to("nowhere")
    (tmp_path / "usr/folder").symlink_to("lib")
    return tmp_path


def test_files_links_and_parents(skel: Path) -> None:
    nodes = tree_of(skel, "/bin/app: usr/lib/real\nlib/l.so: ->/bin/app\n")
    assert list(nodes) == [b"/", b"/bin", b"/bin/app", b"/lib", b"/lib/l.so"]
    assert (nodes[b"/bin"].mode, nodes[b"/bin"].uid) == (0o40755, 0)
    assert nodes[b"/bin/app"].source == os.fsencode(skel / "usr/lib/real")
    assert nodes[b"/lib/l.so"].target == b"/bin/app"


def test_links_are_followed_unless_marked(skel: Path) -> None:
    nodes = tree_of(skel, "/a: usr/lib/link\n/b: !usr/lib/link\n/c: usr/lib/rooted\n")
    assert nodes[b"/a"].size == len("content")
    assert nodes[b"/b"].target == b"real"
    # /usr/lib/real is looked for below the folders above the link first.
    assert nodes[b"/c"].source == os.fsencode(skel / "usr/lib/real")


def test_a_link_to_a_link(skel: Path) -> None:
    (skel / "first").symlink_to("usr/lib/rooted")
    (skel / "loop").symlink_to("loop")
    nodes = tree_of(skel, "/a: first\n/l: !loop\n")
    assert nodes[b"/a"].source == os.fsencode(skel / "usr/lib/real")
    assert nodes[b"/l"].target == b"loop"


def test_a_folder_alone_brings_nothing_along(skel: Path) -> None:
    assert list(tree_of(skel, "/d: usr\n")) == [b"/", b"/d"]


def test_recursion(skel: Path) -> None:
    (skel / "usr").chmod(0o750)
    nodes = tree_of(skel, "/x/**: usr/**\n")
    below = [b"/x", b"/x/dangling", b"/x/empty", b"/x/folder"]
    assert list(nodes) == [b"/", *below, b"/x/lib", b"/x/lib/link", b"/x/lib/real", b"/x/lib/rooted"]
    assert nodes[b"/x"].mode == 0o40750
    assert nodes[b"/x/dangling"].target == b"nowhere"
    assert nodes[b"/x/folder"].target == b"lib"
    assert nodes[b"/x/lib/link"].is_file


def test_recursion_that_keeps_links(skel: Path) -> None:
    nodes = tree_of(skel, "/x/**: !usr/**\n")
    assert nodes[b"/x/lib/link"].target == b"real"
    assert nodes[b"/x/lib/rooted"].target == b"/usr/lib/real"


def test_recursion_into_the_root(skel: Path) -> None:
    nodes = tree_of(skel, "/**: usr/**\n/lib/more: usr/lib/real\n")
    assert b"/lib/real" in nodes
    assert b"/lib/more" in nodes


def test_recursion_into_great_depth(tmp_path: Path) -> None:
    deep = tmp_path / "deep"
    for _ in range(1200):
        deep.mkdir()
        deep = deep / "d"
    try:
        assert len(tree_of(tmp_path, "/x/**: deep/**\n")) == 1 + 1200
    finally:  # pytest, which clears up by recursion, could not
        for _ in range(1200):
            deep = deep.parent
            deep.rmdir()


def test_stripped_copies_of_the_original_are_left_out(skel: Path) -> None:
    for name in ("a.so", "a-stripped.so", "b-stripped.so"):
        (skel / "usr/lib" / name).touch()
    nodes = tree_of(skel, "/x/**: usr/lib/**\n/named: usr/lib/a-stripped.so\n")
    assert b"/x/a.so" in nodes
    assert b"/x/a-stripped.so" not in nodes
    assert b"/x/b-stripped.so" in nodes
    assert b"/named" in nodes


def test_the_later_line_wins(skel: Path) -> None:
    (skel / "other").write_text("12")
    nodes = tree_of(skel, "/a: usr/lib/real\n/a: other\n")
    assert nodes[b"/a"].size == 2


def test_everything_wrong_is_told_at_once(skel: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        bad = "/c/**: usr/lib/real/**\n/d: usr/dangling\n/e\n/g/**: none/**\n/b/c: !gone"
        tree_of(skel, "/a: gone\n/b: usr/lib/real\n" + bad)
    name = f"{skel}/manifest"
    assert caught.value.problems == (
        f"{name}:5: '/e' is not 'guest: host' (a space follows the colon)",
        f"{name}:1: gone is missing",
        f"{name}:3: usr/lib/real is no folder",
        f"{name}:4: usr/dangling is missing",
        f"{name}:6: none is missing",
        f"{name}:7: gone is missing",
    )
    assert all(problem in str(caught.value) for problem in caught.value.problems)


def test_a_missing_manifest(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="absent: No such file"):
        assemble(SourceOptions.of(tmp_path / "absent"))


def test_links_in_the_image_lead_where_they_say(skel: Path) -> None:
    text = "/lib: ->usr/lib64\n/usr/lib64: ->../real/lib\n/lib/file: usr/lib/real\n"
    text += "/abs: ->/real\n/abs/x: usr/lib/real\n"
    nodes = tree_of(skel, text)
    assert b"/real/lib/file" in nodes
    assert b"/real/x" in nodes


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("/a: usr/lib/real\n/a/b: usr/lib/real\n", "manifest:2: .*no directory"),
        ("/a: ->b\n/b: ->a\n/a/x: usr/lib/real\n", "manifest:3: .*loop"),
        ("/a/../../b: usr/lib/real\n", r"manifest:1: .*'\.\.'"),
        ("/: usr/lib/real\n", "manifest:1: .*root"),
    ],
)
def test_places_that_cannot_be(skel: Path, text: str, said: str) -> None:
    with pytest.raises(ManifestError, match=said):
        tree_of(skel, text)


def test_hard_links_are_one_node(skel: Path) -> None:
    (skel / "again").hardlink_to(skel / "usr/lib/real")
    nodes = tree_of(skel, "/a: again\n/b/**: usr/lib/**\n/c: usr/lib/link\n")
    assert nodes[b"/a"] is nodes[b"/b/real"] is nodes[b"/c"]
