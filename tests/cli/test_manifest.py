"""Sources on the command line: of ``build``, and of ``manifest check``, ``show`` and ``from-host``."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from tests.image import elf
from unikiln.cli.main import main
from unikiln.cli.source_options import parse_defines, parse_sources
from unikiln.errors import UsageError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "folder/bin").mkdir(parents=True)
    (tmp_path / "folder/bin/app").write_text("app")
    (tmp_path / "m").write_text("/etc/x: %(where)s/bin/app\n")
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as archive:
        archive.add(tmp_path / "folder/bin/app", "in-tar")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def paths(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(["manifest", "show", "--json", *arguments]) == 0
    return [each["path"] for each in json.loads(capsys.readouterr().out) if each["type"] != "directory"]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["folder", "a.tgz"], ["/bin/app", "/in-tar"]),
        (["--at", "/opt", "folder", "a.tgz"], ["/opt/bin/app", "/in-tar"]),
        (["folder", "--at", "/opt", "a.tgz"], ["/bin/app", "/opt/in-tar"]),
        (["folder", "--at=opt/x", "--mode", "0", "a.tgz"], ["/bin/app", "/opt/x/in-tar"]),
        (["--at", "/1", "folder", "--at", "/2", "folder"], ["/1/bin/app", "/2/bin/app"]),
        (["-D", "where=folder", "m", "--exclude", "app"], ["/etc/x"]),
        (["folder", "-D", "where=folder", "--append-manifest", "m"], ["/bin/app", "/etc/x"]),
        (["-D", "where=bin/..", "--base", "folder", "--skel", "m"], ["/etc/x"]),
        (["--", "folder", "a.tgz"], ["/bin/app", "/in-tar"]),
    ],
)
def test_sources(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], found: list[str]
) -> None:
    assert sorted(paths(capsys, *arguments)) == sorted(found)


def test_at_without_a_source(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["folder", "--at", "/x"], ["--at", "/x", "--at", "/y", "folder"]):
        assert main(["manifest", "show", *arguments]) == 2
        assert "--at /x: no SOURCE follows" in capsys.readouterr().err
    assert main(["manifest", "show", "folder", "--at"]) == 2
    assert "--at" in capsys.readouterr().err
    assert parse_sources(None) == ()


def test_values() -> None:
    assert parse_defines(["a=b=c", "d="]) == {"a": "b=c", "d": ""}
    for bad in ("a", "=b"):
        with pytest.raises(UsageError, match="gives no value"):
            parse_defines([bad])


def test_build_with_all_of_them(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["build", "folder", "--at", "/opt", "a.tgz", "-D", "where=folder", "--append-manifest", "m"]
    arguments += ["--owner", "5:6", "--mode", "u=rwX,go=", "--mtime", "@77", "-d", "dep", "--export", "out"]
    assert main([*arguments, "--strip", "-o", "disk.raw", "-q"]) == 0
    assert main(["ls", "disk.raw", "-R", "-l", "--json"]) == 0
    found = {each["path"]: each for each in json.loads(capsys.readouterr().out)}
    assert found["/opt/in-tar"]["mode"] == "0600"
    assert {(each["uid"], each["gid"], each["mtime_ns"]) for each in found.values()} == {
        (5, 6, 77_000_000_000)
    }
    assert "folder/bin/app" in (here / "dep").read_text()
    assert (here / "out/etc/x").read_text() == "app"
    assert (here / "out").stat().st_mtime == 77


def test_check(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["manifest", "check", "m", "-D", "where=folder"]) == 0
    assert capsys.readouterr().out == "nothing wrong: 3 files and directories, 3B\n"
    (here / "bad").write_text("/a: gone\nwhat\n/b: %(no)s\n/c: also-gone\n")
    assert main(["manifest", "check", "bad", "m", "-q"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert [line.partition(" ")[2][:8] for line in said.err.splitlines()] == [
        "bad:2: '", "bad:3: %", "bad:1: g", "bad:4: a", "m:1: %(w"
    ]  # fmt: skip


def test_show(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "folder/link").symlink_to("bin/app")
    assert (
        main(["manifest", "show", "folder", "--owner", "0:0", "--mtime", "2026-01-31", "--mode", "755"]) == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("drwxr-xr-x 2 0 0 0 2026-01-3")
    assert [line.split(":", 1)[1][3:] for line in lines] == [
        "/", "/bin", "/bin/app <- folder/bin/app", "/link -> bin/app"
    ]  # fmt: skip


@pytest.mark.judge("aarch64-linux-gnu-gcc")
def test_from_host_for_another_architecture(here: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    elf.program(
        here / "hello",
        "/usr/aarch64-linux-gnu/lib/libc.so.6",
        "-Wl,--dynamic-linker=/lib/ld-linux-aarch64.so.1",
    )
    assert main(["manifest", "from-host", "./hello", "--at", "/bin"]) == 0
    out = capfdbinary.readouterr().out
    assert out.splitlines()[0] == f"/bin/hello: {here}/hello".encode()
    guests = {line.partition(b": ")[0].rpartition(b"/")[2] for line in out.splitlines()}
    assert {b"hello", b"libc.so.6", b"ld-linux-aarch64.so.1"} <= guests
    (here / "hello.manifest").write_bytes(out)
    assert main(["manifest", "check", "hello.manifest"]) == 0
    capfdbinary.readouterr()
    assert main(["manifest", "from-host", "./hello", "--osv"]) == 0
    assert capfdbinary.readouterr().out == f"/hello: {here}/hello\n".encode()
    assert main(["manifest", "from-host", "hello", "--root", str(here)]) == 1
    assert b"libc.so.6 is missing, which /hello needs" in capfdbinary.readouterr().err


def test_every_verb_of_the_group_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["manifest", "--help"]) == 0
    assert "from-host" in capsys.readouterr().out
    for verb in ("check", "show", "from-host"):
        assert main(["manifest", verb, "--help"]) == 0
        assert f"Usage: unikiln manifest {verb}" in capsys.readouterr().out
