"""OSv's scripts by their names: what their options become, and that the result does what theirs did."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests import judges
from tests.image.kernels import arm_image, loader_img
from unikiln.cli.compat_scripts import SCRIPTS
from unikiln.cli.main import main
from unikiln.errors import UsageError


@pytest.mark.parametrize(
    ("script", "given", "words"),
    [
        (
            "upload_manifest.py",
            ["--arch=x64", "-o", "usr.img", "-m", "usr.manifest", "-D", "a=b", "-d", "usr.d", "-k"],
            "upload -o usr.img -m usr.manifest --base . -D a=b -d usr.d --arch x86_64",
        ),
        (
            "gen-rofs-img.py",
            ["-o", "rofs.img", "-m", "usr.manifest", "-D", "a=b", "-D", "c=d"],
            "build usr.manifest -o rofs.img --fs rofs --layout bare --format raw --quiet --base . "
            "-D a=b -D c=d",
        ),
        (
            "mkbootfs.py",
            ["-m", "m", "-o", "bootfs.bin", "-d", "bootfs.d"],
            "build m -o bootfs.bin --fs ramfs --layout bare --format raw --quiet --base . "
            "-d bootfs.d --strip",
        ),
        (
            "run.py",
            ["--kernel", "-m", "512", "-e", "/hello", "--arch=x86_64"],
            "run --engine qemu --pass-signals -i build/last/usr.img -k -m 512M -e /hello --arch=x86_64",
        ),
        (
            "run.py",
            ["-s", "-d", "--arch", "aarch64"],
            "run --engine qemu -i build/debug/disk.img -s -d --arch aarch64",
        ),
        ("run.py", ["-s", "-r", "--image=x"], "run --engine qemu -s -r --image=x"),
        ("imgedit.py", ["setargs", "-f raw usr.img", "-x", "/app"], "disk setargs usr.img -x /app"),
        ("imgedit.py", ["setsize", "loader.img", "99"], "disk setsize --arch x86_64 loader.img 99"),
        ("imgedit.py", ["setsize_aarch64", "loader.img", "99"], "disk setsize --arch aarch64 loader.img 99"),
        ("imgedit.py", ["setpartition", "i", "2", "512", "1024"], "disk setpartition i 2 512 1024"),
    ],
)
def test_every_option_becomes_ours(script: str, given: list[str], words: str) -> None:
    assert SCRIPTS[script](given) == words.split()


@pytest.mark.parametrize(
    ("script", "given"),
    [
        ("imgedit.py", []),
        ("imgedit.py", ["setpartition", "i", "2"]),
        ("imgedit.py", ["nothing", "i"]),
        ("upload_manifest.py", ["-o", "only"]),
        ("gen-rofs-img.py", ["-o", "a", "-m", "b", "-d", "c"]),
        ("mkbootfs.py", ["--unknown"]),
    ],
)
def test_what_the_script_would_refuse_is_refused(script: str, given: list[str]) -> None:
    with pytest.raises(UsageError, match=script):
        SCRIPTS[script](given)


def _compat(*arguments: object) -> int:
    return main(["compat", *map(str, arguments)])


def test_imgedit_edits(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(510) + b"\x55\xaa" + bytes(1 << 20))
    assert _compat("imgedit.py", "setpartition", f"-f raw {image}", 2, 512, 1 << 20) == 0
    assert _compat("imgedit.py", "setargs", image, "--rootfs=zfs", "/hello", "x") == 0
    assert capfd.readouterr().out == ""
    assert _compat("imgedit.py", "getargs", image) == 0
    assert _compat("imgedit.py", "getpartition_offset", image, 2) == 0
    assert capfd.readouterr().out == "--rootfs=zfs /hello x\n512\n"
    raw = image.read_bytes()
    assert raw[512:].startswith(b"--rootfs=zfs /hello x\0")
    assert struct.unpack_from("<II", raw, 0x1CE + 8) == (1, 2048)
    assert raw[0x1CE + 4] == 0x83
    assert _compat("imgedit.py", "getpartition_offset", image, 3) == 1
    assert "no partition 3" in capfd.readouterr().err


def test_imgedit_sets_the_size_of_a_kernel(tmp_path: Path) -> None:
    arm, loader = arm_image(tmp_path / "arm.img"), loader_img(tmp_path / "loader.img")
    assert _compat("imgedit.py", "setsize_aarch64", arm, 123456) == 0
    assert _compat("imgedit.py", "setsize", loader, 5 * 32768 + 1) == 0
    assert struct.unpack_from("<Q", arm.read_bytes(), 0x10) == (123456,)
    assert struct.unpack_from("<H", loader.read_bytes(), 0x10) == (6,)


def test_a_script_that_nobody_knows(capfd: pytest.CaptureFixture[str]) -> None:
    assert _compat("loader.py", "-o", "x") == 2
    assert "upload_manifest.py" in capfd.readouterr().err


def _manifest(folder: Path) -> Path:
    (folder / "hello.txt").write_text("hello\n")
    manifest = folder / "usr.manifest"
    manifest.write_text("[manifest]\n/etc/hello: %(what)s.txt\n/link: ->etc/hello\n")
    return manifest


@pytest.mark.parametrize("script", ["gen-rofs-img.py", "mkbootfs.py"])
def test_images_are_made_and_can_be_read(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    _manifest(tmp_path)
    assert _compat(script, "-o", "out.img", "-m", "usr.manifest", "-D", "what=hello") == 0
    assert main(["cat", "out.img", "/etc/hello"]) == 0
    assert capfd.readouterr().out == "hello\n"


def test_upload_fills_a_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    manifest = _manifest(tmp_path)
    disk = tmp_path / "usr.img"
    with disk.open("wb") as file:
        file.truncate(128 << 20)
        file.seek(510)
        file.write(b"\x55\xaa")
    assert _compat("imgedit.py", "setpartition", disk, 2, 512, (128 << 20) - 512) == 0
    arguments = ("-o", disk, "-m", manifest, "-D", "what=hello", "-d", "usr.d", "--arch=aarch64")
    assert _compat("upload_manifest.py", *arguments) == 0
    capfd.readouterr()
    assert _compat("imgedit.py", "setargs", disk, "--rootfs=zfs", "/app") == 0
    assert main(["cat", str(disk), "/etc/hello"]) == 0
    assert capfd.readouterr().out == "hello\n"
    assert main(["verify", str(disk)]) == 0
    assert _compat("imgedit.py", "getargs", disk) == 0
    assert capfd.readouterr().out.endswith("--rootfs=zfs /app\n")
    assert "hello.txt" in (tmp_path / "usr.d").read_text()


def test_wrappers_stand_in_for_the_scripts(tmp_path: Path) -> None:
    assert _compat("install", tmp_path) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert names == set(SCRIPTS)
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(510) + b"\x55\xaa" + bytes(4096))
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    for command in ([tmp_path / "imgedit.py"], [sys.executable, tmp_path / "imgedit.py"]):
        subprocess.run([*command, "setargs", image, "/app"], check=True, env={"PATH": path})
    assert image.read_bytes()[512:517] == b"/app\0"


@pytest.mark.judge("qemu-img")
def test_qcow2_is_edited_as_raw_is(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    image = tmp_path / "disk.qcow2"
    judges.run("qemu-img", "create", "-f", "qcow2", image, "64M")
    assert _compat("imgedit.py", "setpartition", image, 2, 1 << 20, 63 << 20) == 0
    assert _compat("imgedit.py", "setargs", image, "/app") == 0
    assert _compat("imgedit.py", "getargs", image) == 0
    assert capfd.readouterr().out == "/app\n"
    judges.run("qemu-img", "check", image)


def test_a_command_line_does_not_go_over_what_a_file_system_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A ROFS begins with its superblock; OSv's own script writes over it."""
    monkeypatch.chdir(tmp_path)
    _manifest(tmp_path)
    assert main(["build", "usr.manifest", "-D", "what=hello", "-o", "d.img", "--fs", "rofs", "--quiet"]) == 0
    before = (tmp_path / "d.img").read_bytes()
    assert _compat("imgedit.py", "setargs", "d.img", "/app") == 1
    assert "no room for a command line" in capfd.readouterr().err
    assert (tmp_path / "d.img").read_bytes() == before


@pytest.mark.judge("qemu-system-aarch64")
def test_run_shows_qemu_s_command(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    kernel, image = arm_image(tmp_path / "loader.img"), tmp_path / "usr.img"
    image.write_bytes(bytes(1 << 20))
    given = (
        "--kernel",
        "--kernel-path",
        kernel,
        "--arch",
        "aarch64",
        "-i",
        image,
        "-m",
        "512",
        "-c1",
        "-e",
        "/hello",
    )
    assert _compat("run.py", *given, "--vnc", "none", "--dry-run") == 0
    shown = capfd.readouterr().out
    assert "qemu-system-aarch64" in shown
    assert "/hello" in shown
    assert "-m 512" in shown
