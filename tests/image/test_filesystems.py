"""Disks of every file system for every architecture, against the layouts that OSv's scripts give them."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from tests import judges
from tests.image.kernels import BOOT_CODE, arm_image, loader_img
from unikiln.base.size import round_up
from unikiln.cli.common import open_dataset
from unikiln.errors import HostError, ImageError, NoSpaceError, UsageError
from unikiln.image.build import BuildOptions, BuildResult, build
from unikiln.image.container import open_image
from unikiln.image.opening import only_volume
from unikiln.image.partitions import partitions
from unikiln.image.sources import SourceOptions

MIB = 1 << 20
FILE_SYSTEMS = ("zfs", "rofs", "ramfs")
EVERY = list(itertools.product(FILE_SYSTEMS, ("aarch64", "x86_64")))
MAGIC = {"rofs": bytes.fromhex("adbeadde00000000"), "ramfs": (500).to_bytes(8, "little")}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/app").write_bytes(b"A" * 500)
    (folder / "link").symlink_to("bin/app")
    return folder


def make(source: Path, name: str, /, **options: object) -> BuildResult:
    chosen: dict[str, object] = {
        "sources": SourceOptions.of(source),
        "output": source.parent / name,
        "arch": "aarch64",
        "layout": "disk",
    }
    return build(BuildOptions(**(chosen | options)))  # type: ignore[arg-type]


def start_of(image: bytes) -> tuple[int, int]:
    """Start and size of partition 2, in bytes, from its entry's own bytes."""
    entry = image[0x1CE:0x1DE]
    assert entry[4] == 0x83
    assert not any(image[0x1BE:0x1CE] + image[0x1DE:0x1FE])
    return 512 * int.from_bytes(entry[8:12], "little"), 512 * int.from_bytes(entry[12:16], "little")


def label_at(image: bytes, start: int, fs: str) -> bool:
    if fs == "zfs":  # the nvlist of the first label, XDR and little-endian
        return image[start + (16 << 10) :][:4] == b"\x01\x01\x00\x00" and b"osv.local" in image
    return image[start:].startswith(MAGIC[fs])


@pytest.mark.parametrize(("fs", "arch"), EVERY)
def test_without_a_kernel(source: Path, fs: str, arch: str) -> None:
    result = make(source, "disk.raw", fs=fs, arch=arch)
    image = (source.parent / "disk.raw").read_bytes()
    start, size = start_of(image)
    assert start == 512
    assert start + size == len(image) == result.size
    assert image[510:512] == b"\x55\xaa"
    assert not any(image[:0x1BE])
    assert label_at(image, start, fs)
    assert (result.fs, result.arch, result.files, result.bytes_in) == (fs, arch, 2, 500)


@pytest.mark.parametrize(("fs", "arch"), EVERY)
def test_with_a_command_line(source: Path, fs: str, arch: str) -> None:
    make(source, "disk.raw", fs=fs, arch=arch, cmdline="/bin/app x")
    image = (source.parent / "disk.raw").read_bytes()
    start, _ = start_of(image)
    assert start == MIB
    assert image[512:].startswith(f"--rootfs={fs} /bin/app x\0".encode())
    assert label_at(image, start, fs)


@pytest.mark.parametrize("fs", FILE_SYSTEMS)
@pytest.mark.parametrize(("size", "start"), [(300_000, 2 * MIB), (2 * MIB, 2 * MIB), (2 * MIB + 1, 4 * MIB)])
def test_behind_a_kernel(source: Path, fs: str, size: int, start: int) -> None:
    kernel = loader_img(source.parent / "loader.img", size)
    make(source, "disk.raw", fs=fs, arch="x86_64", kernel=kernel, cmdline="/bin/app")
    image, loader = (source.parent / "disk.raw").read_bytes(), kernel.read_bytes()
    assert start_of(image)[0] == start
    assert image[:16] == BOOT_CODE
    pieces = -(-(size - 65536) // 32768)
    assert image[0x10:0x12] == pieces.to_bytes(2, "little")
    assert image[0x12:0x1BE] == loader[0x12:0x1BE]
    assert image[510:512] == b"\x55\xaa"
    assert image[512:].startswith(f"--rootfs={fs} /bin/app\0".encode())
    assert image[65536:size] == loader[65536:]
    assert not any(image[size:start])
    assert label_at(image, start, fs)


def test_a_kernels_own_command_line_stays(source: Path) -> None:
    kernel = loader_img(source.parent / "loader.img")
    make(source, "disk.raw", fs="rofs", arch="x86_64", kernel=kernel)
    assert (source.parent / "disk.raw").read_bytes()[512:].startswith(b"--rootfs=rofs /default\0")


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("--rootfs=rofs /x", "--rootfs=rofs /x"),
        ("--verbose --rootfs=zfs /x", "--verbose --rootfs=zfs /x"),
        ("/x --rootfs-of=mine", "--rootfs=rofs /x --rootfs-of=mine"),
        ("", "--rootfs=rofs "),
    ],
)
def test_the_root_file_system_is_told_once(source: Path, given: str, stored: str) -> None:
    make(source, "disk.raw", fs="rofs", cmdline=given)
    image = (source.parent / "disk.raw").read_bytes()
    assert image[512:].partition(b"\0")[0].decode() == stored


def test_the_partition_is_the_rofs_and_the_disk_as_large_as_asked(source: Path) -> None:
    result = make(source, "disk.raw", fs="rofs", size=10 * MIB + 100)
    image = (source.parent / "disk.raw").read_bytes()
    assert len(image) == result.size == 10 * MIB
    assert start_of(image) == (512, result.bytes_out)


