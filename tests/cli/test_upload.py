from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from unikiln.cli.main import main


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    (tmp_path / "files/app").write_bytes(b"\x7fELF" * 1000)
    (tmp_path / "files/hosts").write_bytes(b"localhost")
    (tmp_path / "files/app2").hardlink_to(tmp_path / "files/app")
    path = tmp_path / "usr.manifest"
    path.write_text(
        "[manifest]\n/bin/%(name)s: files/app\n/etc/hosts: files/hosts\n/lib: ->/usr/lib\n/all/**: files/**\n"
    )
    return path


def test_upload(manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, deps = tmp_path / "disk.qcow2", tmp_path / "deps"
    arguments = [
        "-o",
        str(image),
        "-m",
        str(manifest),
        "-d",
        str(deps),
        "-D",
        "name=program",
        "-k",
        "--arch",
        "aarch64",
    ]
    assert main(["upload", *arguments]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Running mkfs...\nWaiting for connection from host...\ncpiod finished\n")
    assert f"{image}: " in out.splitlines()[-1]
    assert str(tmp_path / "files/app") in deps.read_text()
    assert main(["build", str(manifest), "-D", "name=program", "-o", str(tmp_path / "direct.raw"), "-q"]) == 0
    assert main(["diff", str(image), str(tmp_path / "direct.raw")]) == 0
    assert capsys.readouterr().out == ""


def test_upload_says_what_arrives_or_nothing(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["upload", "-o", str(tmp_path / "disk.raw"), "-m", str(manifest), "-D", "name=x"]
    assert main([*arguments, "--verbose"]) == 0
    assert "Adding /etc/hosts...\n" in capsys.readouterr().out
    assert main([*arguments, "-q"]) == 0
    assert capsys.readouterr().out == ""
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] == 3


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["-m", "nothing"], 1, "nothing"),
        (["--kernel-path", "loader.img"], 2, "for --engine qemu"),
        (["--size", "1M"], 1, "fit|space|small"),
        (["--engine", "qemu"], 2, "no kernel"),
        (["--engine", "qemu", "--kernel-path", "no/loader.img"], 1, "no/loader.img"),
    ],
)
def test_upload_fails_in_one_line(
    manifest: Path,
    tmp_path: Path,
    arguments: list[str],
    status: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = sorted(tmp_path.iterdir())
    given = {"-m": str(manifest), "-D": "name=x"} | dict(zip(arguments[::2], arguments[1::2], strict=True))
    words = [word for pair in given.items() for word in pair]
    assert main(["upload", "-o", str(tmp_path / "disk.raw"), *words]) == status
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert any(each in error for each in said.split("|"))
    assert sorted(tmp_path.iterdir()) == before


def test_build_via_guest_is_the_same(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for via in ("direct", "guest"):
        arguments = ["-o", str(tmp_path / f"{via}.raw"), "--via", via, "--cmdline", "/bin/x", "--size", "80M"]
        assert main(["build", str(manifest), "-D", "name=x", "--json", *arguments]) == 0
        summary = json.loads(capsys.readouterr().out)
        assert (summary["size"], summary["files"], summary["bytes_in"]) == (80 << 20, 4, 4018)
    assert main(["diff", str(tmp_path / "direct.raw"), str(tmp_path / "guest.raw")]) == 0
    assert main(["diff", "--times", "--json", str(tmp_path / "direct.raw"), str(tmp_path / "guest.raw")]) in (
        0,
        1,
    )
    assert {each["field"] for each in json.loads(capsys.readouterr().out)} <= {"mtime"}
    assert main(["disk", "getargs", str(tmp_path / "guest.raw")]) == 0
    assert capsys.readouterr().out == "--rootfs=zfs /bin/x\n"


@pytest.mark.parametrize(
    "option",
    [
        ["--pool", "tank"],
        ["--dataset", "/"],
        ["--seed", "1"],
        ["--ashift", "9"],
        ["--layout", "bare"],
        ["--fs", "rofs"],
    ],
)
def test_what_a_guest_decides(
    manifest: Path, tmp_path: Path, option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["build", str(manifest), "-o", str(tmp_path / "x.raw"), "--via", "guest", *option]) == 2
    assert f"{option[0]} is not the guest's to choose (use --via direct)" in capsys.readouterr().err


def test_attributes_that_no_archive_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s").mkdir()
    try:
        os.setxattr(tmp_path / "s", "user.note", b"x")
    except OSError:
        pytest.skip("this host has no extended attributes here")
    assert main(["build", str(tmp_path / "s"), "-o", str(tmp_path / "x.raw"), "--via", "guest"]) == 1
    assert "/ has extended attributes, which no cpio archive holds" in capsys.readouterr().err
    assert main(["upload", "-m", str(tmp_path / "s"), "-o", str(tmp_path / "x.raw")]) == 0
    assert "extended attributes: those of / are left out" in capsys.readouterr().err


def test_diff_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left, right = tmp_path / "left", tmp_path / "right"
    for side in (left, right):
        side.mkdir()
        (side / "same").write_text("same")
        (side / "changed").write_text(side.name.ljust(5))
    (left / "gone").touch()
    (right / "mode").touch()
    (left / "mode").touch(0o600)
    (left / "mode").chmod(0o600)
    (right / "mode").chmod(0o644)
    assert main(["diff", str(left), str(right)]) == 1
    assert capsys.readouterr().out == "! /changed: content, from byte 0\n- /gone\n! /mode: mode 0600, 0644\n"
    assert main(["diff", str(left), str(left)]) == 0
    assert main(["diff", "-q", str(left), str(right)]) == 1
    assert capsys.readouterr().out == ""
    assert main(["diff", "--json", str(left), str(right)]) == 1
    assert json.loads(capsys.readouterr().out)[1] == {
        "path": "/gone",
        "field": "only",
        "left": "file",
        "right": None,
    }


def test_diff_in_trouble(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "noise").write_bytes(os.urandom(5000))
    assert main(["diff", str(tmp_path), str(tmp_path / "none")]) == 2
    assert main(["diff", str(tmp_path), str(tmp_path / "noise")]) == 2
    assert capsys.readouterr().err.count("\n") == 2


@pytest.mark.judge("tar")
def test_diff_of_every_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import subprocess

    source = tmp_path / "source"
    source.mkdir()
    (source / "f").write_bytes(b"content" * 999)
    (source / "l").symlink_to("f")
    subprocess.run(["tar", "-czf", tmp_path / "t.tgz", "-C", source, "."], check=True)
    assert main(["build", str(source), "-o", str(tmp_path / "i.qcow2"), "-q"]) == 0
    (tmp_path / "m").write_text(f"/**: {source}/**\n/l: !{source}/l\n")
    kinds = [str(tmp_path / name) for name in ("source", "t.tgz", "i.qcow2")]
    for left in kinds:
        for right in kinds:
            assert main(["diff", left, right]) == 0, (left, right, capsys.readouterr().out)
