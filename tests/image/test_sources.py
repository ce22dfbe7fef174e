"""Several sources: their order, their places, and what is asked for all of them."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from unikiln.base.source import read
from unikiln.base.tree import Node, totals, walk
from unikiln.errors import HostError, ManifestError, UsageError
from unikiln.image.build import BuildOptions, build
from unikiln.image.manifest_variables import Variables
from unikiln.image.source_change import parse_mode
from unikiln.image.sources import Source, SourceOptions, assemble


def content(tree: Node, path: str) -> bytes:
    node = dict(walk(tree))[path.encode()]
    return read(node.source, 0, node.size)


def files(tree: Node) -> list[str]:
    return [path.decode() for path, node in walk(tree) if not node.is_directory]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three sources that all have /usr/lib/x, in the current directory."""
    (tmp_path / "folder/usr/lib").mkdir(parents=True)
    (tmp_path / "folder/usr/lib/x").write_text("folder")
    (tmp_path / "folder/usr/lib/one").write_text("1")
    (tmp_path / "other").write_text("manifest")
    (tmp_path / "manifest").write_text("/usr/lib/x: other\n/lib: ->usr/lib\n/lib/two: other\n")
    (tmp_path / "packed").write_text("tar")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(tmp_path / "packed", "usr/lib/x")
        archive.add(tmp_path / "packed", "lib/three")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("order", "left"),
    [
        (("folder", "manifest", "a.tar"), b"tar"),
        (("a.tar", "folder", "manifest"), b"manifest"),
        (("manifest", "a.tar", "folder"), b"folder"),
    ],
)
def test_the_later_source_stays(here: Path, order: tuple[str, ...], left: bytes) -> None:
    assert content(assemble(SourceOptions.of(*order)), "/usr/lib/x") == left


def test_links_of_one_source_lead_the_next(here: Path) -> None:
    tree = assemble(SourceOptions.of("manifest", "a.tar"))
    assert files(tree) == ["/usr/lib/x", "/usr/lib/two", "/usr/lib/three", "/lib"]


def test_places(here: Path) -> None:
    sources = tuple(
        Source(Path(name), at.encode())
        for name, at in [("folder", "/a/b/"), ("manifest", "c"), ("a.tar", "/a")]
    )
    tree = assemble(SourceOptions(sources=sources))
    assert files(tree) == [
        "/a/b/usr/lib/one", "/a/b/usr/lib/x", "/a/usr/lib/x", "/a/lib/three",
        "/c/usr/lib/x", "/c/usr/lib/two", "/c/lib",
    ]  # fmt: skip


def test_hard_links_across_sources(here: Path) -> None:
    (here / "second").mkdir()
    (here / "second/y").hardlink_to(here / "folder/usr/lib/x")
    (here / "m").write_text("/z: second/y\n")
    tree = assemble(SourceOptions.of("folder", "second", "m"))
    nodes = dict(walk(tree))
    assert nodes[b"/usr/lib/x"] is nodes[b"/y"] is nodes[b"/z"]
    assert totals(tree) == (1 + 2 + 2, 6 + 1)


def test_base_and_appended_manifests(here: Path) -> None:
    """Both are part of the first manifest among the sources, as in OSv's build."""
    (here / "build").mkdir()
    (here / "build/usr.manifest").write_text("/a: file\n")
    (here / "build/file").write_text("1")
    (here / "usr.skel").write_text("/a: file\n/b: ../other\n")
    (here / "more").write_text("/c: file\n")
    options = SourceOptions(
        sources=(Source(Path("folder")), Source(Path("build/usr.manifest"))),
        skel=Path("usr.skel"),
        append=(Path("more"), Path("more")),
    )
    assert files(assemble(options)) == ["/a", "/b", "/usr/lib/one", "/usr/lib/x", "/c"]
    with pytest.raises(ManifestError, match="more:1: file is missing"):
        assemble(SourceOptions(append=(Path("more"),)))
    assert files(assemble(SourceOptions(append=(Path("more"),), base=Path("build")))) == ["/c"]


def test_what_is_wrong_with_all_manifests_is_told_at_once(here: Path) -> None:
    (here / "m1").write_text("/a: gone1\n")
    (here / "m2").write_text("/b: gone2\nnothing\n")
    with pytest.raises(ManifestError) as caught:
        assemble(SourceOptions(sources=SourceOptions.of("m1", "m2").sources, append=(Path("m1"),)))
    assert [problem[:4] for problem in caught.value.problems] == ["m1:1", "m2:2", "m2:1", "m1:1"]


