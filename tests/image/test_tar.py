"""Archives as sources: GNU tar makes them, or they are made to be wrong."""

from __future__ import annotations

import gc
import io
import os
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests import judges
from tests.trees import Spec, compare_trees, materialise, trees
from unikiln.base.source import Part, chunks, data_ranges
from unikiln.base.tree import Node, walk
from unikiln.errors import HostError, ImageError, UnsupportedError
from unikiln.image import source_compression
from unikiln.image.export import export
from unikiln.image.sources import Source, SourceOptions, assemble

MIB = 1 << 20


def tree_of(archive: Path, at: bytes = b"/") -> dict[bytes, Node]:
    return dict(walk(assemble(SourceOptions(sources=(Source(archive, at),)))))


def content(node: Node) -> bytes:
    return b"".join(chunks(node.source, node.size))


def archive_of(path: Path, *members: tarfile.TarInfo, form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(bytes(member.size)))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type = kind
    for field, value in fields.items():
        setattr(made, field, value)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    top = tmp_path / "top"
    (top / "bin").mkdir(parents=True)
    (top / "bin/app").write_bytes(b"program" * 30_000)
    (top / "bin/app").chmod(0o4711)
    (top / "bin/same").hardlink_to(top / "bin/app")
    (top / "empty").touch()
    (top / ("long" * 50)).write_bytes(b"x")
    (top / os.fsdecode(b"raw\xff\xfe")).write_bytes(b"y")
    (top / "link").symlink_to("bin/app")
    os.mkfifo(top / "fifo")
    os.setxattr(top / "empty", "user.note", b"a\xffb\0c")
    os.setxattr(top / "empty", "user.a=b%c", b"=")
    with (top / "sparse").open("wb") as file:
        for offset in (1, 5, 9):
            file.seek(offset * MIB)
            file.write(b"data %d" % offset)
        file.truncate(12 * MIB)
    os.utime(top / "empty", ns=(1_000_000_001, 2_123_456_789))
    return top


def gnu_tar(folder: Path, archive: Path, *options: str) -> Path:
    judges.run("tar", "-cf", archive, "-C", folder, *options, ".")
    return archive


@pytest.mark.judge("tar")
@pytest.mark.parametrize(
    "sparse", [[], ["-S"], ["-S", "--sparse-version=0.1"], ["-S", "--sparse-version=0.0"]]
)
def test_what_gnu_tar_packs_comes_out_the_same(folder: Path, tmp_path: Path, sparse: list[str]) -> None:
    archive = gnu_tar(folder, tmp_path / "a.tar", "--format=pax", "--xattrs", "--xattrs-include=*", *sparse)
    export(assemble(SourceOptions.of(archive)), tmp_path / "out", pytest.fail)
    compare_trees(folder, tmp_path / "out", holes=bool(sparse))


@pytest.mark.judge("tar")
@pytest.mark.parametrize("form", ["gnu", "oldgnu", "ustar", "v7"])
def test_older_formats(folder: Path, tmp_path: Path, form: str) -> None:
    for name in ("long" * 50, "sparse", "fifo"):  # v7 has no place for one, ustar for another
        (folder / name).unlink()
    for path in sorted(folder.rglob("*")):
        os.utime(path, (1, 1_000_000_000), follow_symlinks=False)
    os.removexattr(folder / "empty", "user.note")
    os.removexattr(folder / "empty", "user.a=b%c")
    os.utime(folder, (1, 2_000_000_000))
    archive = gnu_tar(folder, tmp_path / "a.tar", f"--format={form}")
    export(assemble(SourceOptions.of(archive)), tmp_path / "out", pytest.fail)
    compare_trees(folder, tmp_path / "out")


@pytest.mark.judge("tar")
def test_gnu_sparse_files(folder: Path, tmp_path: Path) -> None:
    archive = gnu_tar(folder, tmp_path / "a.tar", "--format=gnu", "-S")
    assert archive.stat().st_size < MIB
    node = tree_of(archive)[b"/sparse"]
    assert content(node) == (folder / "sparse").read_bytes()
    assert sum(end - start for start, end in data_ranges(node.source, node.size)) < MIB


