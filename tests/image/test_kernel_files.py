"""Putting files into a kernel: in place of those that it was linked with."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from tests import judges
from tests.image.kernels import loader_img
from tests.rofs.trees import empty_device, small
from unikiln.base.device import FileDevice, SliceDevice
from unikiln.bootfs.filesystem import FileSystem
from unikiln.bootfs.writer import files, write
from unikiln.errors import ImageError, NoSpaceError, UsageError
from unikiln.image.build import BuildOptions, BuildResult, build
from unikiln.image.kernel_files import Place, find
from unikiln.image.sources import SourceOptions

START = 70_001
"""Nothing aligns it."""


def record(size: int, offset: int, name: bytes) -> bytes:
    return struct.pack("<QQB111s", size, offset, 0, name)


@pytest.fixture
def linked(tmp_path: Path) -> bytes:
    with empty_device(tmp_path / "bootfs") as device:
        write(device, files(small(tmp_path)))
    return (tmp_path / "bootfs").read_bytes()


@pytest.fixture
def kernel(tmp_path: Path, linked: bytes) -> Path:
    image = bytearray(b"\xaa" * 200_000)
    image[:4], image[56:60] = b"code", b"ARM\x64"
    image[1000:1128] = record(5, 256, b"/no/bootfs")  # not followed by an end
    image[START : START + len(linked)] = linked
    (tmp_path / "loader.img").write_bytes(image)
    return tmp_path / "loader.img"


def make(source: Path, kernel: Path, **options: object) -> BuildResult:
    chosen: dict[str, object] = {
        "sources": SourceOptions.of(source), "output": kernel.parent / "out.img", "arch": "aarch64",
        "fs": "ramfs", "kernel": kernel,
    }  # fmt: skip
    return build(BuildOptions(**(chosen | options)))  # type: ignore[arg-type]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/new").write_bytes(b"new content")
    return tmp_path / "source"


def test_it_is_found(kernel: Path, linked: bytes) -> None:
    assert find(kernel) == (kernel.read_bytes(), Place(START, len(linked)))


def test_files_take_the_place(kernel: Path, linked: bytes, source: Path) -> None:
    result = make(source, kernel)
    before, after = kernel.read_bytes(), (kernel.parent / "out.img").read_bytes()
    expected = record(11, 256, b"/new") + bytes(128) + b"new content"
    assert after[START : START + len(linked)] == expected.ljust(len(linked), b"\0")
    assert after[:START] == before[:START]
    assert after[START + len(linked) :] == before[START + len(linked) :]
    assert (result.layout, result.size, result.bytes_out) == ("kernel", 200_000, len(expected))
    with FileDevice(kernel.parent / "out.img") as device:
        inside = FileSystem(SliceDevice(device, START, len(linked)))
        assert inside.path(b"/new").read(0, 99) == b"new content"


def test_the_command_line_goes_into_the_kernel(kernel: Path, source: Path) -> None:
    make(source, kernel, cmdline="/new")
    assert (kernel.parent / "out.img").read_bytes()[512:].startswith(b"--rootfs=ramfs /new\0")


def test_what_cannot_be(kernel: Path, linked: bytes, source: Path, tmp_path: Path) -> None:
    (source / "large").write_bytes(bytes(len(linked)))
    with pytest.raises(NoSpaceError, match=r"kernel .* has 1289 for them .*bootfs.bin"):
        make(source, kernel)
    (source / "large").unlink()
    for options in ({"size": 1 << 20}, {"layout": "disk"}, {"format": "qcow2"}):
        with pytest.raises(UsageError, match="not a disk"):
            make(source, kernel, **options)
    kernel.write_bytes(kernel.read_bytes() + b"\xaa" + linked)
    with pytest.raises(ImageError, match="2 bootfs in it"):
        make(source, kernel)
    kernel.write_bytes(kernel.read_bytes()[: START + len(linked) - 1])
    with pytest.raises(ImageError, match=r"0 bootfs in it, .*build OSv"):
        make(source, kernel)
    assert not (tmp_path / "out.img").exists()


def test_a_kernel_with_a_boot_sector_begins_a_disk(source: Path, tmp_path: Path) -> None:
    result = make(source, loader_img(tmp_path / "x86.img"), arch="x86_64", format="raw")
    assert (result.layout, result.size) == ("disk", (2 << 20) + 512)


@pytest.mark.judge("aarch64-linux-gnu-gcc")
def test_where_the_linker_puts_it(tmp_path: Path, linked: bytes, source: Path) -> None:
    """Linked as OSv links it: by ``.incbin`` into ``.data``, between other data."""
    (tmp_path / "bootfs.bin").write_bytes(linked)
    (tmp_path / "kernel.S").write_text(
        '.data\n.ascii "before/"\n.global bootfs_start\nbootfs_start: .incbin "bootfs.bin"\nafter: .quad 7\n'
        '.section .rodata\n.asciz "/usr/lib"\n.text\n.global _start\n_start: ret\n'
    )
    kernel = tmp_path / "kernel.elf"
    judges.run(
        "aarch64-linux-gnu-gcc",
        "-nostdlib",
        "-static",
        f"-Wa,-I{tmp_path}",
        tmp_path / "kernel.S",
        "-o",
        kernel,
    )
    content, place = find(kernel)
    assert content[place.start - 7 : place.start] == b"before/"
    assert content[place.start : place.start + place.size] == linked
    assert re.match(rb"\x07\0{7}", content[place.start + place.size :])
    assert make(source, kernel).layout == "kernel"
