"""Generated trees: what they are, how they become files on the host, and how two are compared."""

# Names are bytes here.
# ruff: noqa: PTH101, PTH102, PTH123, PTH208, PTH211, PTH115

from __future__ import annotations

import errno
import hashlib
import os
import random
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import strategies as st

BLOCK = 128 << 10
EDGES = [0, 1, 111, 112, 113, 511, 512, 513, 4095, 4096, 4097, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7]
"""File sizes at which something changes in how ZFS stores them."""


@dataclass(frozen=True)
class Segment:
    """A stretch of a file: ``kind`` is hole, zeros, text or noise."""

    kind: str
    length: int
    seed: int = 0

    def content(self) -> bytes:
        if self.kind == "noise":
            return random.Random(self.seed).randbytes(self.length)
        if self.kind == "text":
            return (b"line %d of a text that compresses\n" % self.seed * (self.length // 30 + 1))[
                : self.length
            ]
        return bytes(self.length)


@dataclass(frozen=True)
class Spec:
    """One node to make. A hard link is to an earlier file: number ``link`` modulo their count."""

    kind: str
    mode: int = 0o644
    mtime_ns: int = 0
    segments: tuple[Segment, ...] = ()
    target: bytes = b""
    link: int = 0
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    children: dict[bytes, Spec] = field(default_factory=dict)


def names() -> st.SearchStrategy[bytes]:
    """Names that a file can have: words, any text, any bytes, and as long as names get."""
    plain = st.text("abcdefghijklmnop.-_0123456789", min_size=1, max_size=12).map(os.fsencode)
    text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60).map(
        lambda s: s.encode()
    )
    raw = st.binary(min_size=1, max_size=40)
    long = st.builds(lambda fill, size: fill * size, st.sampled_from([b"x", b"\xe2"]), st.integers(200, 255))
    return st.one_of(plain, plain, text, raw, long).filter(_is_name)


def _is_name(name: bytes) -> bool:
    return 1 <= len(name) <= 255 and b"/" not in name and b"\0" not in name and name not in (b".", b"..")


def times() -> st.SearchStrategy[int]:
    return st.integers(0, 2**32 * 10**9)


def xattrs() -> st.SearchStrategy[dict[bytes, bytes]]:
    name = st.text("abcdefgh._-é", min_size=1, max_size=20).map(lambda text: b"user." + text.encode())
    few = st.dictionaries(name, st.binary(max_size=300), max_size=3)
    return st.one_of(st.just({}), st.just({}), few)


def contents() -> st.SearchStrategy[tuple[Segment, ...]]:
    length = st.one_of(st.integers(0, 300), st.sampled_from(EDGES), st.integers(0, 3 * BLOCK))
    kind = st.sampled_from(["noise", "text", "text", "hole", "zeros"])
    segment = st.builds(Segment, kind, length, st.integers(0, 2**32))
    return st.lists(segment, max_size=4).map(tuple)


def leaves() -> st.SearchStrategy[Spec]:
    modes = st.integers(0, 0o7777)
    file = st.builds(Spec, st.just("file"), modes, times(), contents(), xattrs=xattrs())
    target = st.binary(min_size=1, max_size=200).filter(lambda target: b"\0" not in target)
    symlink = st.builds(Spec, st.just("symlink"), mtime_ns=times(), target=target)
    fifo = st.builds(Spec, st.just("fifo"), modes, times())
    link = st.builds(Spec, st.just("link"), link=st.integers(0, 100))
    return st.one_of(file, file, file, symlink, fifo, link)


def directories(children: st.SearchStrategy[Spec]) -> st.SearchStrategy[Spec]:
    below = st.dictionaries(names(), children, max_size=6)
    modes = st.integers(0, 0o7777)
    return st.builds(Spec, st.just("directory"), modes, times(), xattrs=xattrs(), children=below)


def trees() -> st.SearchStrategy[Spec]:
    """Directories with whatever a directory can have in it, a few levels deep."""
    return directories(st.recursive(leaves(), directories, max_leaves=15))


def materialise(spec: Spec, path: Path) -> Path:
    """Make ``spec`` as ``path``, which must not exist; ``path`` again."""
    _Maker().make(spec, os.fsencode(path))
    return path