@pytest.mark.judge("tar")
@settings(max_examples=15, phases=[Phase.generate])  # shrinking would run tar too often
@given(spec=trees())
def test_any_tree(tmp_path_factory: pytest.TempPathFactory, spec: Spec) -> None:
    tmp_path = tmp_path_factory.mktemp("any")
    folder = materialise(spec, tmp_path / "top")
    archive = gnu_tar(folder, tmp_path / "a.tar", "--format=pax", "--xattrs", "--xattrs-include=*", "-S")
    export(assemble(SourceOptions.of(archive)), tmp_path / "out", print)
    compare_trees(folder, tmp_path / "out")


@pytest.mark.judge("tar", "zstd")
@pytest.mark.parametrize("flag", ["-z", "-j", "-J", "--lzma", "--zstd"])
def test_compressed_archives(folder: Path, tmp_path: Path, flag: str) -> None:
    plain = tree_of(gnu_tar(folder, tmp_path / "a.tar"))
    packed = tree_of(gnu_tar(folder, tmp_path / "b", flag))
    assert list(plain) == list(packed)
    assert all(content(plain[path]) == content(packed[path]) for path in plain)
    holes = data_ranges(packed[b"/sparse"].source, 12 * MIB)
    assert sum(end - start for start, end in holes) < 8 * MIB


def test_lz4(tmp_path: Path) -> None:
    import lz4.frame

    plain = archive_of(tmp_path / "a.tar", member("file", size=5))
    (tmp_path / "b").write_bytes(lz4.frame.compress(plain.read_bytes()))
    assert content(tree_of(tmp_path / "b")[b"/file"]) == bytes(5)


@pytest.mark.judge("zstd")
@pytest.mark.parametrize("package", [True, False])
def test_zstd_by_the_package_or_by_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: bool
) -> None:
    if package:
        pytest.importorskip("zstandard")
    else:
        monkeypatch.setattr(source_compression, "find_spec", lambda _: None)
    plain = archive_of(tmp_path / "a.tar", member("file", size=500_000)).read_bytes()
    for part, data in (("1", plain[:3000]), ("2", plain[3000:])):
        (tmp_path / part).write_bytes(data)
        judges.run("zstd", "-q", tmp_path / part)
    whole = (tmp_path / "1.zst").read_bytes() + (tmp_path / "2.zst").read_bytes()
    (tmp_path / "whole").write_bytes(whole)
    assert content(tree_of(tmp_path / "whole")[b"/file"]) == bytes(500_000)
    for name, data in (("cut", whole[:-3]), ("bad", whole[:30] + b"\xff" * 30 + whole[60:])):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ImageError, match=f"{name} is damaged"):
            tree_of(tmp_path / name)
    if not package:
        monkeypatch.setenv("PATH", "/nowhere")
        with pytest.raises(UnsupportedError, match="zstd"):
            tree_of(tmp_path / "whole")


def test_standard_input(tmp_path: Path) -> None:
    archive = archive_of(tmp_path / "a.tar", member("etc/file", size=3))
    script = "import sys; from unikiln.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", script, "manifest", "show", "--at", "/x", "-"]
    with archive.open("rb") as file:
        for done in (
            subprocess.run(command, capture_output=True, check=True, stdin=file),
            subprocess.run(command, capture_output=True, check=True, input=archive.read_bytes()),
        ):
            assert b"/x/etc/file <- -: member 'etc/file'" in done.stdout


