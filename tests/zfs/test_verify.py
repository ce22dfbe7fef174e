"""Damage that was done on purpose, and the line that verify has for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.zfs import corpus
from unikiln.base.device import FileDevice, MemoryDevice
from unikiln.errors import ChecksumError, CorruptError, PoolNotFoundError, UnikilnError
from unikiln.zfs import verify as verify_module
from unikiln.zfs.filesystem import Inode
from unikiln.zfs.format import label
from unikiln.zfs.format.blkptr import BlockPointer
from unikiln.zfs.format.dmu import ObjectType
from unikiln.zfs.pool import Pool, has_label, open_pool
from unikiln.zfs.traverse import Walk
from unikiln.zfs.verify import verify
from unikiln.zfs.verify.extents import Extents


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return corpus.unpack("empty", tmp_path_factory.mktemp("pool")).read_bytes()


@pytest.fixture
def device(pristine: bytes) -> MemoryDevice:
    return MemoryDevice(pristine, "copy")


def blocks(pool: Pool) -> list[BlockPointer]:
    return list(Walk(pool, pytest.fail).everything())


def flip(device: MemoryDevice, offset: int) -> None:
    device.content[offset] ^= 0x40


def damage(device: MemoryDevice, pointer: BlockPointer, copies: int) -> None:
    for dva in pointer.dvas[:copies]:
        flip(device, label.START + dva.offset + 7)


@pytest.fixture(scope="module")
def file_pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield corpus.unpack("gang", tmp_path_factory.mktemp("pool"))


def test_one_bad_copy_of_three_is_read_around_and_found(device: MemoryDevice) -> None:
    with open_pool(device) as pool:
        pointer = next(each for each in blocks(pool) if len(each.dvas) == 3)
    damage(device, pointer, 1)
    with open_pool(device) as pool:
        assert pool.datasets()
        (finding,) = verify(pool)
    assert str(pointer.dvas[0]) in finding
    assert finding.endswith("fails its checksum")
    assert "\n" not in finding


def test_no_good_copy_is_a_checksum_error_that_names_the_block(device: MemoryDevice) -> None:
    with open_pool(device) as pool:
        info = pool.datasets()[0]
        objset = pool.dsl.object_set(info.object, info.name)
        pointer = objset.pointer
    damage(device, pointer, 3)
    with open_pool(device) as pool, pytest.raises(ChecksumError, match=str(pointer.dvas[0])):
        pool.filesystem()
        pool.datasets()
    with open_pool(device) as pool:
        assert any(str(pointer.dvas[0]) in finding for finding in verify(pool))


def small_file(pool: Pool) -> tuple[Inode, BlockPointer]:
    """A file of one block that is neither a gang nor in its pointer."""
    fs = pool.filesystem()
    for number, dn in fs.objset.dnodes():
        if dn.type == ObjectType.PLAIN_FILE_CONTENTS and 4000 < dn.block_size < 20_000:
            inode = fs.inode(number)
            pointer = inode.dmu.block_pointer(0)
            if pointer is not None and pointer.dvas:
                return inode, pointer
    raise AssertionError("the pool has no such file")


def test_a_flipped_byte_of_file_data(file_pool: Path) -> None:
    with FileDevice(file_pool) as device, open_pool(device) as pool:
        inode, pointer = small_file(pool)
        size = inode.attributes.size
        content = bytearray(device.read_at(0, device.size))
    copy = MemoryDevice(content, "copy")
    damage(copy, pointer, 1)
    with open_pool(copy) as pool:
        broken = pool.filesystem().inode(inode.object)
        assert broken.attributes.size == size
        with pytest.raises(ChecksumError, match="no copy"):
            broken.read(0, size)
        findings = list(verify(pool))
    assert len(findings) == 1
    assert str(pointer.dvas[0]) in findings[0]


@pytest.mark.parametrize("index", range(4))
def test_a_damaged_label_is_found_and_the_others_serve(device: MemoryDevice, index: int) -> None:
    flip(device, label.offsets(device.size)[index] + label.NVLIST_OFFSET + 100)
    assert has_label(device)
    with open_pool(device) as pool:
        assert list(verify(pool)) == [f"label {index} of copy: its configuration fails its checksum"]


def test_a_damaged_uberblock_is_found(device: MemoryDevice, pristine: bytes) -> None:
    start = label.offsets(device.size)[2] + label.RING_OFFSET
    slot = next(
        slot
        for slot in range(32)
        if pristine[start + slot * 4096 : start + slot * 4096 + 4] == b"\x0c\xb1\xba\0"
    )
    flip(device, start + slot * 4096 + 60)
    with open_pool(device) as pool:
        findings = list(verify(pool))
    assert f"label 2 of copy: the uberblock in slot {slot} fails its checksum" in findings


def test_without_any_label_there_is_no_pool(device: MemoryDevice) -> None:
    for offset in label.offsets(device.size):
        flip(device, offset + label.NVLIST_OFFSET + 100)
    assert not has_label(device)
    with pytest.raises(PoolNotFoundError, match="no ZFS label"):
        open_pool(device)
    assert not has_label(MemoryDevice(b"short"))


def test_a_block_that_nothing_refers_to_is_a_leak(
    device: MemoryDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_pool(device) as pool:
        victim = blocks(pool)[-1]
        monkeypatch.setattr(verify_module, "Extents", forgetting(victim))
        findings = list(verify(pool))
    assert len(findings) == len(victim.dvas)
    assert all(finding.endswith("leaked") for finding in findings)


def forgetting(victim: BlockPointer) -> type[Extents]:
    class Forgetful(Extents):
        def add(self, pointer: BlockPointer) -> bool:
            return pointer == victim or super().add(pointer)

    return Forgetful


def test_a_block_used_twice_is_found(device: MemoryDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    class Twice(Extents):
        def add(self, pointer: BlockPointer) -> bool:
            super().add(pointer)
            return super().add(pointer)

    with open_pool(device) as pool:
        monkeypatch.setattr(verify_module, "Extents", Twice)
        assert any("used by more than one block" in finding for finding in verify(pool))


@pytest.mark.parametrize("part", [0.02, 0.1, 0.5, 0.9])
def test_a_truncated_image_is_an_error_of_ours_or_a_finding(pristine: bytes, part: float) -> None:
    short = MemoryDevice(pristine[: int(len(pristine) * part)], "short")
    try:
        with open_pool(short) as pool:
            assert list(verify(pool))
    except UnikilnError as error:
        assert isinstance(error, CorruptError | PoolNotFoundError)
