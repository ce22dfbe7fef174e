"""Putting a pool together: any order, folders, labels that disagree, older uberblocks, checkpoints."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.zfs import corpus
from unikiln.base.device import BlockDevice, MemoryDevice
from unikiln.errors import CorruptError, HostError, PoolNotFoundError
from unikiln.image import pools
from unikiln.zfs.assembly import Member
from unikiln.zfs.format import label, nvlist
from unikiln.zfs.format import uberblock as format_uberblock
from unikiln.zfs.format.blkptr import HOLE
from unikiln.zfs.pool import open_pool
from unikiln.zfs.vdev.labels import read_labels


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Path]]:
    paths = corpus.unpack_all("mirror2", tmp_path_factory.mktemp("mirror"))
    yield paths
    for path in paths:
        path.unlink()


@pytest.fixture(scope="module")
def checkpointed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = corpus.unpack("checkpoint", tmp_path_factory.mktemp("checkpoint"))
    yield path
    path.unlink()


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return corpus.unpack("empty", tmp_path_factory.mktemp("empty")).read_bytes()


def test_any_order_some_missing_or_a_folder(mirror: list[Path]) -> None:
    for sources in (mirror, mirror[::-1], mirror[:1], mirror[1], str(mirror[0]), mirror[0].parent):
        with open_pool(sources) as pool:
            assert pool.name == "ref_mirror2"
            assert len(pool.missing) == 2 - len(pool.members)
            assert pool.datasets()


def test_files_are_closed_with_the_pool(mirror: list[Path]) -> None:
    with open_pool(mirror) as pool:
        held = pool.opened
    assert [device.fileno() for device in held] == [-1, -1]  # type: ignore[attr-defined]


def test_an_empty_folder_and_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="no files"):
        open_pool(tmp_path)
    with pytest.raises(HostError, match="nothing"):
        open_pool([tmp_path / "nothing"])
    (tmp_path / "text").write_text("no pool")
    with pytest.raises(PoolNotFoundError, match="no ZFS label"):
        open_pool(tmp_path)


def test_files_that_are_no_devices_lie_in_the_folder_too(mirror: list[Path], tmp_path: Path) -> None:
    (tmp_path / "README").write_text("disks of a pool")
    (tmp_path / "a.img").hardlink_to(mirror[0])
    with open_pool(tmp_path) as pool:
        assert pool.missing == ["/dev/d1"]


def test_of_several_pools_one_is_asked_for(mirror: list[Path], empty: bytes) -> None:
    other = MemoryDevice(empty, "other")
    with pytest.raises(PoolNotFoundError, match=r"several pools: ref_empty .*, ref_mirror2"):
        open_pool([*mirror, other])
    for which in ("ref_empty", 4993960260658802814):
        with open_pool([*mirror, other], pool=which) as pool:
            assert pool.name == "ref_empty"
    with pytest.raises(PoolNotFoundError, match="of pool tank"):
        open_pool(other, pool="tank")


def test_partitions_of_images(tmp_path: Path, empty: bytes) -> None:
    start = 1 << 20
    disk = bytearray(start + len(empty))
    disk[start:] = empty
    entry = struct.pack("<B3xB3xII", 0, 0xBF, start >> 9, len(empty) >> 9)
    disk[446:462] = entry
    disk[510:512] = b"\x55\xaa"
    image = tmp_path / "disk.img"
    image.write_bytes(disk)
    with pytest.raises(PoolNotFoundError):
        open_pool(image)
    with pools.open_pool(image) as pool:
        assert pool.name == "ref_empty"


def test_an_older_txg(checkpointed: Path) -> None:
    with open_pool(checkpointed) as pool:
        txgs = {found.txg for found in pool.members[0].uberblocks()}
        newest = pool.txg
    assert newest == max(txgs)
    with pytest.raises(PoolNotFoundError, match="txg 1000000") as caught:
        open_pool(checkpointed, txg=1_000_000)
    assert str(newest) in (caught.value.hint or "")
    before = max(txgs - {newest})
    with open_pool(checkpointed, txg=before) as pool:
        assert pool.txg == before
        assert pool.datasets()


def test_the_state_at_the_checkpoint(checkpointed: Path, empty: bytes) -> None:
    with open_pool(checkpointed) as pool:
        now = pool.checkpoint.txg
        assert list(corpus.differences(pool, corpus.manifest("checkpoint"))) == []
    with open_pool(checkpointed, checkpoint=True) as pool:
        assert pool.txg == now
        assert list(corpus.differences(pool, corpus.manifest("checkpoint", "checkpoint"))) == []
    with pytest.raises(PoolNotFoundError, match="no checkpoint"):
        open_pool(MemoryDevice(empty), checkpoint=True)


def break_root(device: MemoryDevice) -> int:
    """Overwrite all copies of the newest meta object set's root; its txg."""
    with open_pool(device) as pool:
        for dva in pool.mos.pointer.dvas:
            device.write_at(label.START + dva.offset, bytes(512))
        return pool.txg


