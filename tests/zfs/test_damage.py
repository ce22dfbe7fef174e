"""Pools with disks gone, and with disks that lie: right where redundancy allows, a named block where not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.zfs import corpus
from unikiln.base.device import BlockDevice, Buffer, FileDevice
from unikiln.errors import ChecksumError
from unikiln.zfs.format import label
from unikiln.zfs.format.blkptr import BlockPointer
from unikiln.zfs.format.dmu import ObjectType
from unikiln.zfs.pool import Pool, open_pool
from unikiln.zfs.verify import verify

REDUNDANT = ["mirror2", "raidz1-3", "raidz-expand", "draid1"]
_UNIT = 4096


class Lying:
    """A device on which a byte of every block is wrong, but not in its labels."""

    def __init__(self, below: BlockDevice) -> None:
        self.below = below
        self.name = f"liar {below.name}"

    @property
    def size(self) -> int:
        return self.below.size

    def read_at(self, offset: int, length: int) -> bytes:
        data = bytearray(self.below.read_at(offset, length))
        if label.START <= offset < self.size - label.END:
            for at in range(0, length, _UNIT):
                data[at] ^= 0xFF
        return bytes(data)

    def write_at(self, offset: int, data: Buffer) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture(scope="module", params=REDUNDANT)
def disks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Path]]:
    paths = corpus.unpack_all(request.param, tmp_path_factory.mktemp("pool"))
    yield paths
    for path in paths:
        path.unlink()


@contextmanager
def opened(disks: list[Path], *, gone: int = -1, lies: int = -1) -> Iterator[Pool]:
    with ExitStack() as stack:
        devices: list[BlockDevice] = []
        for number, path in enumerate(disks):
            device = stack.enter_context(FileDevice(path))
            if number != gone:
                devices.append(Lying(device) if number == lies else device)
        yield stack.enter_context(open_pool(devices[::-1]))


def differences(pool: Pool) -> list[str]:
    return list(corpus.differences(pool, corpus.manifest(pool.name.removeprefix("ref_"))))


def test_each_disk_may_be_gone(disks: list[Path]) -> None:
    for gone in range(len(disks)):
        with opened(disks, gone=gone) as pool:
            assert pool.missing == [f"/dev/d{gone}"]
            assert differences(pool) == []
            assert pool.damage == []


def test_each_disk_may_lie(disks: list[Path]) -> None:
    accused: set[str] = set()
    for liar, path in enumerate(disks):
        with opened(disks, lies=liar) as pool:
            assert differences(pool) == []
            here = {found.device for found in pool.damage}
            assert here <= {f"liar {path}"}
            accused |= here
            kind = pool.vdevs[0].type
    # of a mirror the second side is read only where the first is bad; so little data is in one group of a
    # dRAID, whose parity and spare space lie on the same disks throughout
    assert len(accused) == {"mirror": 1, "draid": 2}.get(kind, len(disks))


def test_verify_names_the_disk_that_lies(disks: list[Path]) -> None:
    with opened(disks, lies=1) as pool:
        findings = list(verify(pool))
    assert findings
    assert all(f"on liar {disks[1]}" in finding for finding in findings)


def test_too_many_gone_is_an_error_that_names_a_block(disks: list[Path]) -> None:
    with pytest.raises(ChecksumError, match="block <0:"), opened(disks[:1], lies=0) as pool:
        differences(pool)


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = corpus.unpack("allcksums", tmp_path_factory.mktemp("single"))
    yield path
    path.unlink()


def data_pointers(pool: Pool, dataset: str) -> Iterator[BlockPointer]:
    objset = pool.dsl.object_set(pool.dsl.find(dataset), dataset)
    for number, dn in objset.dnodes():
        if dn.type == ObjectType.PLAIN_FILE_CONTENTS:
            obj = objset.object(number)
            pointers = (obj.block_pointer(block) for block in obj.data_blocks())
            yield from (each for each in pointers if each is not None and each.dvas)


@pytest.mark.parametrize("name", ["fletcher2", "fletcher4", "sha256", "sha512", "skein", "edonr", "blake3"])
def test_every_checksum_sees_one_bit(single: Path, name: str) -> None:
    with FileDevice(single) as device, open_pool(device) as pool:
        datasets = [info.name for info in pool.datasets() if info.name.endswith(f"/{name}")]
        pointer = next(each for name in datasets for each in data_pointers(pool, name) if each.psize <= 65536)
        data = pool.reader.locator.find(pointer)
        assert pool.reader.locator.is_good(pointer, data)
        for at in (0, len(data) // 2, len(data) - 1):
            wrong = bytearray(data)
            wrong[at] ^= 0x10
            assert not pool.reader.locator.is_good(pointer, bytes(wrong))


def test_ditto_copies_of_metadata_serve(single: Path) -> None:
    with FileDevice(single) as device, open_pool(device) as pool:
        (first, second, *_) = pool.mos.pointer.dvas
        bad = {first.offset + label.START, second.offset + label.START}
        pointer = pool.mos.pointer

    class Bad(Lying):
        def read_at(self, offset: int, length: int) -> bytes:
            data = self.below.read_at(offset, length)
            return bytes(length) if offset in bad else data

    with FileDevice(single) as device, open_pool(Bad(device)) as pool:
        assert pool.datasets()
        assert [found.block for found in pool.damage] == [pointer.describe()]
        findings = list(verify(pool))
        assert len(findings) == 2
        assert all("fails its checksum" in finding for finding in findings)
