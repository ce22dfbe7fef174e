"""What is refused, and where names lead; into a tree and into a folder alike."""

from __future__ import annotations

import io
import os
import stat
import tempfile
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.image.cpio.archives import archive, entry, file, folder, gathered, listing, symlink
from unikiln.base.source import chunks
from unikiln.base.tree import Node
from unikiln.errors import CpioError, HostError, UnikilnError
from unikiln.image.compare import compare, of_tree
from unikiln.image.cpio.folder import FolderReceiver
from unikiln.image.cpio.newc import Header, trailer
from unikiln.image.cpio.receive import receive
from unikiln.image.directory import scan

Into = Callable[[bytes], Node]


@pytest.fixture(params=["tree", "folder"])
def into(request: pytest.FixtureRequest, tmp_path: Path) -> Into:
    """Expands an archive into a tree or a folder; what it has made."""
    top = tmp_path / "prefix"
    top.mkdir()

    def to_folder(data: bytes) -> Node:
        with closing(FolderReceiver(top)) as receiver:
            receive(io.BytesIO(data), receiver)
        return scan(top)

    return to_folder if request.param == "folder" else lambda data: gathered(data, tmp_path)


def content(root: Node, *names: bytes) -> bytes:
    for name in names:
        root = root.children[name]
    return b"".join(chunks(root.source, root.size))


def test_files_folders_and_links(into: Into) -> None:
    root = into(archive(folder(b"a", 0o750), file(b"a/f", b"hello", mode=0o600), symlink(b"a/l", b"/x")))
    assert listing(root) == {
        b"/": listing(root)[b"/"],
        b"/a": "drwxr-x---",
        b"/a/f": "-rw-------",
        b"/a/l": "lrwxrwxrwx",
    }
    assert content(root, b"a", b"f") == b"hello"
    assert root.children[b"a"].children[b"l"].target == b"/x"


def test_absolute_names_are_taken_inside(into: Into) -> None:
    root = into(archive(file(b"/etc/passwd", b"ours"), file(b"///usr//./x", b"x")))
    assert content(root, b"etc", b"passwd") == b"ours"
    assert content(root, b"usr", b"x") == b"x"


def test_parents_are_made(into: Into) -> None:
    assert listing(into(archive(file(b"a/b/c"))))[b"/a/b"] == "drwxr-xr-x"


@pytest.mark.parametrize("name", [b"..", b"../x", b"a/../../x", b"/..", b"a/..", b"/../etc/passwd"])
@pytest.mark.parametrize("make", [file, folder, lambda name: symlink(name, b"x")])
def test_a_name_that_climbs_is_refused(into: Into, make: Callable[[bytes], bytes], name: bytes) -> None:
    with pytest.raises(CpioError, match=r"'\.\.' in it"):
        into(archive(folder(b"a"), make(name)))


@pytest.mark.parametrize("target", [b"/usr/lib", b"usr/lib", b"../../usr/lib", b"/../usr/./lib/"])
def test_links_on_the_way_lead_inside(into: Into, target: bytes, tmp_path: Path) -> None:
    """As OSv's cpiod: an absolute link is taken below the prefix; ours keeps relative ones there, too."""
    root = into(archive(folder(b"usr/lib"), symlink(b"lib", target), file(b"lib/libc.so", b"elf")))
    assert content(root, b"usr", b"lib", b"libc.so") == b"elf"
    assert root.children[b"lib"].is_symlink
    assert not (tmp_path / "usr").exists()


