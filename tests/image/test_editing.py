"""Changing a few bytes in place: raw, and qcow2 with its tables and counts, judged by QEMU's own tools."""

from __future__ import annotations

import itertools
import random
import shutil
import struct
import subprocess
import time
from pathlib import Path

import pytest

from tests import judges
from unikiln.base.device import FileDevice
from unikiln.errors import HostError, ImageError, UnikilnError, UnsupportedError
from unikiln.image.container import open_image
from unikiln.image.editing import edited

MIB = 1 << 20
SIZE = 9 * MIB + 512


def new_qcow2(path: Path, *options: str, size: int = SIZE) -> Path:
    judges.run("qemu-img", "create", "-q", "-f", "qcow2", *options, path, str(size))
    return path


def write(path: Path, *changes: tuple[int, bytes]) -> None:
    with edited(path) as device:
        for offset, data in changes:
            device.write_at(offset, data)
            assert device.read_at(offset, len(data)) == data


def check(path: Path) -> None:
    judges.run("qemu-img", "check", path)  # fails for leaks, too


def content(path: Path) -> bytes:
    device = open_image(path)
    try:
        return device.read_at(0, device.size)
    finally:
        device.close()


def test_raw_is_written_in_place(tmp_path: Path) -> None:
    image = tmp_path / "disk.raw"
    image.write_bytes(b"x" * 2000)
    before = image.stat().st_ino
    write(image, (512, b"hello"))
    assert image.read_bytes() == b"x" * 512 + b"hello" + b"x" * (2000 - 517)
    assert image.stat().st_ino == before


CLUSTERS = ["cluster_size=512", "cluster_size=4K", "cluster_size=64K", "cluster_size=2M"]


@pytest.mark.judge("qemu-img", "qemu-io")
@pytest.mark.parametrize("options", [*CLUSTERS, "compat=0.10", "cluster_size=4K,compat=0.10"])
@pytest.mark.parametrize("preallocation", ["off", "metadata"])
def test_qcow2_like_raw(tmp_path: Path, options: str, preallocation: str) -> None:
    image = new_qcow2(tmp_path / "disk.qcow2", "-o", f"{options},preallocation={preallocation}")
    judges.run("qemu-io", "-c", "write -P 7 1M 300k", "-c", "write -z 1100k 64k", image)
    expected = bytearray(SIZE)
    expected[MIB : MIB + (300 << 10)] = b"\7" * (300 << 10)
    expected[1100 << 10 : 1164 << 10] = bytes(64 << 10)
    choose = random.Random(5)
    changes = [
        (choose.randrange(SIZE - 5000), choose.randbytes(choose.randrange(1, 5000))) for _ in range(12)
    ]
    changes += [(0, b"\x55"), (SIZE - 3, b"end"), ((1100 << 10) - 3, b"across"), (65530, b"over the edge")]
    for offset, data in changes:
        expected[offset : offset + len(data)] = data
    write(image, *changes)
    check(image)
    assert content(image) == expected
    judges.run("qemu-img", "convert", "-O", "raw", image, tmp_path / "theirs.raw")
    assert (tmp_path / "theirs.raw").read_bytes() == expected
    judges.run("qemu-io", "-c", "write -P 9 0 9M", image)  # QEMU goes on from what we left
    check(image)


@pytest.mark.judge("qemu-img")
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16, 32, 64])
def test_counts_of_every_width(tmp_path: Path, bits: int) -> None:
    options = f"cluster_size=512,refcount_bits={bits}"
    image = new_qcow2(tmp_path / "disk.qcow2", "-o", options, size=512 << 10)
    write(image, *((at, b"x") for at in range(0, 512 << 10, 3000)))
    check(image)


@pytest.mark.judge("qemu-img")
def test_zeros_with_a_cluster_of_their_own_keep_it(tmp_path: Path) -> None:
    image = new_qcow2(tmp_path / "disk.qcow2", "-o", "preallocation=metadata", size=MIB)
    judges.run("qemu-io", "-c", "write -z 0 1M", image)
    size = image.stat().st_size
    write(image, (70_000, b"x"))
    check(image)
    assert image.stat().st_size <= size + 65536
    assert content(image) == bytes(70_000) + b"x" + bytes(MIB - 70_001)


@pytest.mark.judge("qemu-img")
def test_a_table_of_counts_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FileDevice, "flush", lambda self: None)  # 8,000 of them take a while
    image = new_qcow2(tmp_path / "disk.qcow2", "-o", "cluster_size=512,refcount_bits=64", size=4 * MIB)
    with pytest.raises(UnsupportedError, match=r"counts is full .*qemu-img convert"), edited(image) as device:
        for at in range(0, 4 * MIB, 512):
            device.write_at(at, b"x")
    check(image)


@pytest.mark.judge("qemu-img")
def test_compressed_clusters_are_not_written(tmp_path: Path) -> None:
    plain = new_qcow2(tmp_path / "plain.qcow2")
    judges.run("qemu-io", "-c", "write -P 7 0 1M", plain)
    image = tmp_path / "disk.qcow2"
    judges.run("qemu-img", "convert", "-c", "-O", "qcow2", plain, image)
    before = image.read_bytes()
    with pytest.raises(UnsupportedError, match=r"byte 512 .* compressed cluster .*qemu-img convert"):
        write(image, (512, b"x"))
    assert image.read_bytes() == before
    write(image, (5 * MIB, b"elsewhere"))
    check(image)


