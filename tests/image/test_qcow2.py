from __future__ import annotations

import importlib.util
import random
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import judges
from unikiln.base.device import BlockDevice, FileDevice
from unikiln.errors import HostError, ImageError, UnikilnError, UnsupportedError, UsageError
from unikiln.image.container import create_image, format_of, open_image
from unikiln.image.qcow2 import Qcow2Reader, Qcow2Writer

CLUSTER = 1 << 16
MIB = 1 << 20


def content_of(device: BlockDevice) -> bytes:
    return device.read_at(0, device.size)


def write(path: Path, *pieces: tuple[int, bytes], size: int | None = None) -> Path:
    writer = new_writer(path)
    for offset, data in pieces:
        writer.write_at(offset, data)
    if size is not None:
        writer.truncate(size)
    writer.flush()
    writer.close()
    return path


def new_writer(path: Path) -> Qcow2Writer:
    path.touch()
    return Qcow2Writer(path)


actions = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 4 * MIB), st.integers(0, 3 * CLUSTER), st.booleans()),
    st.tuples(st.just("truncate"), st.integers(0, 5 * MIB), st.just(0), st.just(False)),
    st.tuples(st.just("flush"), st.just(0), st.just(0), st.just(False)),
)


@settings(max_examples=60)
@given(plan=st.lists(actions, max_size=12))
def test_it_holds_what_was_written(plan: list[tuple[str, int, int, bool]], tmp_path: Path) -> None:
    model = bytearray()
    path = tmp_path / "a.qcow2"
    writer = new_writer(path)
    for number, (what, offset, length, zeros) in enumerate(plan):
        if what == "write":
            data = bytes(length) if zeros else random.Random(number).randbytes(length)
            writer.write_at(offset, data)
            model.extend(bytes(max(0, offset + length - len(model))))
            model[offset : offset + length] = data
        elif what == "truncate":
            writer.truncate(offset)
            del model[offset:]
            model.extend(bytes(offset - len(model)))
        else:
            writer.flush()
    assert content_of(writer) == model
    writer.flush()
    writer.close()
    with FileDevice(path) as file:
        assert content_of(Qcow2Reader(file)) == model


def test_zeros_take_no_space(tmp_path: Path) -> None:
    path = write(tmp_path / "a.qcow2", (0, bytes(20 * MIB)), (30 * MIB, b"x"), size=1 << 40)
    assert path.stat().st_size < 30 * CLUSTER
    assert open_image(path).size == 1 << 40


@pytest.mark.judge("qemu-img")
def test_qemu_img_agrees(tmp_path: Path) -> None:
    noise = random.Random(1)
    pieces = [
        (noise.randrange(40 * MIB), noise.randbytes(noise.choice([1, 512, 70_000, 300_000])))
        for _ in range(80)
    ]
    image = write(tmp_path / "a.qcow2", *pieces, (3 << 30, b"far away"), size=(4 << 30) + 512)
    judges.run("qemu-img", "check", image)
    raw = tmp_path / "a.raw"
    judges.run("qemu-img", "convert", "-O", "raw", image, raw)
    ours = open_image(image)
    with FileDevice(raw) as theirs:
        assert theirs.size == ours.size
        for offset in (*range(0, 41 * MIB, MIB), (3 << 30) - 5):
            assert ours.read_at(offset, MIB) == theirs.read_at(offset, MIB)


@pytest.mark.judge("qemu-img")
def test_qemu_img_finds_no_leak_after_shrinking(tmp_path: Path) -> None:
    image = write(tmp_path / "a.qcow2", (0, b"a" * 4 * MIB), size=MIB + 100)
    judges.run("qemu-img", "check", image)
    assert content_of(open_image(image)) == b"a" * (MIB + 100)


@pytest.mark.judge("qemu-img")
@pytest.mark.parametrize(
    "options",
    [
        ["-c"],
        ["-o", "compat=0.10"],
        ["-c", "-o", "compat=0.10,cluster_size=4096"],
        ["-o", "cluster_size=2M"],
        ["-o", "cluster_size=512"],
        ["-o", "preallocation=metadata"],
        ["-o", "refcount_bits=1,lazy_refcounts=on"],
    ],
)
def test_qemu_imgs_images_are_read(options: list[str], tmp_path: Path) -> None:
    raw, image = tmp_path / "a.raw", tmp_path / "a.qcow2"
    noise = random.Random(2)
    raw.write_bytes(noise.randbytes(300_000) + bytes(500_000) + b"text " * 50_000 + bytes(7 * 512 - 496))
    judges.run("qemu-img", "convert", "-O", "qcow2", *options, raw, image)
    assert content_of(open_image(image))[: raw.stat().st_size] == raw.read_bytes()


