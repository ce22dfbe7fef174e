from __future__ import annotations

import os
from pathlib import Path

import pytest

from unikiln.base.tree import Node, walk
from unikiln.errors import HostError, ManifestError
from unikiln.image.manifest import Line, parse, read_tree


def tree_of(folder: Path, text: str) -> dict[bytes, Node]:
    (folder / "manifest").write_text(text)
    return dict(walk(read_tree(folder / "manifest")))


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


def test_lines() -> None:
    text = b"[manifest]\n# comment\n\n \t\n/a: b\n  /c :  d e: f  \r\n/l: ->/a\n/s/**: t/**\n"
    assert parse(text) == [
        Line(b"/a", b"b", 5),
        Line(b"/c", b"d e: f", 6),
        Line(b"/l", b"->/a", 7),
        Line(b"/s/**", b"t/**", 8),
    ]
    assert [line.recursive for line in parse(text)] == [False, False, False, True]


@pytest.mark.parametrize("line", [b"/a:b", b"/a", b": b", b"/a: ", b"/a: %(x)s/b", b"/usr/&/lib/x: &/&"])
def test_what_is_no_rule_is_refused_with_its_line(line: bytes) -> None:
    with pytest.raises(ManifestError, match="m:2"):
        parse(b"# first\n" + line, "m")


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


def test_recursion_into_the_root(skel: Path) -> None:
    nodes = tree_of(skel, "/**: usr/**\n/lib/more: usr/lib/real\n")
    assert b"/lib/real" in nodes
    assert b"/lib/more" in nodes


def test_the_later_line_wins(skel: Path) -> None:
    (skel / "other").write_text("12")
    nodes = tree_of(skel, "/a: usr/lib/real\n/a: other\n")
    assert nodes[b"/a"].size == 2


def test_all_missing_files_are_named_at_once(skel: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        tree_of(skel, "/a: gone\n/b: usr/lib/real\n/c/**: usr/lib/real/**\n/d: usr/dangling\n")
    assert "gone (line 1), usr/lib/real/** (line 3), usr/dangling (line 4)" in str(caught.value)


def test_a_missing_manifest(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="absent: No such file"):
        read_tree(tmp_path / "absent")


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


def test_made_parents_have_the_time_that_is_given(skel: Path) -> None:
    (skel / "manifest").write_text("/a/b: usr/lib/real\n")
    tree = read_tree(skel / "manifest", time_ns=5)
    assert tree.children[b"a"].mtime_ns == 5
