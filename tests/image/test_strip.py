from __future__ import annotations

import gc
import hashlib
import os
import stat
import tarfile
import tempfile
from pathlib import Path

import pytest

from tests import judges
from tests.image import elf
from unikiln.base.source import chunks
from unikiln.base.tree import Node, walk
from unikiln.image.build import BuildOptions, build
from unikiln.image.sources import SourceOptions, assemble

pytestmark = pytest.mark.judge("aarch64-linux-gnu-gcc", "aarch64-linux-gnu-readelf")


def content(node: Node) -> bytes:
    return b"".join(chunks(node.source, node.size))


def sections(data: bytes, folder: Path) -> str:
    (folder / "looked-at").write_bytes(data)
    return judges.run("aarch64-linux-gnu-readelf", "-SW", "--dyn-syms", folder / "looked-at").stdout


def stripped(source: Path, said: list[str] | None = None) -> dict[bytes, Node]:
    warn = pytest.fail if said is None else said.append
    options = SourceOptions.of(source)
    return dict(walk(assemble(SourceOptions(sources=options.sources, strip=True, warn=warn))))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    top = tmp_path / "top"
    elf.library(top / "lib/liba.so")
    elf.program(top / "bin/app", str(top / "lib/liba.so"))
    (top / "bin/again").hardlink_to(top / "bin/app")
    (top / "script").write_text("#!/bin/sh\n" + "x" * 100)
    (top / "bin/app").chmod(0o4755)
    os.utime(top / "lib/liba.so", ns=(1, 2))
    return top


@pytest.mark.parametrize("packed", [False, True])
def test_symbols_go_and_originals_stay(folder: Path, tmp_path: Path, packed: bool) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    source = folder
    if packed:
        source = tmp_path / "a.tar"
        with tarfile.open(source, "w") as archive:
            archive.add(folder, ".")
    nodes = stripped(source)
    for name in (b"/lib/liba.so", b"/bin/app"):
        data = content(nodes[name])
        assert len(data) < len(before[folder / os.fsdecode(name)[1:]])
        said = sections(data, tmp_path)
        assert ".debug_info" not in said
        assert ".symtab" not in said
    assert "libaso" in sections(content(nodes[b"/lib/liba.so"]), tmp_path)
    assert nodes[b"/bin/app"] is nodes[b"/bin/again"]
    assert nodes[b"/bin/app"].mode == stat.S_IFREG | 0o4755
    assert nodes[b"/lib/liba.so"].mtime_ns == 2
    assert content(nodes[b"/script"]) == before[folder / "script"]
    assert {path: path.read_bytes() for path in before} == before


def test_copies_go_with_the_tree(folder: Path) -> None:
    def copies() -> set[Path]:
        return set(Path(tempfile.gettempdir()).glob("unikiln-strip-*"))

    before = copies()
    nodes = stripped(folder)
    assert len(copies() - before) == 1
    del nodes
    gc.collect()
    assert copies() <= before


def test_an_image_of_stripped_files(folder: Path, tmp_path: Path) -> None:
    options = SourceOptions(sources=SourceOptions.of(folder).sources, strip=True, export=tmp_path / "out")
    result = build(BuildOptions(sources=options, output=tmp_path / "disk.raw", arch="aarch64"))
    whole = sum(
        path.stat().st_size for path in (folder / "bin/app", folder / "lib/liba.so", folder / "script")
    )
    assert result.bytes_in < whole
    digests = [
        hashlib.sha256((tmp_path / "out/bin" / name).read_bytes()).hexdigest() for name in ("app", "again")
    ]
    assert digests[0] == digests[1]


def test_what_nothing_can_strip_is_kept_and_told_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    said: list[str] = []
    nodes = stripped(folder, said)
    assert said == [
        "2 files for aarch64-linux-gnu left unstripped: there is no aarch64-linux-gnu-strip and no llvm-strip"
    ]
    assert nodes[b"/bin/app"].size == (folder / "bin/app").stat().st_size


def test_the_strip_that_is_named(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "mine"
    mine.write_text('#!/bin/sh\necho stripped > "$2"\n')
    mine.chmod(0o755)
    monkeypatch.setenv("STRIP", str(mine))
    assert content(stripped(folder)[b"/bin/app"]) == b"stripped\n"


@pytest.mark.judge("llvm-strip")
def test_llvm_strip_knows_every_architecture(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only").mkdir()
    found = judges.find("llvm-strip")
    assert found is not None
    (tmp_path / "only/llvm-strip").symlink_to(found.resolve())
    monkeypatch.setenv("PATH", str(tmp_path / "only"))
    assert ".debug_info" not in sections(content(stripped(folder)[b"/bin/app"]), tmp_path)


def test_a_file_that_cannot_be_stripped_is_kept_and_named(folder: Path) -> None:
    whole = (folder / "bin/app").read_bytes()
    (folder / "bin/app").write_bytes(whole[:200])
    said: list[str] = []
    nodes = stripped(folder, said)
    (line,) = said
    assert line.startswith("/bin/again left unstripped: aarch64-linux-gnu-strip: ")
    assert content(nodes[b"/bin/app"]) == whole[:200]
