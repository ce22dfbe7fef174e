"""Names that mean the same, in file systems that OpenZFS made so."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator

import pytest

from tests.zfs import corpus
from unikiln.base.device import FileDevice
from unikiln.zfs.filesystem import Inode
from unikiln.zfs.normalization import NameRule
from unikiln.zfs.pool import Pool, open_pool


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    path = corpus.unpack("zplprops", tmp_path_factory.mktemp("pool"))
    with FileDevice(path) as device, open_pool(device) as pool:
        yield pool


def entries(inode: Inode) -> Iterator[tuple[Inode, bytes, int]]:
    for entry in inode.entries():
        yield inode, entry.name, entry.object
        child = inode.filesystem.inode(entry.object)
        if child.is_directory:
            yield from entries(child)


@pytest.mark.parametrize("name", ["ci", "mixed", "formD", "formKCci", "utf8", "cache"])
def test_every_name_leads_to_its_object(pool: Pool, name: str) -> None:
    fs = pool.filesystem(f"ref_zplprops/{name}")
    found = list(entries(fs.root))
    assert len(found) > 200
    for directory, each, number in found:
        child = directory.lookup(each)
        assert child is not None
        assert child.object == number


@pytest.mark.parametrize(
    ("name", "folds"), [("ci", True), ("formKCci", True), ("mixed", False), ("cache", False)]
)
def test_case_counts_where_it_does(pool: Pool, name: str, folds: bool) -> None:
    fs = pool.filesystem(f"ref_zplprops/{name}")
    tried = 0
    for directory, each, number in entries(fs.root):
        other = each.swapcase()
        if other != each and each.isascii():
            found = directory.find(other)
            same = found is not None and found.object == number
            assert same == folds
            assert not same or (found is not None and found.name == each)
            tried += 1
    assert tried > 50


@pytest.mark.parametrize(("name", "form"), [("formD", "NFD"), ("formKCci", "NFKC"), ("cache", None)])
def test_forms_count_where_they_do_not(pool: Pool, name: str, form: str | None) -> None:
    fs = pool.filesystem(f"ref_zplprops/{name}")
    tried = 0
    for directory, each, number in entries(fs.root):
        text = os.fsdecode(each)
        for variant in {unicodedata.normalize("NFD", text), unicodedata.normalize("NFC", text)} - {text}:
            found = directory.find(os.fsencode(variant))
            assert (found is not None and found.object == number) == (form is not None)
            tried += 1
    assert tried


def test_rules() -> None:
    assert NameRule.of({}) is None
    assert NameRule.of({b"normalization": 0, b"casesensitivity": 0}) is None
    assert NameRule.of({b"normalization": 0x50}) == NameRule("NFC", folds_case=False)
    assert NameRule.of({b"casesensitivity": 2}) == NameRule(None, folds_case=False)
    rule = NameRule.of({b"normalization": 0x20, b"casesensitivity": 1})
    assert rule == NameRule("NFKD", folds_case=True)
    assert rule.key("ﬁle".encode()) == rule.key(b"FILE")
    assert NameRule(None, folds_case=True).key("ß".encode()) == "ß"
    assert NameRule(None, folds_case=True).key(b"\xff") == "\udcff"