def test_members_of_every_kind(tmp_path: Path) -> None:
    archive = archive_of(
        tmp_path / "a.tar",
        member("dev/null", tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
        member("dev/sda", tarfile.BLKTYPE, devmajor=8, devminor=0),
        member("pipe", tarfile.FIFOTYPE),
        member("/etc/absolute", uid=2_000_000_000, gid=7, mtime=-5),
        member("./dot//file/", tarfile.DIRTYPE, mode=0o1777),
        member("odd", b"Z", size=3),
        member("label", b"V"),
        member("folder", b"D"),
    )
    nodes = tree_of(archive)
    assert (nodes[b"/dev/null"].mode, nodes[b"/dev/null"].rdev) == (stat.S_IFCHR | 0o666, os.makedev(1, 3))
    assert stat.S_ISBLK(nodes[b"/dev/sda"].mode)
    assert stat.S_ISFIFO(nodes[b"/pipe"].mode)
    absolute = nodes[b"/etc/absolute"]
    assert (absolute.uid, absolute.gid, absolute.mtime_ns) == (2_000_000_000, 7, -5_000_000_000)
    assert nodes[b"/dot/file"].mode == stat.S_IFDIR | 0o1777
    assert content(nodes[b"/odd"]) == bytes(3)
    assert b"/label" not in nodes
    assert nodes[b"/folder"].is_directory


def test_hard_links_to_all_that_has_them(tmp_path: Path) -> None:
    archive = archive_of(
        tmp_path / "a.tar",
        member("file", size=5),
        member("real", tarfile.DIRTYPE),
        member("way", tarfile.SYMTYPE, linkname="real"),
        member("soft", tarfile.SYMTYPE, linkname="file"),
        member("one", tarfile.LNKTYPE, linkname="./file"),
        member("way/two", tarfile.LNKTYPE, linkname="/one"),
        member("hard-soft", tarfile.LNKTYPE, linkname="soft"),
        member("way/three", tarfile.LNKTYPE, linkname="way/two"),
    )
    nodes = tree_of(archive, b"/deep/down")
    same = [nodes[b"/deep/down/" + name] for name in (b"file", b"one", b"real/two", b"real/three")]
    assert all(node is same[0] for node in same)
    assert nodes[b"/deep/down/hard-soft"] is nodes[b"/deep/down/soft"]


def test_a_hard_link_whose_first_name_is_left_out(tmp_path: Path) -> None:
    archive = archive_of(
        tmp_path / "a.tar",
        member("out/first", size=5),
        member("in/second", tarfile.LNKTYPE, linkname="out/first"),
    )
    tree = assemble(SourceOptions(sources=(Source(archive),), exclude=("/out",)))
    assert [path for path, _ in walk(tree)] == [b"/", b"/in", b"/in/second"]
    assert content(tree.children[b"in"].children[b"second"]) == bytes(5)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (member("../out"), "leads out"),
        (member("a/../../out"), "leads out"),
        (member("/a/.."), "leads out"),
        (member(".", tarfile.REGTYPE), "no file can have"),
        (member("a\0b", pax_headers={"path": "a\0b"}), "no file can have"),
        (member("l", tarfile.LNKTYPE, linkname="../../etc/shadow"), r"has '\.\.'"),
        (member("l", tarfile.LNKTYPE, linkname="gone"), "is not there"),
        (member("l", tarfile.LNKTYPE, linkname="."), "a directory"),
        (member("l", tarfile.SYMTYPE, linkname=""), "leads nowhere"),
        (member("first/below"), "no directory"),
        (member("f", b"M", size=3), "another volume"),
        (member("f", pax_headers={"mtime": "1e99999999"}), "no time"),
        (member("f", pax_headers={"mtime": "99999999999999"}), "no time"),
        (member("f", uid=1 << 33, pax_headers={"uid": str(1 << 33)}), "no number of a user"),
    ],
)
def test_members_that_cannot_be(tmp_path: Path, bad: tarfile.TarInfo, said: str) -> None:
    archive = archive_of(tmp_path / "a.tar", member("first"), bad)
    with pytest.raises(ImageError, match=said) as caught:
        tree_of(archive)
    assert str(archive) in str(caught.value)


def test_links_never_lead_out(tmp_path: Path) -> None:
    archive = archive_of(
        tmp_path / "a.tar",
        member("up", tarfile.SYMTYPE, linkname="../../../.."),
        member("abs", tarfile.SYMTYPE, linkname="/etc"),
        member("up/one"),
        member("abs/two"),
    )
    assert set(tree_of(archive)) == {b"/", b"/up", b"/abs", b"/one", b"/etc", b"/etc/two"}


