"""Trees to archives and back, by our own hands and by GNU cpio's, each way."""

from __future__ import annotations

import io
import os
import stat
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings

from tests import judges
from tests.image.cpio.archives import gathered
from tests.trees import Spec, materialise, trees
from unikiln.base.tree import Node, directory, totals, walk
from unikiln.errors import CpioError, HostError
from unikiln.image.compare import Difference, compare, of_tree
from unikiln.image.cpio.folder import FolderReceiver
from unikiln.image.cpio.newc import FIELD_MAX
from unikiln.image.cpio.reader import entries
from unikiln.image.cpio.receive import receive
from unikiln.image.cpio.writer import Writer, check_sizes, losses
from unikiln.image.directory import scan

NOT_CARRIED = frozenset({"xattrs", "mtime"})


def archived(tree: Node, *, absolute: bool = False, every_link: bool = False) -> bytes:
    return b"".join(Writer(tree, absolute=absolute, every_link=every_link).pieces())


def differences(left: Node, right: Node, ignore: frozenset[str] = NOT_CARRIED) -> list[Difference]:
    return list(compare(of_tree(left), of_tree(right), ignore))


def in_seconds(tree: Node) -> dict[bytes, int]:
    return {path: min(max(node.mtime_ns // 10**9, 0), FIELD_MAX) for path, node in walk(tree)}


@settings(max_examples=40)
@given(spec=trees())
def test_generated_trees(spec: Spec, tmp_path_factory: pytest.TempPathFactory) -> None:
    where = tmp_path_factory.mktemp("case")
    tree = scan(materialise(spec, where / "source"))
    for absolute in (False, True):
        back = gathered(archived(tree, absolute=absolute, every_link=absolute), where)
        assert not differences(tree, back)
        assert in_seconds(tree) == in_seconds(back)
    (where / "dest").mkdir()
    with closing(FolderReceiver(where / "dest")) as receiver:
        receive(io.BytesIO(archived(tree)), receiver)
    dest = scan(where / "dest")
    assert not receiver.failures
    assert not differences(tree, dest)
    assert in_seconds(tree) == in_seconds(dest)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "d/e").mkdir(parents=True)
    (folder / "d/file").write_bytes(os.urandom(300_001))
    (folder / "d/again").hardlink_to(folder / "d/file")
    (folder / "third").hardlink_to(folder / "d/file")
    (folder / "empty").touch()
    (folder / "empty too").hardlink_to(folder / "empty")
    (folder / "link").symlink_to("d/file")
    (folder / os.fsdecode(b"no \xff text")).write_bytes(b"x")
    (folder / "d/e/suid").write_bytes(b"#!")
    (folder / "d/e/suid").chmod(0o4755)
    os.mkfifo(folder / "pipe")
    if os.geteuid() == 0:
        os.mknod(folder / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.chown(folder / "d", 12, 34)
    os.utime(folder / "d/e", (1, 1_600_000_000))
    return folder


@pytest.mark.judge("cpio")
def test_gnu_cpio_reads_what_we_write(source: Path, tmp_path: Path) -> None:
    tree = scan(source)
    dest = tmp_path / "dest"
    dest.mkdir()
    for every_link in (False, True):
        subprocess.run(
            [str(judges.find("cpio")), "-idmu", "--quiet"],
            input=archived(tree, every_link=every_link), cwd=dest, check=True,
        )  # fmt: skip
        assert not differences(tree, scan(dest))


@pytest.mark.judge("cpio")
def test_gnu_cpio_lists_what_we_write(source: Path) -> None:
    tree = scan(source)
    done = subprocess.run(
        [str(judges.find("cpio")), "-it", "--null", "--quiet"],
        input=archived(tree),
        capture_output=True,
        check=True,
    )
    names = [path[1:] or b"." for path, _ in walk(tree)]
    assert done.stderr == b""
    assert done.stdout.split(b"\0")[:-1] == names


@pytest.mark.judge("cpio")
def test_we_read_what_gnu_cpio_writes(source: Path, tmp_path: Path) -> None:
    found = b"\0".join(b"." + path.rstrip(b"/") for path, _ in walk(scan(source))) + b"\0"
    done = subprocess.run(
        [str(judges.find("cpio")), "-o0", "-H", "newc", "--quiet"],
        input=found,
        cwd=source,
        capture_output=True,
        check=True,
    )
    assert not differences(scan(source), gathered(done.stdout, tmp_path))
    dest = tmp_path / "dest"
    dest.mkdir()
    with closing(FolderReceiver(dest)) as receiver:
        receive(io.BytesIO(done.stdout), receiver)
    assert not differences(scan(source), scan(dest))


def test_content_comes_with_the_last_name_or_with_each(source: Path) -> None:
    tree = scan(source)
    once, each = archived(tree), archived(tree, every_link=True)
    assert len(each) - len(once) == 2 * (300_001 + 3)
    sizes = [entry.header.size for entry in entries(io.BytesIO(once)) if entry.header.nlink == 3]
    assert sizes == [0, 0, 300_001]
    inodes = [entry.header.inode for entry in entries(io.BytesIO(each)) if entry.header.nlink == 3]
    assert len(inodes) == 3
    assert len({*inodes}) == 1


def test_what_was_sent(source: Path) -> None:
    writer = Writer(scan(source))
    data = b"".join(writer.pieces())
    assert writer.sent.size == len(data)
    assert writer.sent.entries == sum(1 for _ in entries(io.BytesIO(data)))
    assert sorted(file.size for file in writer.sent.files.values()) == [0, 1, 2, 300_001]


def test_a_file_that_is_called_like_the_trailer(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s/TRAILER!!!").write_bytes(b"not the end")
    tree = scan(tmp_path / "s")
    for absolute in (False, True):
        assert not differences(tree, gathered(archived(tree, absolute=absolute), tmp_path))


def test_times_before_and_after_what_newc_can_tell(tmp_path: Path) -> None:
    root = directory()
    for name, seconds in ((b"early", -5), (b"late", 1 << 40)):
        root.children[name] = Node(stat.S_IFREG | 0o644, mtime_ns=seconds * 10**9)
    times = in_seconds(gathered(archived(root), tmp_path))
    assert (times[b"/early"], times[b"/late"]) == (0, FIELD_MAX)


def test_files_that_are_too_large() -> None:
    root = directory()
    root.children[b"large"] = Node(stat.S_IFREG, size=1 << 32)
    with pytest.raises(CpioError, match="/large: newc holds no file of 4 GiB"):
        check_sizes(root)
    root.children[b"large"].size -= 1
    check_sizes(root)


def test_what_is_lost_is_told(source: Path) -> None:
    root = directory()
    root.children[b"a"] = Node(stat.S_IFREG, xattrs={b"user.x": b"1"})
    root.children[b"b"] = Node(stat.S_IFREG)
    assert losses(root).xattrs == (b"/a",)


def test_a_file_that_cannot_be_read(source: Path) -> None:
    tree = scan(source)
    (source / "d/e/suid").unlink()
    with pytest.raises(HostError, match="suid: No such file"):
        archived(tree)
    tree = scan(source)
    os.truncate(source / "d/file", 100)
    with pytest.raises(HostError, match="shorter"):
        archived(tree)


def test_holes_stay_holes(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    with (tmp_path / "s/sparse").open("wb") as file:
        file.seek(64 << 20)
        file.write(b"end")
    tree = scan(tmp_path / "s")
    back = gathered(archived(tree), tmp_path)
    assert not differences(tree, back)
    assert totals(back)[1] == (64 << 20) + 3
    (tmp_path / "d").mkdir()
    with closing(FolderReceiver(tmp_path / "d")) as receiver:
        receive(io.BytesIO(archived(tree)), receiver)
    assert (tmp_path / "d/sparse").stat().st_blocks * 512 < 2 << 20