@pytest.mark.judge("qemu-img")
def test_what_a_change_could_damage(tmp_path: Path) -> None:
    snapshot = new_qcow2(tmp_path / "snapshot.qcow2")
    judges.run("qemu-img", "snapshot", "-c", "first", snapshot)
    backed = tmp_path / "backed.qcow2"
    judges.run("qemu-img", "create", "-f", "qcow2", "-b", snapshot, "-F", "qcow2", backed)
    bitmap = new_qcow2(tmp_path / "bitmap.qcow2")
    judges.run("qemu-img", "bitmap", "--add", bitmap, "changes")
    dirty = new_qcow2(tmp_path / "dirty.qcow2")
    patch(dirty, 72, struct.pack(">Q", 1))
    for image, said in (
        (snapshot, "has 1 snapshots"),
        (backed, "backing file"),
        (bitmap, "bitmaps"),
        (dirty, "not closed"),
    ):
        before = image.read_bytes()
        with pytest.raises(UnikilnError, match=said):
            write(image, (0, b"x"))
        assert image.read_bytes() == before


def patch(path: Path, offset: int, data: bytes) -> None:
    with FileDevice(path, writable=True) as file:
        file.write_at(offset, data)


@pytest.mark.judge("qemu-img")
@pytest.mark.parametrize(
    ("offset", "value", "said"),
    [
        (40, 1 << 62, "level 1 table|outside"),  # l1_table_offset
        (48, 1, "reference counts|outside"),  # refcount_table_offset
        (48, 1 << 50, "outside"),
        (56, 0, "full"),  # no refcount table at all
        (96, 7 << 32 | 104, "reference counts"),  # refcount_order 7
    ],
)
def test_headers_that_lie(tmp_path: Path, offset: int, value: int, said: str) -> None:
    image = new_qcow2(tmp_path / "disk.qcow2")
    patch(image, offset, struct.pack(">Q", value))
    with pytest.raises(UnikilnError, match=said):
        write(image, (MIB, b"x"))


@pytest.mark.judge("qemu-img")
@pytest.mark.parametrize("entry", [1 << 63 | 513, 1 << 63 | 1 << 50, 65536 * 3, 1 << 63 | 1 << 40])
def test_tables_that_lie(tmp_path: Path, entry: int) -> None:
    image = new_qcow2(tmp_path / "disk.qcow2")
    (l1,) = struct.unpack(">Q", image.read_bytes()[40:48])
    patch(image, l1, struct.pack(">Q", entry))
    with pytest.raises(UnikilnError, match=r"leads to|shared"):
        write(image, (0, b"x"))


@pytest.mark.judge("qemu-img")
def test_no_bytes_beyond_the_disk(tmp_path: Path) -> None:
    image = new_qcow2(tmp_path / "disk.qcow2")
    with pytest.raises(ImageError, match="outside"):
        write(image, (SIZE - 1, b"xx"))
    check(image)


@pytest.mark.judge("qemu-img", "qemu-nbd")
@pytest.mark.parametrize("form", ["raw", "qcow2"])
def test_what_is_in_use_is_left_alone(tmp_path: Path, form: str) -> None:
    image, socket = tmp_path / "disk", tmp_path / "socket"
    judges.run("qemu-img", "create", "-f", form, image, str(MIB))
    server = subprocess.Popen([str(judges.find("qemu-nbd")), "-f", form, "-k", socket, image])
    try:
        for _ in itertools.takewhile(lambda _: not socket.exists(), range(200)):
            time.sleep(0.05)
        with pytest.raises(HostError, match=r"is in use .*running guest"):
            write(image, (0, b"x"))
    finally:
        server.terminate()
        server.wait()
    write(image, (0, b"x"))
    with edited(image):
        done = judges.run("qemu-io", "-f", form, "-c", "read 0 1", image, check=False)
        assert "lock" in done.stderr + done.stdout


@pytest.mark.judge("qemu-img")
def test_an_interruption_loses_at_most_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever write is the last one, the image stays one that QEMU reads, and old content stays."""
    source = new_qcow2(tmp_path / "source.qcow2", "-o", "cluster_size=512")
    judges.run("qemu-io", "-c", "write -P 7 1M 4k", source)
    real = FileDevice.write_at
    for last in itertools.count():
        image = Path(shutil.copy(source, tmp_path / "disk.qcow2"))
        left = itertools.repeat(None, last)

        def failing(self: FileDevice, offset: int, data: bytes, left: itertools.repeat[None] = left) -> None:
            if next(left, 0) == 0:
                raise KeyboardInterrupt
            real(self, offset, data)

        monkeypatch.setattr(FileDevice, "write_at", failing)
        try:
            write(image, (4 * MIB, b"new" * 200))
        except KeyboardInterrupt:
            interrupted = True
        else:
            interrupted = False
        monkeypatch.undo()
        done = judges.run("qemu-img", "check", image, check=False)
        assert done.returncode in (0, 3), done.stdout  # 3: leaked clusters, and nothing worse
        assert content(image)[MIB : MIB + 4096] == b"\7" * 4096
        if not interrupted:
            break
    assert last > 5