def test_a_link_planted_to_escape_is_no_way_out(into: Into, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_text("safe")
    target = os.fsencode(outside)
    root = into(archive(symlink(b"l", target), file(b"l/victim", b"evil"), file(b"l/new", b"evil")))
    assert (outside / "victim").read_text() == "safe"
    assert [each.name for each in outside.iterdir()] == ["victim"]
    assert content(root, *target.strip(b"/").split(b"/"), b"victim") == b"evil"  # inside


def test_a_link_at_the_end_is_replaced_not_followed(into: Into, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("safe")
    root = into(archive(symlink(b"l", os.fsencode(victim)), file(b"l", b"evil")))
    assert victim.read_text() == "safe"
    assert content(root, b"l") == b"evil"


def test_a_folder_whose_name_a_link_to_a_folder_has(into: Into) -> None:
    """The link stays: entries below it go where it leads."""
    root = into(
        archive(folder(b"usr/lib"), symlink(b"lib", b"/usr/lib"), folder(b"lib", 0o700), file(b"lib/x"))
    )
    assert root.children[b"lib"].is_symlink
    assert listing(root)[b"/usr/lib/x"] == "-rw-r--r--"
    assert listing(root)[b"/usr/lib"] == "drwxr-xr-x"


def test_a_folder_where_a_dangling_link_was(into: Into) -> None:
    assert listing(into(archive(symlink(b"l", b"nowhere"), folder(b"l"), file(b"l/x"))))[b"/l/x"]


def test_loops_of_links(into: Into) -> None:
    with pytest.raises(UnikilnError, match="loop"):
        into(archive(symlink(b"a", b"b"), symlink(b"b", b"a"), file(b"a/x")))


def test_a_file_on_the_way(into: Into) -> None:
    with pytest.raises(UnikilnError, match=r"(?i)no directory|not a directory"):
        into(archive(file(b"a"), file(b"a/x")))


@pytest.mark.parametrize("late", [file(b"a", b"x"), symlink(b"a", b"x")])
def test_nothing_takes_the_place_of_a_folder(into: Into, late: bytes) -> None:
    with pytest.raises(UnikilnError, match=r"(?i)directory"):
        into(archive(folder(b"a"), file(b"a/x"), late))


def test_later_entries_win(into: Into) -> None:
    assert content(into(archive(file(b"a", b"first"), file(b"a", b"second"))), b"a") == b"second"


def test_modes_of_the_top(into: Into) -> None:
    assert stat.S_IMODE(into(archive(folder(b".", 0o711))).mode) == 0o711
    with pytest.raises(CpioError, match="top"):
        into(archive(file(b"/")))


@pytest.mark.parametrize("order", ["first", "last", "each"])
def test_hard_links_wherever_the_content_is(into: Into, order: str) -> None:
    holds = {"first": [1, 0, 0], "last": [0, 0, 1], "each": [1, 1, 1]}[order]
    names = [
        file(name, b"same" * has, inode=9, nlink=3)
        for name, has in zip([b"a", b"b", b"c"], holds, strict=True)
    ]
    root = into(archive(*names, file(b"d", b"x", inode=9)))
    assert root.children[b"a"] is root.children[b"b"] is root.children[b"c"]
    assert content(root, b"c") == b"same"
    assert content(root, b"d") == b"x"  # the same inode number, but it says that it has one name


def test_a_link_whose_first_name_was_replaced(into: Into, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("safe")
    planted = [
        file(b"a", b"", inode=9, nlink=2),
        symlink(b"a", os.fsencode(victim)),
        file(b"b", b"evil", inode=9, nlink=2),
    ]
    try:
        root = into(archive(*planted))
        assert content(root, b"b") == b"evil"  # a tree still has the file without a name
    except CpioError as error:
        assert "replaced" in str(error)
    assert victim.read_text() == "safe"


def test_modes_of_files_with_several_names(into: Into) -> None:
    root = into(
        archive(file(b"a", mode=0o4444, inode=1, nlink=2), file(b"b", b"late", mode=0o4444, inode=1, nlink=2))
    )
    assert listing(root)[b"/b"] == "-r-Sr--r--"
    assert content(root, b"a") == b"late"


def test_special_files(into: Into) -> None:
    root = into(
        archive(entry(Header(b"p", stat.S_IFIFO | 0o640)), entry(Header(b"s", stat.S_IFSOCK | 0o600)))
    )
    assert listing(root) | {b"/": ""} == {b"/": "", b"/p": "prw-r-----", b"/s": "srw-------"}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_devices_and_owners(into: Into) -> None:
    device = Header(b"d", stat.S_IFBLK | 0o600, uid=3, gid=4, mtime=99, rdevice=(8, 1))
    node = into(archive(entry(device))).children[b"d"]
    assert (os.major(node.rdev), os.minor(node.rdev), node.uid, node.gid) == (8, 1, 3, 4)
    assert node.mtime_ns == 99 * 10**9


def test_zeros_become_holes(into: Into) -> None:
    data = b"x" + bytes((4 << 20) - 1) + b"y"
    root = into(archive(file(b"f", data)))
    assert content(root, b"f") == data


LIES = {
    "a folder with content": entry(Header(b"d", stat.S_IFDIR), b"content"),
    "a pipe with content": entry(Header(b"p", stat.S_IFIFO), b"content"),
    "an unknown type": entry(Header(b"x", 0o030000), b""),
    "a link to nothing": entry(Header(b"l", stat.S_IFLNK)),
    "a link to a NUL": entry(Header(b"l", stat.S_IFLNK), b"a\0b"),
    "a link that is too long": entry(Header(b"l", stat.S_IFLNK), b"x" * 4096),
    "a name in a name": Header(b"a\0b", stat.S_IFREG).pack(),
    "a name that does not end": Header(b"a", stat.S_IFREG).pack()[:110] + b"ab\0\0",
    "a name that is too long": file(b"x" * 256),
    "a trailer with content": entry(Header(b"TRAILER!!!", 0), b"x"),
}


@pytest.mark.parametrize("lie", LIES)
def test_lies_are_refused(into: Into, lie: str) -> None:
    with pytest.raises(CpioError):
        into(file(b"before") + LIES[lie] + trailer())


def test_where_the_lie_is_told(tmp_path: Path) -> None:
    with pytest.raises(CpioError, match="after good/name: no cpio header but b'BROKEN'"):
        gathered(file(b"good/name", b"x") + b"BROKEN".ljust(110), tmp_path)
    with pytest.raises(CpioError, match=r"in half: the archive ends \d+ bytes before the content does"):
        gathered(file(b"half", b"x" * 100)[:-50], tmp_path)


SAMPLE = archive(
    folder(b"."), folder(b"d"), file(b"d/f", b"some content"), symlink(b"l", b"d"), file(b"l/g", b"more"),
    file(b"h1", b"", inode=5, nlink=2), file(b"h2", b"linked", inode=5, nlink=2),
)  # fmt: skip


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    for length in range(len(SAMPLE) - 1):
        if length >= len(SAMPLE) - 3:
            continue  # only the padding of the trailer's name is missing
        with pytest.raises(CpioError):
            gathered(SAMPLE[:length], tmp_path)


def test_what_follows_the_trailer_does_not_count(tmp_path: Path) -> None:
    assert listing(gathered(SAMPLE + bytes(512), tmp_path)) == listing(gathered(SAMPLE, tmp_path))


@given(data=st.binary(max_size=400))
def test_any_bytes(tmp_path: Path, data: bytes) -> None:
    _harmless(data, tmp_path)


@given(
    changes=st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, len(SAMPLE)),
)
def test_a_few_bytes_changed(tmp_path: Path, changes: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(SAMPLE)
    for at, value in changes:
        data[at] = value
    _harmless(bytes(data[:cut]), tmp_path)


parts = st.sampled_from([b"a", b"b", b"c", b".", b"", b"a/b", b"/"])
names = st.lists(parts, min_size=1, max_size=4).map(b"/".join)
targets = st.lists(st.one_of(parts, st.just(b"..")), min_size=1, max_size=5).map(b"/".join).filter(bool)
made = st.one_of(
    st.builds(file, names, st.binary(max_size=20), inode=st.integers(1, 2), nlink=st.integers(1, 2)),
    st.builds(folder, names, st.sampled_from([0o755, 0o700])),
    st.builds(symlink, names, targets),
)


@settings(max_examples=300)
@given(entries=st.lists(made, max_size=8))
def test_a_folder_becomes_what_a_tree_becomes(
    tmp_path_factory: pytest.TempPathFactory, entries: list[bytes]
) -> None:
    """Links to links to folders: both understand them the same way, and neither leaves its top."""
    where = tmp_path_factory.mktemp("case")
    data = archive(folder(b"."), *entries)
    inside = _expanded(data, where)
    assert [each.name for each in where.iterdir()] == ["prefix"]
    try:
        tree = gathered(data, where)
    except CpioError:
        assert inside is None
        return
    if inside is not None:
        ignored = frozenset({"mtime"} if os.geteuid() == 0 else {"mtime", "uid", "gid"})
        assert not list(compare(of_tree(tree), of_tree(inside), ignored))


def _expanded(data: bytes, where: Path) -> Node | None:
    top = where / "prefix"
    top.mkdir()
    try:
        with closing(FolderReceiver(top)) as receiver:
            receive(io.BytesIO(data), receiver)
    except (CpioError, HostError):
        return None
    return scan(top)


def _harmless(data: bytes, where: Path) -> None:
    """Only ever an error of ours, and nothing beside the top."""
    with tempfile.TemporaryDirectory(dir=where) as case:
        _expanded(data, Path(case))
        assert [each.name for each in Path(case).iterdir()] == ["prefix"]
        with suppress(CpioError):
            gathered(data, Path(case))
