from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from unikiln.errors import HostError
from unikiln.image.inside import Inside


@pytest.fixture
def top(tmp_path: Path) -> Path:
    folder = tmp_path / "top"
    (folder / "a/b/c").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    return folder


@pytest.fixture
def inside(top: Path) -> Iterator[Inside]:
    it = Inside(top)
    yield it
    it.close()


def real(inside: Inside, *names: bytes, make: bool = True) -> bytes:
    fd, found = inside.open(names, make=make)
    assert os.path.samestat(os.fstat(fd), os.stat(b"/".join((b".", *found)), dir_fd=inside._top))
    return b"/".join(found)


@pytest.mark.parametrize(
    ("target", "leads"),
    [
        ("a", b"a"),
        ("/a/b", b"a/b"),
        ("..", b""),
        ("../secret", b"secret"),
        ("/../../a", b"a"),
        ("a/../a/./b", b"a/b"),
        ("/", b""),
    ],
)
def test_links(inside: Inside, top: Path, target: str, leads: bytes) -> None:
    (top / "link").symlink_to(target)
    assert real(inside, b"link") == leads
    assert real(inside, b"link", b"new") == (leads + b"/new").strip(b"/")


def test_links_deep_below(inside: Inside, top: Path) -> None:
    (top / "a/b/up").symlink_to("../../a")
    assert real(inside, b"a", b"b", b"up", b"b", b"up", b"b", b"c") == b"a/b/c"


def test_directories_are_made_only_when_asked(inside: Inside, top: Path) -> None:
    with pytest.raises(FileNotFoundError):
        inside.open((b"x", b"y"), make=False)
    assert not (top / "x").exists()
    assert real(inside, b"x", b"y") == b"x/y"


def test_loops(inside: Inside, top: Path) -> None:
    (top / "l").symlink_to("l")
    with pytest.raises(HostError, match="l: goes through a loop of symbolic links"):
        inside.open((b"l",))


def test_what_is_no_directory(inside: Inside, top: Path) -> None:
    (top / "f").touch()
    with pytest.raises(NotADirectoryError):
        inside.open((b"f", b"x"))


def test_a_failed_step_leaves_it_usable(inside: Inside, top: Path) -> None:
    (top / "a/f").touch()
    with pytest.raises(NotADirectoryError):
        inside.open((b"a", b"f", b"x"))
    assert real(inside, b"a") == b"a"
    assert real(inside, b"a", b"f2") == b"a/f2"


def test_what_changed_is_seen_after_forget(inside: Inside, top: Path) -> None:
    (top / "l").symlink_to("a")
    assert real(inside, b"l") == b"a"
    (top / "l").unlink()
    (top / "l").symlink_to("a/b")
    inside.forget()
    assert real(inside, b"l") == b"a/b"


def test_no_descriptor_is_left_open(top: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    (top / "l").symlink_to("/a/b/../b/c")
    for _ in range(3):
        it = Inside(top)
        it.open((b"l", b"x"))
        it.open((b"a",))
        it.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="nothing: No such file"):
        Inside(tmp_path / "nothing")
