from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings

from tests.trees import Spec, compare_trees, materialise, trees
from unikiln.base.tree import Node, directory
from unikiln.errors import HostError
from unikiln.image.directory import scan
from unikiln.image.export import TreeFileSystem, export


@settings(max_examples=25)
@given(spec=trees())
def test_a_tree_comes_out_as_it_went_in(tmp_path_factory: pytest.TempPathFactory, spec: Spec) -> None:
    tmp_path = tmp_path_factory.mktemp("export")
    source = materialise(spec, tmp_path / "in")
    export(scan(source), tmp_path / "new/out", print)
    compare_trees(source, tmp_path / "new/out", holes=True)


def test_a_directory_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "kept").touch()
    with pytest.raises(HostError, match="is not empty"):
        export(directory(), tmp_path, pytest.fail)
    assert os.listdir(tmp_path) == ["kept"]  # noqa: PTH208
    with pytest.raises(HostError, match="kept: File exists"):
        export(directory(), tmp_path / "kept", pytest.fail)


def test_what_the_host_cannot_have_is_told_in_few_words(tmp_path: Path) -> None:
    root = directory()
    for number in range(15):
        root.children[b"%02d" % number] = Node(0o100644, size=1 << 62)
    said: list[str] = []
    export(root, tmp_path / "out", said.append)
    assert len(said) == 11
    assert said[0].startswith("not exported: /00: ")
    assert said[-1].startswith("and 5 more")


def test_a_tree_as_a_file_system(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "same").hardlink_to(tmp_path / "file")
    (tmp_path / "link").symlink_to("file")
    files = TreeFileSystem(scan(tmp_path))
    file, same, link = (files.root.lookup(name) for name in (b"file", b"same", b"link"))
    assert file is not None
    assert link is not None
    assert file is same
    assert (file.attributes.nlink, file.attributes.size, file.read(3, 100)) == (2, 7, b"tent")
    assert file.read(7, 1) == file.read(100, 1) == b""
    assert list(file.data_ranges()) == [(0, 7)]
    assert (link.readlink(), link.attributes.size) == (b"file", 4)
    assert [(entry.name, entry.type) for entry in files.root.entries()] == [
        (b"file", 8),
        (b"link", 10),
        (b"same", 8),
    ]
    assert files.root.lookup(b"none") is None
    assert files.inode(file.object) is file
    assert file.host == os.fsencode(tmp_path / "file")
