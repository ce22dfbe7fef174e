from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import judges
from unikiln.base.tree import Node, directory
from unikiln.errors import UsageError
from unikiln.image.source_change import change, parse_mode, parse_owner, parse_time

WORDS = st.from_regex(
    r"\A(([ugoa]{0,3}[-+=]([rwxXst]{0,4}|[ugo]))(,[ugoa]{1,2}[-+=][rwxXst]{0,3}){0,2}|[0-7]{1,4})\Z"
)


@pytest.mark.judge("chmod")
@settings(max_examples=150)
@given(text=WORDS, mode=st.integers(0, 0o7777), is_directory=st.booleans())
def test_modes_are_what_chmod_makes_of_them(tmp_path: Path, text: str, mode: int, is_directory: bool) -> None:
    path = tmp_path / ("directory" if is_directory else "file")
    path.mkdir(exist_ok=True) if is_directory else path.touch()
    path.chmod(mode)
    judges.run("sh", "-c", f"umask 0; chmod -- {text} '{path}'")
    assert oct(parse_mode(text)(mode, is_directory)) == oct(stat.S_IMODE(path.stat().st_mode))


@pytest.mark.parametrize("text", ["", "8", "77777", "u", "rwx", "u+q", "u+r,,g+w", "u+r,", "a b", "+0"])
def test_what_chmod_would_refuse(text: str) -> None:
    with pytest.raises(UsageError, match="no mode"):
        parse_mode(text)


def test_owners() -> None:
    assert parse_owner("5") == (5, None)
    assert parse_owner("1000:0") == (1000, 0)
    for text in ("", "root", "1:", ":1", "-1", "1:2:3", "4294967295", "1.5", "٣"):
        with pytest.raises(UsageError, match="no owner"):
            parse_owner(text)


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        ("@0", 0),
        ("@1700000000.5", 1_700_000_000_500_000_000),
        ("@1.000000001", 1_000_000_001),
        ("2026-01-31", 1_769_817_600_000_000_000),
        ("2026-01-31T12:00", 1_769_860_800_000_000_000),
        ("2026-01-31T12:00:00+02:00", 1_769_853_600_000_000_000),
        ("2026-01-31 12:00:00.000001Z", 1_769_860_800_000_001_000),
    ],
)
def test_times(text: str, time_ns: int) -> None:
    assert parse_time(text) == time_ns


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "@", "@-1", "@1.2.3", "1700000000000000"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(UsageError, match="no time"):
        parse_time(text)


def test_change_is_once_for_each_node_and_not_for_links() -> None:
    root = directory(0o700)
    file = Node(stat.S_IFREG | 0o640, uid=1, gid=2)
    root.children = {b"a": file, b"b": file, b"l": Node(stat.S_IFLNK | 0o777, gid=3)}
    # Doing that twice would take the bits of the owner from the others' again.
    change(root, owner=(7, None), mode=parse_mode("o=g,g=u,u-w"), mtime_ns=9)
    assert oct(file.mode) == oct(stat.S_IFREG | 0o464)
    assert (file.uid, file.gid) == (7, 2)
    assert root.children[b"l"].mode == stat.S_IFLNK | 0o777
    assert (root.children[b"l"].uid, root.children[b"l"].gid) == (7, 3)
    assert {(each.atime_ns, each.mtime_ns, each.ctime_ns) for each in (root, file)} == {(9, 9, 9)}
