from __future__ import annotations

import fnmatch
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unikiln.errors import UsageError
from unikiln.image.source_exclude import excluder


@pytest.mark.parametrize(
    ("pattern", "left_out", "kept"),
    [
        ("*.a", ["/x.a", "/usr/lib/x.a", "/d.a/below/it"], ["/x.ab", "/a", "/.b"]),
        (".git", ["/.git", "/a/.git/objects/00"], ["/a.git", "/.gitignore"]),
        ("/usr/doc", ["/usr/doc", "/usr/doc/x"], ["/a/usr/doc", "/usr/docs", "/usr"]),
        ("usr/doc", ["/usr/doc"], ["/a/usr/doc"]),
        ("/tmp/", ["/tmp", "/tmp/x"], ["/var/tmp", "/tmpx"]),
        ("tmp/", ["/tmp/x", "/var/tmp"], ["/tmpx"]),
        ("/usr/*/doc", ["/usr/a/doc"], ["/usr/doc", "/usr/a/b/doc"]),
        ("/usr/**/doc", ["/usr/doc", "/usr/a/doc", "/usr/a/b/doc/x"], ["/usr/xdoc"]),
        ("/a/**", ["/a/b", "/a/b/c"], ["/a", "/ab"]),
        ("?.so", ["/a.so"], ["/ab.so", "/.so"]),
        ("[ab]x", ["/ax", "/d/bx"], ["/cx", "/abx"]),
        ("[!ab]x", ["/cx"], ["/ax", "/x"]),
        ("[]]", ["/]"], ["/["]),
        ("[^a]", ["/^", "/a"], ["/b"]),
        ("a[", ["/a["], ["/a"]),
        ("a+(b)|c.$", ["/a+(b)|c.$"], ["/aab", "/c"]),
        ("line\n", ["/line\n"], ["/line"]),
    ],
)
def test_patterns(pattern: str, left_out: list[str], kept: list[str]) -> None:
    excluded = excluder([pattern])
    assert excluded is not None
    assert [path for path in left_out if not excluded(path.encode())] == []
    assert [path for path in kept if excluded(path.encode())] == []


def test_any_of_several_and_none() -> None:
    excluded = excluder(["a", "/b/c"])
    assert excluded is not None
    assert [excluded(path) for path in (b"/x/a", b"/b/c", b"/b")] == [True, True, False]
    assert excluder([]) is None


def test_names_that_are_no_utf8() -> None:
    excluded = excluder(["*.o"])
    assert excluded is not None
    assert excluded(b"/\xff\xfe.o")


@pytest.mark.parametrize("pattern", ["", "/", "//", "[z-a]"])
def test_patterns_that_are_none(pattern: str) -> None:
    with pytest.raises(UsageError, match="--exclude"):
        excluder([pattern])


@given(st.text("ab*?.[]!-", min_size=1, max_size=8), st.text("ab.-]", min_size=1, max_size=6))
def test_names_match_as_in_the_shell(pattern: str, name: str) -> None:
    if "**" in pattern:
        return
    try:
        excluded = excluder([pattern])
    except UsageError:
        return
    assert excluded is not None
    try:
        expected = re.compile(fnmatch.translate(pattern)).match(name) is not None
    except re.error:
        return
    if "-" in pattern and "[" in pattern:  # where a range ends is fnmatch's own
        return
    assert excluded(b"/" + name.encode()) == expected