@pytest.mark.judge("qemu-img")
def test_zstd_clusters(tmp_path: Path) -> None:
    raw, image = tmp_path / "a.raw", tmp_path / "a.qcow2"
    raw.write_bytes(b"text " * (MIB // 5) + bytes(1))
    judges.run("qemu-img", "convert", "-O", "qcow2", "-c", "-o", "compression_type=zstd", raw, image)
    if importlib.util.find_spec("zstandard") is None:
        with pytest.raises(UnsupportedError, match="zstandard"):
            content_of(open_image(image))
    else:
        assert content_of(open_image(image)) == raw.read_bytes()


@pytest.mark.judge("qemu-img")
def test_backing_files(tmp_path: Path) -> None:
    base, middle, top = tmp_path / "base.raw", tmp_path / "middle.qcow2", tmp_path / "top.qcow2"
    base.write_bytes(b"b" * MIB)
    judges.run("qemu-img", "create", "-f", "qcow2", "-F", "raw", "-b", "base.raw", middle, "2M")
    judges.run("qemu-img", "create", "-f", "qcow2", "-F", "qcow2", "-b", "middle.qcow2", top)
    device = open_image(top)
    assert content_of(device) == b"b" * MIB + bytes(MIB)
    device.close()
    base.unlink()
    with pytest.raises(HostError, match=r"base\.raw"):
        open_image(top)


def header(**changes: int) -> bytes:
    """A version 3 header of an empty disk of 1 MiB, with some fields changed."""
    fields: dict[str, int] = {
        "magic": 0x514649FB, "version": 3, "backing_at": 0, "backing_length": 0, "cluster_bits": 16,
        "size": MIB, "encryption": 0, "l1_entries": 1, "l1_offset": CLUSTER, "refcounts": 2 * CLUSTER,
        "refcount_clusters": 1, "snapshots": 0, "snapshots_at": 0, "incompatible": 0, "compatible": 0,
        "autoclear": 0, "refcount_order": 4, "length": 104,
    }  # fmt: skip
    fields |= changes
    return struct.pack(">IIQIIQIIQQIIQQQQII", *fields.values())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": 4}, "version 2 or 3"),
        ({"cluster_bits": 8}, "clusters"),
        ({"cluster_bits": 63}, "clusters"),
        ({"encryption": 1}, "encrypted"),
        ({"l1_entries": 0}, "level 1"),
        ({"l1_entries": 2**32 - 1}, "level 1"),
        ({"l1_offset": CLUSTER + 8}, "cluster's start"),
        ({"l1_offset": 1 << 50}, "outside"),
        ({"size": 1 << 62}, "level 1"),
        ({"incompatible": 2}, "corrupt"),
        ({"incompatible": 4}, "external data"),
        ({"incompatible": 16}, "extended"),
        ({"incompatible": 1 << 40}, "unknown"),
        ({"length": 96}, "long"),
        ({"backing_at": 200, "backing_length": 5000}, "backing"),
        ({"backing_at": 1 << 40, "backing_length": 5}, "backing"),
    ],
)
def test_headers_that_lie(changes: dict[str, int], said: str, tmp_path: Path) -> None:
    path = tmp_path / "a.qcow2"
    path.write_bytes(header(**changes).ljust(3 * CLUSTER, b"\0"))
    with pytest.raises((ImageError, UnsupportedError), match=said):
        open_image(path)


@pytest.mark.parametrize("entry", [1 << 55, CLUSTER + 512, (1 << 62) | 40 * CLUSTER, 1 << 62])
def test_tables_that_lie(entry: int, tmp_path: Path) -> None:
    path = tmp_path / "a.qcow2"
    tables = struct.pack(">Q", 2 * CLUSTER).ljust(CLUSTER, b"\0") + struct.pack(">Q", entry).ljust(
        CLUSTER, b"\0"
    )
    path.write_bytes(header().ljust(CLUSTER, b"\0") + tables)
    with pytest.raises(ImageError):
        open_image(path).read_at(0, 10)


def test_a_backing_file_that_is_the_file_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.qcow2"
    path.write_bytes(
        (header(backing_at=200, backing_length=7).ljust(200, b"\0") + b"a.qcow2").ljust(3 * CLUSTER, b"\0")
    )
    with pytest.raises(ImageError, match="loop"):
        open_image(path)


@given(data=st.binary(max_size=300))
def test_any_header_is_refused_or_read(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.qcow2"
    path.write_bytes(b"QFI\xfb\0\0\0\3" + data)
    with pytest.raises(UnikilnError):
        open_image(path)


def test_formats(tmp_path: Path) -> None:
    assert [format_of(f"x{suffix}") for suffix in (".raw", ".img", ".zfs", ".qcow2")] == [
        "raw",
        "raw",
        "raw",
        "qcow2",
    ]
    for name in ("x", "x.vmdk"):
        with pytest.raises(UsageError, match="--format"):
            format_of(name)
    with pytest.raises(UsageError, match="vmdk"):
        create_image(tmp_path / "x", "vmdk")


def test_raw_images_are_sparse(tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    path.touch()
    device = create_image(path, "raw")
    device.write_at(5 * MIB, b"x")
    device.truncate(1 << 30)
    device.close()
    assert path.stat().st_blocks * 512 < MIB
    assert open_image(path).read_at(5 * MIB, 2) == b"x\0"


def test_reading_only(tmp_path: Path) -> None:
    device = open_image(write(tmp_path / "a.qcow2", (0, b"x"), size=MIB))
    with pytest.raises(ImageError, match="reading only"):
        device.write_at(0, b"y")
    with pytest.raises(ImageError, match="outside"):
        device.read_at(MIB - 1, 2)