def test_rewind_goes_to_the_newest_that_is_whole(empty: bytes) -> None:
    device = MemoryDevice(empty)
    broken = break_root(device)
    with pytest.raises(CorruptError, match="OBJSET"):
        open_pool(device)
    with open_pool(device, rewind=True) as pool:
        assert pool.txg < broken
        assert pool.datasets()[0].name == "ref_empty"


def test_rewind_of_what_is_whole_stays(empty: bytes) -> None:
    with open_pool(MemoryDevice(empty), rewind=True) as pool:
        assert pool.txg == 24


def test_one_label_suffices_and_the_newest_is_believed(empty: bytes) -> None:
    device = MemoryDevice(empty)
    spots = label.offsets(device.size)
    for offset in spots[:3]:
        device.write_at(offset + label.NVLIST_OFFSET, bytes(1024))
    with open_pool(device) as pool:
        assert pool.name == "ref_empty"
    config = dict(Member(device).config)
    stale = label.seal(
        nvlist.encode({**config, "name": "stale", "txg": 1}),
        label.NVLIST_SIZE,
        spots[0] + label.NVLIST_OFFSET,
    )
    device.write_at(spots[0] + label.NVLIST_OFFSET, stale)
    with open_pool(device) as pool:
        assert pool.name == "ref_empty"
        assert [each.config is None for each in pool.members[0].labels] == [False, True, True, False]


def test_a_device_that_was_detached_is_left_out(mirror: list[Path], empty: bytes) -> None:
    device = MemoryDevice(empty, "detached")
    config = {**Member(device).config, "txg": 0, "pool_guid": 77}
    for offset in label.offsets(device.size):
        at = offset + label.NVLIST_OFFSET
        device.write_at(at, label.seal(nvlist.encode(config), label.NVLIST_SIZE, at))
    with open_pool([device, *mirror]) as pool:
        assert pool.name == "ref_mirror2"


def swapped(block: bytes) -> bytes:
    return np.frombuffer(block, dtype=">u8").astype("<u8").tobytes()


def test_labels_and_uberblocks_of_the_other_byte_order(empty: bytes) -> None:
    device = MemoryDevice(empty)
    before = [each.uberblocks for each in read_labels(device)]
    for offset in label.offsets(device.size):
        start, size = offset + label.RING_OFFSET, 4096
        for at in range(start, start + label.RING_SIZE, size):
            device.write_at(at, reseal(swapped(device.read_at(at, size)), at))
        at = offset + label.NVLIST_OFFSET
        device.write_at(at, reseal(device.read_at(at, label.NVLIST_SIZE), at))
    assert [each.uberblocks for each in read_labels(device)] == before
    assert Member(device).guid == Member(MemoryDevice(empty)).guid


def reseal(block: bytes, at: int) -> bytes:
    """``block`` as a big-endian machine seals it."""
    body = block[:-40] + struct.pack(">Q", label.MAGIC)
    return body + label._checksum(body, at, ">")


def test_the_fields_of_an_uberblock() -> None:
    words = struct.pack("<6Q", 5000, format_uberblock.MMP_MAGIC, 7, 9 << 32 | 2, 33, 1 << 55 | 4)
    raw = struct.pack("<5Q", format_uberblock.MAGIC, 5000, 12, 1, 2) + HOLE + words
    found = format_uberblock.unpack(raw)
    assert found is not None
    assert (found.has_mmp, found.mmp_sequence, found.mmp_delay, found.checkpoint_txg) == (True, 9, 7, 33)
    assert found.reflow == (4 << 9, True)
    assert found.age == (12, 2, 9)
    assert format_uberblock.unpack(swapped(raw)) == found
    assert format_uberblock.unpack(raw[:100]) is None


def test_a_device_given_stays_the_callers(empty: bytes) -> None:
    closed: list[str] = []

    class Watched(MemoryDevice):
        def close(self) -> None:
            closed.append(self.name)

    device: BlockDevice = Watched(empty)
    with open_pool(device):
        pass
    assert closed == []