@pytest.mark.parametrize(
    ("name", "fs", "options"), [("a.bin", "ramfs", {}), ("a.rofs", "rofs", {"layout": "bare"})]
)
def test_bare(source: Path, name: str, fs: str, options: dict[str, object]) -> None:
    result = make(source, name, fs=fs, **({"layout": None} | options))
    image = (source.parent / name).read_bytes()
    assert image.startswith(MAGIC[fs])
    assert (result.layout, result.size) == ("bare", len(image))
    if fs == "ramfs":
        assert len(image) == 3 * 128 + 500 + 8


def test_a_folder_for_virtiofs(source: Path) -> None:
    result = make(source, "folder", fs="virtiofs", layout=None)
    assert (result.layout, result.files) == ("folder", 2)
    assert (source.parent / "folder/bin/app").read_bytes() == b"A" * 500
    assert (source.parent / "folder/link").readlink() == Path("bin/app")
    with pytest.raises(HostError, match="not empty"):
        make(source, "folder", fs="virtiofs", layout=None)
    with pytest.raises(UsageError, match="a folder, not a disk"):
        make(source, "other", fs="virtiofs", layout=None, cmdline="/x")


@pytest.mark.parametrize(("fs", "arch"), EVERY)
@pytest.mark.judge("sfdisk", "qemu-img")
def test_judges_read_both_formats(source: Path, fs: str, arch: str) -> None:
    kernel = loader_img(source.parent / "loader.img") if arch == "x86_64" else None
    images = [source.parent / name for name in ("disk.raw", "disk.qcow2")]
    for image in images:
        make(source, image.name, fs=fs, arch=arch, kernel=kernel, cmdline="/bin/app", seed="x")
    start, size = start_of(images[0].read_bytes())
    line = judges.run("sfdisk", "-d", images[0]).stdout.splitlines()[-1]
    assert f"disk.raw2 : start={start // 512:>12}, size={size // 512:>12}, type=83" in line
    judges.run("qemu-img", "check", images[1])
    judges.run("qemu-img", "compare", *images)


@pytest.mark.parametrize("arch", ["aarch64", "x86_64"])
@pytest.mark.judge("zdb")
def test_zdb_takes_the_partition(source: Path, arch: str) -> None:
    kernel = loader_img(source.parent / "loader.img") if arch == "x86_64" else None
    make(source, "disk.raw", arch=arch, kernel=kernel)
    image = (source.parent / "disk.raw").read_bytes()
    start, size = start_of(image)
    (source.parent / "pool").mkdir()
    (source.parent / "pool/vdev").write_bytes(image[start : start + size])
    told = judges.run("zdb", "-e", "-p", source.parent / "pool", "-bcc", "osv").stdout
    assert "No leaks (block sum matches space maps exactly)" in told


@pytest.mark.parametrize(("fs", "arch"), EVERY)
def test_what_was_written_is_read(source: Path, fs: str, arch: str) -> None:
    kernel = loader_img(source.parent / "loader.img") if arch == "x86_64" else None
    make(source, "disk.qcow2", fs=fs, arch=arch, kernel=kernel, cmdline="/bin/app")
    with open_dataset(source.parent / "disk.qcow2", None) as opened:
        assert opened.filesystem.path(b"/link").read(0, 1000) == b"A" * 500
        assert opened.cmdline == f"--rootfs={fs} /bin/app"
    device = open_image(source.parent / "disk.qcow2")
    volume = only_volume(device)
    assert (volume.kind, volume.partition) == (fs, partitions(device)[0])
    device.close()


@pytest.mark.parametrize("fs", ["rofs", "ramfs"])
def test_the_same_bytes_twice(source: Path, fs: str) -> None:
    for name in ("one.raw", "two.raw"):
        make(source, name, fs=fs)
        os.utime(source / "bin/app")
    assert (source.parent / "one.raw").read_bytes() == (source.parent / "two.raw").read_bytes()


def test_what_cannot_be_built(source: Path) -> None:
    here = source.parent
    kernel = loader_img(here / "loader.img")
    cases: list[tuple[type[Exception], str, dict[str, object]]] = [
        (UsageError, "aarch64 has no kernel on it", {"kernel": kernel}),
        (UsageError, "no place for a kernel", {"kernel": kernel, "layout": "bare", "arch": "x86_64"}),
        (ImageError, "no x86-64 boot sector", {"kernel": arm_image(here / "arm.img"), "arch": "x86_64"}),
        (ImageError, "begins at byte 65536", {"kernel": loader_img(here / "s", 65536), "arch": "x86_64"}),
        (HostError, "No such file", {"kernel": here / "gone", "arch": "x86_64"}),
        (UsageError, "no room for a file system that begins at byte 2097152",
         {"kernel": kernel, "arch": "x86_64", "size": MIB}),
        (NoSpaceError, "take 1536 bytes as rofs, and the disk has 1024", {"fs": "rofs", "size": 1536}),
        (NoSpaceError, "larger --size", {"fs": "ramfs", "size": 1024}),
    ]  # fmt: skip
    before = sorted(path.name for path in here.iterdir())
    for error, said, options in cases:
        with pytest.raises(error, match=said):
            make(source, "disk.raw", **options)
    os.mkfifo(source / "pipe")
    for fs in ("rofs", "ramfs"):
        with pytest.raises(ImageError, match=r"/pipe: .*leave it out"):
            make(source, "disk.raw", fs=fs)
    assert sorted(path.name for path in here.iterdir()) == before


def test_a_partition_holds_whole_sectors(source: Path) -> None:
    result = make(source, "disk.raw", fs="ramfs")
    assert result.bytes_out % 512
    assert start_of((source.parent / "disk.raw").read_bytes())[1] == round_up(result.bytes_out, 512)
