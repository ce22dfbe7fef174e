"""The guest under QEMU: its disk, its port and its end; a real OSv where ``UNIKILN_OSV_KERNEL`` names one."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from tests import judges
from unikiln.engine.builder.choice import Choice, guest_for
from unikiln.engine.builder.disk import DiskPlan, pool_partition
from unikiln.engine.builder.osv import DISK_SIZE, OsvGuest
from unikiln.engine.upload import Patience, send, upload
from unikiln.errors import HostError, ImageError, UploadError, UsageError
from unikiln.image.container import open_image
from unikiln.image.directory import scan

MIB = 1 << 20
KERNEL = os.environ.get("UNIKILN_OSV_KERNEL")
PATIENCE = Patience(start=60, stall=30, finish=60)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source/bin").mkdir(parents=True)
    (tmp_path / "source/bin/app").write_bytes(os.urandom(5000))
    (tmp_path / "source/link").symlink_to("/bin/app")
    return tmp_path / "source"


def guest(tmp_path: Path, kernel: Path, **plan: object) -> OsvGuest:
    (tmp_path / "disk").touch()
    disk = DiskPlan(path=tmp_path / "disk", form="raw", **plan)  # type: ignore[arg-type]
    return OsvGuest(disk, kernel=kernel, arch="aarch64", verbose=False)


def no_qemu_is_left() -> bool:
    """No child of ours is a QEMU."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return not [each for each in children if "qemu" in Path(f"/proc/{each}/comm").read_text()]


@pytest.mark.judge("qemu-system-aarch64", "linux-arm64")
def test_a_kernel_that_panics(source: Path, tmp_path: Path) -> None:
    """A Linux without a root: the connection that QEMU takes early is none, the panic is the reason."""
    kernel = judges.find("linux-arm64")
    assert kernel is not None
    lines: list[str] = []
    it = guest(tmp_path, kernel)
    with pytest.raises(UploadError, match="Kernel panic"):
        send(it, scan(source), say=lines.append, patience=PATIENCE)
    assert any("Booting Linux" in line for line in lines)
    assert no_qemu_is_left()
    with closing(open_image(tmp_path / "disk")) as disk:
        assert (pool_partition(disk).start, disk.size) == (512, DISK_SIZE)


@pytest.mark.judge("qemu-system-aarch64", "linux-arm64")
def test_ended_from_outside(source: Path, tmp_path: Path) -> None:
    kernel = judges.find("linux-arm64")
    assert kernel is not None
    it = guest(tmp_path, kernel)
    it.start(lambda line: None)
    assert it.port > 0
    it.end()
    ending = it.wait(0)
    assert ending is not None
    assert ending.status != 0
    assert no_qemu_is_left()


@pytest.mark.judge("qemu-system-aarch64")
def test_no_kernel(source: Path, tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"loader\.img: No such file"):
        send(guest(tmp_path, Path("no/loader.img")), scan(source), say=print, patience=PATIENCE)


def test_no_partition_for_a_pool(source: Path, tmp_path: Path) -> None:
    (tmp_path / "before").write_bytes(bytes(MIB))
    it = guest(tmp_path, Path("loader.img"), before=tmp_path / "before")
    with pytest.raises(ImageError, match="no partition 2"):
        it.start(print)


def test_no_kernel_was_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make = guest_for(Choice(engine="qemu", output=tmp_path / "disk.raw", arch="aarch64"))
    with pytest.raises(UsageError, match=r"no kernel: build/last/loader\.img is not there"):
        (tmp_path / "x").touch()
        make(tmp_path / "x").start(print)


@pytest.mark.skipif(KERNEL is None, reason="needs an OSv kernel with mkfs and cpiod in UNIKILN_OSV_KERNEL")
def test_a_real_osv(source: Path, tmp_path: Path) -> None:
    assert KERNEL is not None
    image = tmp_path / "disk.qcow2"
    choice = Choice(engine="qemu", output=image, kernel=Path(KERNEL))
    try:
        done = upload(scan(source), image, guest_for(choice), say=print, patience=PATIENCE)
    except UploadError as error:
        if "Failed to load object" in str(error):
            pytest.skip(f"the kernel has no programs of its own: {error}")
        raise
    assert done.entries == 4