class _Maker:
    def __init__(self) -> None:
        self._files: list[bytes] = []
        self._root = os.geteuid() == 0

    def make(self, spec: Spec, path: bytes) -> None:
        if spec.kind == "link" and self._files:
            os.link(self._files[spec.link % len(self._files)], path)
            return
        getattr(self, f"_make_{spec.kind}")(spec, path)
        if spec.kind != "symlink":
            for name, value in spec.xattrs.items():
                _set_xattr(path, name, value)
            # Only root can read, or remove, what has no permissions.
            needed = 0 if self._root else 0o700 if spec.kind == "directory" else 0o600
            os.chmod(path, spec.mode | needed)
        os.utime(path, ns=(spec.mtime_ns // 3, spec.mtime_ns), follow_symlinks=False)

    def _make_directory(self, spec: Spec, path: bytes) -> None:
        os.mkdir(path)
        for name, child in spec.children.items():
            self.make(child, path + b"/" + name)

    def _make_file(self, spec: Spec, path: bytes) -> None:
        with open(path, "xb") as file:
            for segment in spec.segments:
                if segment.kind == "hole":
                    file.seek(segment.length, os.SEEK_CUR)
                else:
                    file.write(segment.content())
            file.truncate(sum(segment.length for segment in spec.segments))
        self._files.append(path)

    def _make_symlink(self, spec: Spec, path: bytes) -> None:
        os.symlink(spec.target, path)

    def _make_fifo(self, spec: Spec, path: bytes) -> None:
        os.mkfifo(path)

    _make_link = _make_file  # the first of its tree has nothing to be a link to


def _set_xattr(path: bytes, name: bytes, value: bytes) -> None:
    try:
        os.setxattr(path, name, value)
    except OSError as error:
        # The host's file system may have none, or too little room for them.
        if error.errno not in (errno.ENOTSUP, errno.ENOSPC):
            raise


def compare_trees(
    expected: Path, actual: Path, *, atime: bool = False, holes: bool = False, record: int = BLOCK
) -> None:
    """Assert that two directories of the host are the same, attribute for attribute.

    Owners count when root runs this, access times if ``atime``; with ``holes``, a whole record that is a
    hole in a file of ``expected`` must be one in ``actual``, where ``record`` is the file system's largest.
    """
    left, right = dict(_describe(expected, atime=atime)), dict(_describe(actual, atime=atime))
    assert sorted(left) == sorted(right)
    for path, description in left.items():
        assert right[path] == description, f"{path!r} differs"
        if holes and description["type"] == stat.S_IFREG:
            assert _records(actual, path, record) <= _records(expected, path, record), (
                f"{path!r} has lost holes"
            )


def _records(top: Path, path: bytes, record: int) -> set[int]:
    """Numbers of the records of a file that are not holes all through."""
    unit = max(record, 4096)  # hosts have no smaller holes
    found: set[int] = set()
    with open(os.path.join(os.fsencode(top), path), "rb") as file:
        start = end = 0
        while True:
            try:
                start = os.lseek(file.fileno(), end, os.SEEK_DATA)
            except OSError:  # no data from there on
                return found
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            found.update(range(start // unit, -(-end // unit)))


def _describe(top: Path, *, atime: bool) -> Iterator[tuple[bytes, dict[str, object]]]:
    first: dict[int, bytes] = {}
    stack = [b"."]
    while stack:
        path = stack.pop()
        full = os.path.join(os.fsencode(top), path)
        status = os.lstat(full)
        description = _attributes(full, status)
        if atime:
            description["atime_ns"] = status.st_atime_ns
        if not stat.S_ISDIR(status.st_mode):
            description["same as"] = first.setdefault(status.st_ino, path)
            description["nlink"] = status.st_nlink
        else:
            # Descending, as the stack is taken from its end: names come in order, so "same as" agrees.
            stack += [path + b"/" + name for name in sorted(os.listdir(full), reverse=True)]
        yield path, description


def _attributes(path: bytes, status: os.stat_result) -> dict[str, object]:
    mode = status.st_mode
    follow = not stat.S_ISLNK(mode)
    described: dict[str, object] = {
        "type": stat.S_IFMT(mode),
        "mode": stat.S_IMODE(mode),
        "mtime_ns": status.st_mtime_ns,
        "rdev": status.st_rdev,
        "xattrs": {
            name: os.getxattr(path, name, follow_symlinks=follow)
            for name in _listxattr(path, follow=follow)
            if not name.startswith("security.")
        },
    }
    if os.geteuid() == 0:
        described["owner"] = status.st_uid, status.st_gid
    if stat.S_ISREG(mode):
        described["size"] = status.st_size
        with open(path, "rb") as file:
            described["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    if stat.S_ISLNK(mode):
        described["target"] = os.readlink(path)
    return described


def _listxattr(path: bytes, *, follow: bool) -> list[str]:
    try:
        return os.listxattr(path, follow_symlinks=follow)
    except OSError:
        return []
