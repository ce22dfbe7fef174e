"""The verbs on images whose file system is no pool."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.guest import tiny
from unikiln.base.device import FileDevice
from unikiln.cli.main import main

Said = Callable[..., str]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    (source / "dir/sub").mkdir(parents=True)
    (source / "file").write_bytes(b"content\n")
    (source / "dir/link").symlink_to("../file")
    (source / "exit7").write_bytes(tiny.make_elf(tiny.exit_with(7)))
    (source / "loop").write_bytes(tiny.file_loop(4, 2))
    (source / "data").write_bytes(bytes(4096 * 4))
    return source


@pytest.fixture(params=["rofs", "ramfs"])
def fs(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def image(source: Path, fs: str) -> Path:
    image = source.parent / "disk.qcow2"
    arguments = ["build", str(source), "-o", str(image), "--fs", fs, "--layout", "disk", "-q"]
    assert main([*arguments, "--cmdline", "/exit7"]) == 0
    return image


@pytest.fixture
def said(image: Path, capfd: pytest.CaptureFixture[str]) -> Said:
    """Runs a verb on the image; what it prints."""

    def run(verb: str, *arguments: str, status: int = 0) -> str:
        capfd.readouterr()
        assert main([verb, str(image), *arguments]) == status
        out, err = capfd.readouterr()
        return err if status and not out else out

    return run


def test_looking(said: Said, fs: str) -> None:
    assert said("ls") == "data\ndir\nexit7\nfile\nloop\n"
    assert said("cat", "/dir/link") == "content\n"
    assert "└── sub" in said("tree")
    (told,) = json.loads(said("stat", "--json", "/file"))
    assert (told["type"], told["size"]) == ("file", 8)
    assert told["mode"] == {"rofs": "0555", "ramfs": "0777"}[fs]
    assert "File: /dir/link -> ../file" in said("stat", "/dir/link")


def test_info(said: Said, fs: str) -> None:
    text = said("info")
    assert f"command line: --rootfs={fs} /exit7" in text
    assert f"{fs}: 5 files and links" in text
    found = json.loads(said("info", "--json"))
    assert (found["fs"], found["pool_partition"]) == (fs, 2)
    assert found["contents"]["files"] == 5


def test_extract(said: Said, source: Path) -> None:
    said("extract", str(source.parent / "out"), "-q")
    subprocess.run(["diff", "-r", source, source.parent / "out"], check=True)


def test_datasets_are_the_pools(said: Said, fs: str) -> None:
    assert f"holds {fs}, which has no datasets" in said("ls", "--dataset", "zfs", status=2)


def test_verify(said: Said, image: Path, source: Path, fs: str) -> None:
    assert "whole; 5 files" in said("verify")
    assert json.loads(said("verify", "--json"))["findings"] == []
    bare = source.parent / "bare.img"
    assert main(["build", str(source), "-o", str(bare), "--fs", fs, "--layout", "bare", "-q"]) == 0
    with FileDevice(bare, writable=True) as device:
        if fs == "rofs":
            device.write_at(device.size - 512, b"\xff" * 512)
        else:
            device.write_at(8, (128).to_bytes(8, "little"))
    assert main(["verify", str(bare)]) == 1


@pytest.mark.parametrize(("program", "status"), [(None, 7), ("/loop", 0)])
def test_run(said: Said, program: str | None, status: int) -> None:
    said("run", *(["--", program] if program else []), status=status)


def test_nothing_of_zfs_is_loaded(source: Path) -> None:
    bare = source.parent / "bare.rofs"
    assert main(["build", str(source), "-o", str(bare), "--fs", "rofs", "--layout", "bare", "-q"]) == 0
    code = (
        "import sys; from unikiln.cli.main import main; status = main(['ls', sys.argv[1]]);"
        "print([name for name in sys.modules if name.startswith('unikiln.zfs')]); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code, bare], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_image_of_nothing_known(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for size in (0, 100, 512, 1 << 20):
        (tmp_path / "image").write_bytes(b"x" * size)
        assert main(["ls", str(tmp_path / "image")]) == 1
        assert "no ZFS pool on it, no ROFS and no bootfs" in capfd.readouterr().err
