from __future__ import annotations

import contextlib
import struct
import uuid
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import judges
from unikiln.base.device import BlockDevice, MemoryDevice
from unikiln.errors import ImageError, UsageError
from unikiln.image import mbr
from unikiln.image.partitions import partitions

MIB = 1 << 20


def test_entry_two_byte_for_byte() -> None:
    sector = mbr.encode(512, 64 * MIB)
    assert len(sector) == 512
    assert sector[510:] == b"\x55\xaa"
    assert not any(sector[:0x1CE])
    assert not any(sector[0x1DE:510])
    # 131073 is the first sector behind: the last, 131072, is cylinder 8, head 40, sector 33.
    assert sector[0x1CE:0x1DE].hex() == "00000200832821080100000000000200"


@pytest.mark.parametrize(
    ("sector", "address"),
    [
        (0, (0, 0, 1)),
        (1, (0, 0, 2)),
        (63, (0, 1, 1)),
        (63 * 255, (1, 0, 1)),
        (63 * 255 * 300, (300, 0, 1)),
        (63 * 255 * 1024 - 1, (1023, 254, 63)),
        (63 * 255 * 1024, (1023, 254, 63)),
        (2**32 - 1, (1023, 254, 63)),
    ],
)
def test_cylinder_head_sector(sector: int, address: tuple[int, int, int]) -> None:
    head, low, high = mbr.chs(sector)
    assert ((low >> 6) << 8 | high, head, low & 63) == address


@given(st.integers(1, 2**31), st.integers(1, 2**31))
def test_what_is_encoded_is_decoded(first: int, count: int) -> None:
    (found,) = mbr.decode(mbr.encode(first * 512, count * 512))
    assert (found.number, found.start, found.size, found.type) == (2, first * 512, count * 512, "83")


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ImageError, match="2 TiB"):
        mbr.encode(512, 1 << 41)
    for size in (0, 1, 513):
        with pytest.raises(UsageError):
            mbr.encode(512, size)


@pytest.mark.judge("sfdisk")
def test_sfdisk_reads_it(tmp_path: Path) -> None:
    disk = tmp_path / "disk.raw"
    disk.write_bytes(mbr.encode(MIB, 63 * MIB) + bytes(64 * MIB - 512))
    line = judges.run("sfdisk", "-d", disk).stdout.splitlines()[-1]
    assert "start=        2048, size=      129024, type=83" in line
    assert "disk.raw2" in line


def disk(text: str | None, start: int = MIB) -> MemoryDevice:
    device = MemoryDevice(bytes(2 * MIB))
    mbr.write_disk(device, start, MIB, text)
    return device


def test_command_line() -> None:
    device = disk("--rootfs=zfs /hello é")
    assert device.read_at(512, 12) == b"--rootfs=zfs"
    assert mbr.read_cmdline(device) == "--rootfs=zfs /hello é"
    assert mbr.pool_start("x") == MIB
    assert mbr.pool_start(None) == 512


@pytest.mark.parametrize(
    "device", [disk(None), disk(None, 512), disk(""), MemoryDevice(b""), MemoryDevice(bytes(4096))]
)
def test_no_command_line(device: BlockDevice) -> None:
    assert mbr.read_cmdline(device) is None


def test_bytes_that_are_no_command_line() -> None:
    for content in (b"\xff\xfe\0", b"\x1b[31m\0", b"x" * 40000):
        device = disk("y")
        device.write_at(512, content)
        assert mbr.read_cmdline(device) is None


def test_command_lines_that_cannot_be() -> None:
    assert len(mbr.encode_cmdline("x" * (63 * 512 - 1))) == 63 * 512
    for text in ("x" * 63 * 512, "a\0b"):
        with pytest.raises(UsageError):
            mbr.encode_cmdline(text)


def gpt_disk(*ranges: tuple[int, int]) -> MemoryDevice:
    """A disk of 2048 sectors with both copies of a GPT."""
    kind = uuid.UUID("6a898cc3-1dd2-11b2-99a6-080020736631").bytes_le
    entry = struct.Struct("<16s16sQQQ72s")
    table = b"".join(entry.pack(kind, bytes(16), first, last, 0, b"") for first, last in ranges).ljust(
        128 * 128, b"\0"
    )
    device = MemoryDevice(bytes(MIB))
    protective = bytearray(mbr.encode(512, MIB - 512))
    protective[0x1CE + 4] = 0xEE
    device.write_at(0, protective)
    for here, there, at in ((1, 2047, 2), (2047, 1, 2015)):
        fields = [
            b"EFI PART",
            0x10000,
            92,
            0,
            0,
            here,
            there,
            34,
            2014,
            bytes(16),
            at,
            128,
            128,
            zlib.crc32(table),
        ]
        header = struct.Struct("<8sIIIIQQQQ16sQIII")
        fields[3] = zlib.crc32(header.pack(*fields))
        device.write_at(here * 512, header.pack(*fields))
        device.write_at(at * 512, table)
    return device


def test_gpt_and_its_backup() -> None:
    device = gpt_disk((34, 99), (100, 199))
    expected = [(1, 34 * 512, 66 * 512), (2, 100 * 512, 100 * 512)]
    assert [(each.number, each.start, each.size) for each in partitions(device)] == expected
    device.write_at(512, bytes(512))
    assert [(each.number, each.start, each.size) for each in partitions(device)] == expected
    device.write_at(2015 * 512, b"damage")
    with pytest.raises(ImageError, match="no GPT header"):
        partitions(device)


@given(st.binary(min_size=512, max_size=2048))
def test_any_bytes_are_read_without_harm(content: bytes) -> None:
    device = MemoryDevice(content[:510] + b"\x55\xaa" + content[512:])
    with contextlib.suppress(ImageError):
        partitions(device)
