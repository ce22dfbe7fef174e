"""What programs need: against what ``readelf`` reads, and against what ``ldd`` loads."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import judges
from tests.image import elf
from unikiln.base.tree import walk
from unikiln.errors import HostError, ImageError, ManifestError
from unikiln.image.elfneeds import Needs, read_elf
from unikiln.image.manifest_from_host import manifest_of
from unikiln.image.sources import SourceOptions, assemble

arm64 = pytest.mark.judge("aarch64-linux-gnu-gcc")
READELF = "aarch64-linux-gnu-readelf"


def needs(program: Path | str, root: Path | str = "/", at: str = "/", *extra: Path) -> dict[str, str]:
    found = Needs(str(root), at, map(str, extra))
    found.add(str(program))
    return {each.guest: each.host for each in found.resolve()}


def below(root: Path, found: dict[str, str]) -> dict[str, str]:
    return {guest: str(Path(host).relative_to(root)) for guest, host in found.items()}


@arm64
@pytest.mark.judge(READELF)
def test_dynamic_section_as_readelf_reads_it(tmp_path: Path) -> None:
    lib = elf.library(tmp_path / "libx.so", soname="libx.so.1")
    app = elf.program(
        tmp_path / "app", str(lib), "-Wl,-rpath,/a:$ORIGIN/b", "-Wl,--dynamic-linker=/lib/my-ld.so"
    )
    read = read_elf(str(app))
    said = judges.run(READELF, "-dlW", app).stdout
    assert list(read.needed) == re.findall(r"\(NEEDED\).*\[(.*)\]", said) == ["libx.so.1"]
    assert [":".join(read.runpath)] == re.findall(r"\(RUNPATH\).*\[(.*)\]", said)
    assert [read.interpreter] == re.findall(r"interpreter: (.*)\]", said)
    assert read.kind == ("EM_AARCH64", 64, True)
    assert read_elf(str(lib)).soname == "libx.so.1"
    old = elf.program(tmp_path / "old", str(lib), "-Wl,--disable-new-dtags,-rpath,/c")
    assert (read_elf(str(old)).rpath, read_elf(str(old)).runpath) == (("/c",), ())


@pytest.mark.judge("ldd")
@pytest.mark.parametrize("program", ["ls", "python3", "git", "bash"])
def test_programs_of_this_host_as_ldd_loads_them(program: str) -> None:
    path = judges.find(program)
    if path is None:
        pytest.skip(f"there is no {program}")
    said = judges.run("ldd", path.resolve(), check=False).stdout
    if "=>" not in said:
        pytest.skip(f"{program} is not dynamic")
    loaded = {Path(host).resolve() for host in re.findall(r"(/\S+) \(0x", said)}
    found = needs(path.resolve())
    assert {Path(host).resolve() for host in found.values()} - {path.resolve()} == loaded


@arm64
def test_rpath_is_inherited_and_runpath_is_not(tmp_path: Path) -> None:
    low = elf.library(tmp_path / "deep/liblow.so")
    mid = elf.library(tmp_path / "mid/libmid.so", str(low))
    paths = f"-Wl,-rpath,{tmp_path}/mid:{tmp_path}/deep"
    old = elf.program(tmp_path / "old", str(mid), "-Wl,--disable-new-dtags", paths, "-Wl,--dynamic-linker=/x")
    new = elf.program(tmp_path / "new", str(mid), "-Wl,--enable-new-dtags", paths, "-Wl,--dynamic-linker=/x")
    for app, missing in ((old, ["/x is missing"]), (new, ["/x is missing", "liblow.so is missing"])):
        with pytest.raises(ManifestError) as caught:
            needs(app)
        assert [problem.partition(",")[0] for problem in caught.value.problems] == missing
    assert "liblow.so is missing, which " in str(caught.value)
    assert "libmid.so needs" in str(caught.value)


@pytest.fixture
def sysroot(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "etc/ld.so.conf.d").mkdir(parents=True)
    (root / "etc/ld.so.conf").write_text("# first\ninclude ld.so.conf.d/*.conf\n/opt/one # here\n")
    (root / "etc/ld.so.conf.d/two.conf").write_text("/opt/two\ninclude /etc/ld.so.conf\n")
    one = elf.library(root / "opt/one/libone.so.1.2.3", soname="libone.so.1")
    (root / "opt/one/libone.so.1").symlink_to("/opt/one/libone.so.1.2.3")
    two = elf.library(root / "opt/two/libtwo.so", str(one))
    (root / "usr/lib/aarch64-linux-gnu").mkdir(parents=True)
    elf.library(root / "usr/lib/aarch64-linux-gnu/libthree.so", str(two))
    (root / "lib").symlink_to("/usr/lib")
    elf.library(root / "usr/lib/ld-linux-aarch64.so.1")
    elf.program(
        root / "usr/bin/app",
        str(root / "usr/lib/aarch64-linux-gnu/libthree.so"),
        f"-Wl,-rpath-link,{root}/opt/one",
    )
    return root


@arm64
def test_a_foreign_root_directory(sysroot: Path) -> None:
    (sysroot / "etc/ld.so.cache").touch()
    assert below(sysroot, needs("app", sysroot, "/bin")) == {
        "/bin/app": "usr/bin/app",
        "/lib/ld-linux-aarch64.so.1": "usr/lib/ld-linux-aarch64.so.1",
        "/lib/aarch64-linux-gnu/libthree.so": "usr/lib/aarch64-linux-gnu/libthree.so",
        "/opt/two/libtwo.so": "opt/two/libtwo.so",
        "/opt/one/libone.so.1": "opt/one/libone.so.1.2.3",
        "/etc/ld.so.cache": "etc/ld.so.cache",
    }
    assert needs("/usr/bin/app", sysroot, "/bin") == needs(sysroot / "usr/bin/app", sysroot, "/bin")


@arm64
def test_everything_that_is_missing_is_named_at_once(sysroot: Path) -> None:
    (sysroot / "opt/two/libtwo.so").unlink()
    (sysroot / "usr/lib/ld-linux-aarch64.so.1").unlink()
    elf.library(sysroot / "opt/one/libtwo.so", compiler="gcc")  # of another architecture: passed over
    with pytest.raises(ManifestError) as caught:
        needs("app", sysroot)
    assert caught.value.problems == (
        "/lib/ld-linux-aarch64.so.1 is missing, which app needs",
        "libtwo.so is missing, which /lib/aarch64-linux-gnu/libthree.so needs",
    )
    assert "--root" in str(caught.value)


@arm64
def test_origin_is_where_the_program_is_in_the_image(tmp_path: Path) -> None:
    lib = elf.library(tmp_path / "app/lib/libmine.so")
    inner = elf.library(tmp_path / "app/lib/sub/libinner.so")
    outer = elf.library(tmp_path / "app/lib/libouter.so", str(inner), "-Wl,-rpath,${ORIGIN}/sub")
    app = elf.library(tmp_path / "app/bin/app.so", str(lib), str(outer), "-Wl,-rpath,$ORIGIN/../lib")
    assert below(tmp_path / "app", needs(app, at="/opt/my/bin")) == {
        "/opt/my/bin/app.so": "bin/app.so",
        "/opt/my/lib/libmine.so": "lib/libmine.so",
        "/opt/my/lib/libouter.so": "lib/libouter.so",
        "/opt/my/lib/sub/libinner.so": "lib/sub/libinner.so",
    }


@arm64
def test_more_directories_and_a_library_of_another_class(tmp_path: Path) -> None:
    lib = elf.library(tmp_path / "x/liby.so")
    app = elf.library(tmp_path / "app.so", str(lib))
    with pytest.raises(ManifestError, match=r"liby\.so is missing"):
        needs(app)
    assert needs(app, "/", "/", tmp_path / "x") == {"/app.so": str(app), f"{tmp_path}/x/liby.so": str(lib)}
    elf.library(tmp_path / "first/liby.so", compiler="gcc")
    assert str(lib) in needs(app, "/", "/", tmp_path / "first", tmp_path / "x").values()


@arm64
def test_loops_of_libraries_end(tmp_path: Path) -> None:
    one = elf.library(tmp_path / "libone.so")
    two = elf.library(tmp_path / "libtwo.so", str(one), f"-Wl,-rpath,{tmp_path}")
    elf.library(tmp_path / "libone.so", str(two), f"-Wl,-rpath,{tmp_path}")
    assert sorted(needs(two)) == sorted(["/libtwo.so", f"{tmp_path}/libone.so"])


@arm64
def test_a_manifest_builds(sysroot: Path, tmp_path: Path) -> None:
    lines = list(manifest_of(["app"], root=str(sysroot)))
    (tmp_path / "m").write_bytes(b"\n".join(lines))
    nodes = dict(walk(assemble(SourceOptions.of(tmp_path / "m"))))
    assert nodes[b"/opt/one/libone.so.1"].is_file
    assert nodes[b"/app"].size == (sysroot / "usr/bin/app").stat().st_size
    osv = list(manifest_of(["app"], root=str(sysroot), osv=True))
    assert [line for line in lines if line not in osv] == [line for line in lines if b"ld-linux" in line]


def test_files_that_are_no_programs(tmp_path: Path) -> None:
    (tmp_path / "script").write_text("#!/bin/sh\n")
    (tmp_path / "cut").write_bytes(b"\x7fELF\x02\x01\x01")
    for name in ("script", "cut"):
        with pytest.raises(ImageError, match=f"{name}: "):
            needs(tmp_path / name)
    with pytest.raises(HostError, match="no such program"):
        needs("no-program-has-this-name")
    with pytest.raises(HostError, match="absent: No such file"):
        needs(tmp_path / "absent")


@pytest.mark.judge("ldd")
@settings(max_examples=60)
@given(st.data())
def test_damaged_programs(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    raw = bytearray(Path("/bin/true").read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(4, 1200))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "program"
    path.write_bytes(raw)
    with contextlib.suppress(ImageError, HostError):
        needs(path)
