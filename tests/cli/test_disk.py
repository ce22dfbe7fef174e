from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests import judges
from tests.image.kernels import arm_image, loader_img
from unikiln.cli.main import main

MIB = 1 << 20


@pytest.fixture(params=["disk.raw", "disk.qcow2"])
def image(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A disk with a kernel, a command line, and ROFS in partition 2."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source/app").write_bytes(b"app")
    image = tmp_path / str(request.param)
    kernel = loader_img(tmp_path / "loader.img")
    status = main(
        ["build", str(tmp_path / "source"), "-o", str(image), "--fs", "rofs", "--arch", "x86_64", "-q",
         "--kernel", str(kernel), "--cmdline", "/app"]
    )  # fmt: skip
    assert status == 0
    return image


def said(capfd: pytest.CaptureFixture[str], *arguments: object, status: int = 0) -> str:
    capfd.readouterr()
    assert main([str(each) for each in arguments]) == status
    out, err = capfd.readouterr()
    return err if status else out


@pytest.mark.judge("qemu-img")
def test_arguments(image: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert said(capfd, "disk", "getargs", image) == "--rootfs=rofs /app\n"
    said(capfd, "disk", "setargs", image, "--rootfs=rofs", "--verbose", "/app", "-x", "a b")
    text = "--rootfs=rofs --verbose /app -x a b"
    assert json.loads(said(capfd, "disk", "getargs", image, "--json")) == {"image": str(image), "args": text}
    if image.suffix == ".qcow2":
        judges.run("qemu-img", "check", image)
    assert said(capfd, "cat", image, "/app") == "app"


def test_partitions(image: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (found,) = json.loads(said(capfd, "disk", "partitions", image, "--json"))
    assert found == {"number": 2, "start": 2 * MIB, "size": 1536, "type": "83", "table": "mbr"}
    said(capfd, "disk", "setpartition", image, "3", "4M", "1M")
    assert said(capfd, "disk", "partitions", image).splitlines() == [
        "NUMBER   START    SIZE       TABLE TYPE",
        "     2 2097152    1536 1.50K   mbr 83",
        "     3 4194304 1048576    1M   mbr 83",
    ]


def test_sizes(image: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    said(capfd, "disk", "setsize", image, "100000")
    said(capfd, "disk", "setsize", image, "100000", "--arch", "x86_64")
    if image.suffix == ".raw":
        assert image.read_bytes()[0x10:0x12] == (4).to_bytes(2, "little")
    assert "kernel for aarch64" in said(capfd, "disk", "setsize", image, "1", "--arch", "aarch64", status=1)
    arm = arm_image(tmp_path / "arm.img")
    said(capfd, "disk", "setsize", arm, "100000", "--arch", "aarch64")
    assert arm.read_bytes()[0x10:0x18] == (100_000).to_bytes(8, "little")


def test_errors_are_one_line(image: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    gone = tmp_path / "gone"
    for arguments, status, text in (
        (["getargs", gone], 1, "No such file"),
        (["setargs", gone, "x"], 1, "No such file"),
        (["setpartition", image, "5", "512", "512"], 2, "partitions 1 to 4"),
        (["setpartition", image, "1", "far", "512"], 2, "'far' is not a size"),
        (["setsize", image, "3G"], 2, "65535 pieces"),
        (["nothing"], 2, "no verb 'nothing'"),
    ):
        told = said(capfd, "disk", *arguments, status=status)
        assert text in told
        assert told.startswith("unikiln: ")
        assert told.count("\n") == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anything")
def test_a_read_only_file(image: Path, capfd: pytest.CaptureFixture[str]) -> None:
    image.chmod(0o444)
    assert "Permission denied" in said(capfd, "disk", "setargs", image, "x", status=1)