def test_what_is_left_out_is_not_even_looked_at(here: Path) -> None:
    (here / "m").write_text("/x/gone: gone\n/y/**: folder/**\n/z/two: other\n")
    options = SourceOptions(
        sources=(Source(Path("m")), Source(Path("folder")), Source(Path("a.tar"))),
        exclude=("/x", "/y/usr/lib/o*", "/usr/**/x", "two"),
    )
    assert files(assemble(options)) == ["/y/usr/lib/x", "/usr/lib/one", "/lib/three"]


def test_owner_mode_and_time_of_everything(here: Path) -> None:
    options = SourceOptions(
        sources=SourceOptions.of("manifest", "folder", "a.tar").sources,
        owner=(7, 8),
        mode=parse_mode("u=rwX,go="),
        mtime_ns=5,
    )
    nodes = dict(walk(assemble(options)))
    assert {(node.uid, node.gid, node.mtime_ns, node.ctime_ns) for node in nodes.values()} == {(7, 8, 5, 5)}
    assert [oct(nodes[path].mode) for path in (b"/", b"/usr/lib/x", b"/lib")] == [
        "0o40700",
        "0o100600",
        "0o120777",
    ]


def test_the_dependency_file_names_all_that_was_looked_at(here: Path) -> None:
    options = SourceOptions(
        sources=SourceOptions.of("folder", "manifest", "a.tar").sources,
        append=(Path("manifest"),),
        depfile=Path("dep"),
        output=Path("disk.raw"),
    )
    assemble(options)
    first = (here / "dep").read_text().partition("\n\n")[0]
    assert first.replace("\\\n\t", "").split() == [
        "disk.raw:", "folder", "folder/usr", "folder/usr/lib", "folder/usr/lib/one", "folder/usr/lib/x",
        "manifest", "other", "a.tar",
    ]  # fmt: skip


def test_directories_that_no_source_has(here: Path) -> None:
    os.utime("manifest", (1, 1_000))
    (here / "m").write_text("/d/e: other\n")
    os.utime("m", (1, 2_000))
    tree = assemble(SourceOptions.of("manifest", "m"))
    assert (tree.mtime_ns, tree.children[b"d"].mtime_ns) == (2_000_000_000_000, 2_000_000_000_000)
    options = SourceOptions(sources=SourceOptions.of("m").sources, time_ns=5)
    assert assemble(options).children[b"d"].mtime_ns == 5


def test_an_image_of_several_sources(here: Path) -> None:
    options = SourceOptions.of("folder", "a.tar")
    first = build(BuildOptions(sources=options, output=here / "folder/disk.raw", arch="aarch64", epoch=5))
    again = build(BuildOptions(sources=options, output=here / "folder/disk.raw", arch="aarch64", epoch=5))
    assert first.files == again.files == 3  # the image itself is left out


def test_nothing_to_build_from(here: Path) -> None:
    with pytest.raises(UsageError, match="nothing to build from"):
        assemble(SourceOptions())
    with pytest.raises(HostError, match="gone: No such file"):
        assemble(SourceOptions.of("folder", "gone"))


@pytest.mark.judge("aarch64-linux-gnu-gcc")
@pytest.mark.parametrize("arch", ["aarch64", "x86_64"])
def test_where_the_compiler_has_its_library(arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Path(os.fsdecode(Variables({}, arch).expand(b"%(libgcc_s_dir)s")))
    assert (found / "libgcc_s.so.1").is_file()
    assert Variables({"libgcc_s_dir": "mine"}, arch).expand(b"%(libgcc_s_dir)s") == b"mine"
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(ManifestError, match=r"no-such-compiler cannot tell it .*-D libgcc_s_dir=VALUE"):
        Variables({}, arch).expand(b"%(libgcc_s_dir)s")
    monkeypatch.setenv("CC", "echo")
    with pytest.raises(ManifestError, match="echo has no"):
        Variables({}, arch).expand(b"%(libgcc_s_dir)s")


@pytest.mark.parametrize("give", [lambda m: m.setenv("OSV_BASE", "/osv"), None])
def test_values_of_osv_before_2020(
    give: Callable[[pytest.MonkeyPatch], None] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OSV_BASE", raising=False)
    defines = {} if give else {"OSV_BASE": "/osv"}
    if give:
        give(monkeypatch)
    assert Variables(defines, "x86_64").expand(b"%(gccbase)s/lib") == b"/osv/external/x64/gcc.bin/lib"
    assert Variables(defines, "aarch64").expand(b"%(miscbase)s") == b"/osv/external/aarch64/misc.bin"