def test_the_later_of_two_members_stays(tmp_path: Path) -> None:
    archive = archive_of(tmp_path / "a.tar", member("a", size=1), member("a", size=2))
    assert tree_of(archive)[b"/a"].size == 2


def test_an_archive_of_nothing(tmp_path: Path) -> None:
    assert list(tree_of(archive_of(tmp_path / "a.tar"))) == [b"/"]


def test_content_is_read_when_it_is_wanted_and_the_archive_closed_after(tmp_path: Path) -> None:
    archive = archive_of(tmp_path / "a.tar", member("a", size=1000), member("b", size=5))
    opened = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    tree = assemble(SourceOptions.of(archive))
    node = tree.children[b"a"]
    assert isinstance(node.source, Part)
    with archive.open("r+b") as file:
        file.seek(512)
        file.write(b"late")
    assert content(node) == b"late" + bytes(996)
    os.truncate(archive, 600)
    with pytest.raises(HostError, match=r"a\.tar: member 'a': became shorter"):
        content(node)
    del node, tree
    gc.collect()
    assert set(os.listdir("/proc/self/fd")) <= opened  # noqa: PTH208


@pytest.mark.parametrize("keep", [100, 512 + 100, 1024 + 300, 1024 + 512 + 100])
def test_archives_that_are_cut(tmp_path: Path, keep: int) -> None:
    archive = archive_of(
        tmp_path / "a.tar", member("a", size=700), member("b", size=5), form=tarfile.USTAR_FORMAT
    )
    os.truncate(archive, keep)
    with pytest.raises(ImageError):
        tree_of(archive)


def test_a_damaged_header_is_not_the_end(tmp_path: Path) -> None:
    archive = archive_of(tmp_path / "a.tar", member("a"), member("b"), form=tarfile.USTAR_FORMAT)
    with archive.open("r+b") as file:
        file.seek(512 + 10)
        file.write(b"!")
    with pytest.raises(ImageError, match="no member begins at byte 512"):
        tree_of(archive)


def test_compressed_files_that_are_no_archive_or_damaged(tmp_path: Path) -> None:
    import gzip

    whole = gzip.compress(archive_of(tmp_path / "a.tar", member("a", size=700)).read_bytes())
    for name, data, said in [
        ("text", gzip.compress(b"/a: b\n"), "text holds no tar archive"),
        ("cut", whole[:-10], "cut is damaged"),
        ("bad", whole[:20] + b"\xff\xff\xff" + whole[23:], "bad is damaged"),
    ]:
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ImageError, match=said):
            tree_of(tmp_path / name)


@given(st.data())
@settings(max_examples=150)
def test_hostile_archives_only_raise_what_a_person_can_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    tmp_path = tmp_path_factory.mktemp("hostile")
    archive = archive_of(
        tmp_path / "a.tar",
        member("long" * 60, size=600, pax_headers={"mtime": "1.5", "SCHILY.xattr.user.x": "y"}),
        member("d", tarfile.DIRTYPE),
        member("l", tarfile.LNKTYPE, linkname="long" * 60),
    )
    raw = bytearray(archive.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    for start in range(0, len(raw) - 511, 512):  # what a checksum refuses is not looked into further
        if raw[start + 257 : start + 262] == b"ustar":
            total = 8 * 32 + sum(raw[start : start + 148]) + sum(raw[start + 156 : start + 512])
            raw[start + 148 : start + 156] = b"%06o\0 " % total
    archive.write_bytes(raw)
    try:
        for node in tree_of(archive).values():
            content(node) if node.is_file else None
    except (ImageError, HostError):
        pass


def test_sizes_below_nothing(tmp_path: Path) -> None:
    archive = archive_of(tmp_path / "a.tar", member("a"), member("b", pax_headers={"size": "-1024"}))
    with pytest.raises(ImageError, match="damaged"):
        tree_of(archive)
