"""Opening pools: the choice of label and uberblock, features, mirrors, and values that lie."""

from __future__ import annotations

import contextlib
import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.zfs import corpus
from unikiln.base.device import MemoryDevice
from unikiln.errors import ChecksumError, CorruptError, PoolNotFoundError, UnikilnError, UnsupportedError
from unikiln.zfs import zio
from unikiln.zfs.arc import Arc
from unikiln.zfs.codec import checksum
from unikiln.zfs.features import check_readable
from unikiln.zfs.format import blkptr, label
from unikiln.zfs.format.blkptr import BlockPointer, Checksum, Compression, Dva
from unikiln.zfs.pool import open_pool
from unikiln.zfs.properties import word_for
from unikiln.zfs.vdev.labels import read_labels
from unikiln.zfs.vdev.leaf import Leaf
from unikiln.zfs.vdev.top import Parts, TopVdev


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return corpus.unpack("empty", tmp_path_factory.mktemp("pool")).read_bytes()


def test_what_the_pool_says_of_itself(image: bytes) -> None:
    with open_pool(MemoryDevice(image)) as pool:
        assert (pool.name, pool.version, pool.state, pool.state_name) == ("ref_empty", 5000, 1, "exported")
        assert pool.guid == 4993960260658802814
        assert pool.txg == 24
        assert pool.size == 48 << 20
        assert pool.features["com.delphix:spacemap_v2"] == 1
        assert pool.features["org.freebsd:zstd_compress"] == 0
        assert pool.config["name"] == "ref_empty"
        (info,) = pool.datasets()
        assert (info.name, info.type, info.object, info.creation) == (
            "ref_empty",
            "filesystem",
            54,
            1735689612,
        )
        # the slop of so small a pool is half of it
        assert info.available == (48 << 20) // 2 - info.used
        assert info.referenced == 98304


def test_the_newest_uberblock_wins_and_the_one_before_serves(image: bytes) -> None:
    device = MemoryDevice(image)
    newest = max(each.txg for each in read_labels(device)[0].uberblocks)
    for each in label.offsets(device.size):
        for slot in range(32):
            at = each + label.RING_OFFSET + slot * 4096
            if int.from_bytes(device.content[at + 16 : at + 24], "little") == newest:
                device.content[at + 30] ^= 1
    with open_pool(device) as pool:
        assert pool.txg < newest


def test_no_uberblock_is_no_pool(image: bytes) -> None:
    device = MemoryDevice(image)
    for each in label.offsets(device.size):
        start = each + label.RING_OFFSET
        device.content[start : start + label.RING_SIZE] = bytes(label.RING_SIZE)
    with pytest.raises(PoolNotFoundError, match="uberblock"):
        open_pool(device)


def test_features_are_refused_by_name() -> None:
    check_readable({"com.delphix:hole_birth": 3, "com.example:new": 0})
    with pytest.raises(UnsupportedError, match=r"com\.example:new"):
        check_readable({"com.example:new": 1})


def test_sizes_in_users_words() -> None:
    assert word_for("recordsize", 128 << 10) == "128K"
    assert word_for("recordsize", 512) == "512"
    assert word_for("quota", 0) == "none"
    assert word_for("compression", 15) == "lz4"
    assert word_for("atime", 0) == "off"
    assert word_for("compression", 99) == "99"


class Rig:
    """A vdev of one or more sides with blocks written by hand."""

    def __init__(self, sides: int = 1) -> None:
        self.devices = [MemoryDevice(bytes(8 << 20), f"side{n}") for n in range(sides)]
        leaves = {n + 1: Leaf(device, n + 1) for n, device in enumerate(self.devices)}
        children = [{"type": "disk", "guid": n + 1} for n in range(sides)]
        config = {"type": "mirror", "id": 0, "children": children} if sides > 1 else {**children[0], "id": 0}
        self.reader = zio.Reader({0: TopVdev(config, Parts(leaves))}, Arc(1 << 20))  # type: ignore[arg-type]

    def write(self, data: bytes, *offsets: int) -> BlockPointer:
        for device in self.devices:
            for offset in offsets:
                device.write_at(label.START + offset, data)
        dvas = tuple(Dva(0, offset, len(data)) for offset in offsets)
        words = checksum.checksum(Checksum.FLETCHER_4, data)
        return BlockPointer(
            dvas, len(data), len(data), Compression.OFF, Checksum.FLETCHER_4, 19, 0, 5, 1, words
        )


def test_the_next_copy_serves() -> None:
    rig = Rig()
    pointer = rig.write(b"a" * 512, 0, 4096)
    rig.devices[0].content[label.START] = 0
    assert rig.reader.read(pointer) == b"a" * 512


def test_the_other_side_serves() -> None:
    rig = Rig(sides=2)
    pointer = rig.write(b"b" * 512, 0)
    rig.devices[0].content[label.START] = 0
    assert rig.reader.read(pointer) == b"b" * 512


def test_a_device_that_ends_early_is_a_bad_copy() -> None:
    rig = Rig(sides=2)
    pointer = rig.write(b"b" * 512, 1 << 20)
    del rig.devices[0].content[label.START + 100 :]
    assert rig.reader.read(pointer) == b"b" * 512
    del rig.devices[1].content[label.START + 100 :]
    with pytest.raises(ChecksumError, match="outside the device"):
        zio.Reader(rig.reader.locator.vdevs, Arc()).read(pointer)


def test_neighbours_are_read_together_and_come_back_in_order() -> None:
    rig = Rig()
    pointers = [rig.write(bytes([n]) * 512, 512 * n) for n in range(40)]
    backwards = pointers[::-1]
    assert rig.reader.read_many(backwards) == [bytes([n]) * 512 for n in range(40)][::-1]
    assert rig.reader.arc.stats.misses == 40
    assert rig.reader.read_many(pointers)[7] == bytes([7]) * 512
    assert rig.reader.arc.stats.hits == 40


def test_a_bad_block_among_neighbours_is_read_from_its_other_copy() -> None:
    rig = Rig()
    pointers = [rig.write(bytes([n]) * 512, 512 * n, 65536 + 512 * n) for n in range(8)]
    rig.devices[0].content[label.START + 512 * 3] ^= 1
    assert rig.reader.read_many(pointers)[3] == bytes([3]) * 512


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"lsize": 32 << 20}, CorruptError),
        ({"psize": 1024}, CorruptError),
        ({"lsize": 1024}, CorruptError),
        ({"little_endian": False}, UnsupportedError),
        ({"encrypted": True}, CorruptError),  # half of its checksum is a MAC
        ({"checksum_type": Checksum.BLAKE3}, UnsupportedError),
        ({"checksum_type": 77}, UnsupportedError),
        ({"dvas": (Dva(9, 0, 512),)}, CorruptError),
        ({"dvas": (Dva(0, 1 << 60, 512),)}, CorruptError),
        ({"dvas": (Dva(0, 0, 512, gang=True),)}, CorruptError),
    ],
)
def test_pointers_that_lie(changes: dict[str, object], error: type[Exception]) -> None:
    rig = Rig()
    good = rig.write(b"c" * 512, 0)
    with pytest.raises(error):
        rig.reader.read(replace(good, **changes))  # type: ignore[arg-type]


def test_compression_that_lies() -> None:
    rig = Rig()
    good = rig.write(b"\xff" * 512, 0)
    with pytest.raises(CorruptError, match="lz4"):
        rig.reader.read(replace(good, compression=Compression.LZ4, lsize=4096))
    with pytest.raises(CorruptError, match="zstd"):
        rig.reader.read(replace(good, compression=Compression.ZSTD, lsize=4096))
    with pytest.raises(UnsupportedError, match="99"):
        rig.reader.read(replace(good, compression=99, lsize=4096))


def test_holes_and_embedded_blocks_need_no_device() -> None:
    rig = Rig()
    assert rig.reader.read(blkptr.unpack(blkptr.HOLE)) == bytes(512)
    embedded = BlockPointer((), 5, 5, Compression.OFF, Checksum.OFF, 19, 0, 1, 1, payload=b"hello")
    assert rig.reader.read(embedded) == b"hello"


def test_other_kinds_of_vdev_are_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match="striped-2"):
        TopVdev({"type": "striped", "id": 2}, Parts())


def test_redacted_blocks_are_refused() -> None:
    embedded = BlockPointer((), 512, 1, Compression.OFF, Checksum.OFF, 19, 0, 1, 1, payload=b"x")
    words = list(struct.unpack("<16Q", blkptr.pack(embedded)))
    words[6] |= 2 << 40
    redacted = blkptr.unpack(struct.pack("<16Q", *words))
    assert redacted.redacted
    with pytest.raises(UnsupportedError, match="redacted"):
        Rig().reader.read(redacted)
    words[6] |= 1 << 40
    with pytest.raises(CorruptError, match="type 3"):
        blkptr.unpack(struct.pack("<16Q", *words))


LEAF = {"type": "disk"}
KINDS: list[dict[str, object]] = [
    {"type": "raidz", "nparity": 2, "children": [{**LEAF, "guid": n} for n in range(1, 6)]},
    {
        "type": "raidz", "nparity": 1, "raidz_expand_txgs": [9],
        "children": [{**LEAF, "guid": n} for n in (1, 2, 3)],
    },
    {
        "type": "draid", "nparity": 1, "draid_ndata": 2, "draid_nspares": 1, "draid_ngroups": 1,
        "children": [{**LEAF, "guid": n} for n in (1, 2, 3, 4)],
    },
    {"type": "hole"},
]  # fmt: skip


@pytest.mark.parametrize("config", KINDS, ids=lambda config: str(config["type"]))
@given(
    offset=st.integers(0, 1 << 63) | st.integers(0, 1 << 23),
    size=st.integers(1, 64),
    gang=st.booleans(),
    birth=st.integers(0, 20),
    kind=st.integers(0, 20),
)
def test_any_address_reads_or_is_an_error_of_ours(
    config: dict[str, object], offset: int, size: int, gang: bool, birth: int, kind: int
) -> None:
    leaves = {n: Leaf(MemoryDevice(bytes(6 << 20), f"disk{n}"), n) for n in range(1, 6)}
    top = TopVdev({**config, "id": 0, "ashift": 12}, Parts(leaves))  # type: ignore[dict-item]
    reader = zio.Reader({0: top}, Arc(1 << 20))
    dva = Dva(0, offset // 512 * 512, 4096, gang)
    pointer = BlockPointer((dva,), 512 * size, 512 * size, Compression.OFF, kind, 19, 0, birth, 1)
    with contextlib.suppress(UnikilnError):
        assert len(reader.read(pointer)) == 512 * size
    with contextlib.suppress(UnikilnError):
        list(reader.locator.problems(pointer))
    reader.close()


@pytest.mark.parametrize("size", [512, 4096])
def test_gangs_with_headers_of_either_size(size: int) -> None:
    rig = Rig()
    rig.reader.locator.dynamic_gangs = True
    top = rig.reader.locator.vdevs[0]
    top.ashift = 12
    members = [rig.write(bytes([n]) * 512, 65536 + 512 * n) for n in range((size - 40) // 128)]
    data = b"".join(bytes([n]) * 512 for n in range(len(members)))
    dva = Dva(0, 8192, size, gang=True)
    words = checksum.checksum(Checksum.FLETCHER_4, data)
    pointer = BlockPointer(
        (dva,), len(data), len(data), Compression.OFF, Checksum.FLETCHER_4, 19, 0, 5, 1, words
    )
    body = b"".join(blkptr.pack(member) for member in members).ljust(size - 40, b"\0")
    body += struct.pack("<Q", label.MAGIC)
    seal = checksum.sha256(body + struct.pack("<4Q", 0, dva.offset, 5, 0))
    rig.devices[0].write_at(label.START + dva.offset, body + struct.pack("<4Q", *seal))
    assert rig.reader.read(pointer) == data
    assert list(rig.reader.locator.problems(pointer)) == []
    rig.devices[0].content[label.START + 65536 + 700] ^= 1
    assert [line.partition(":")[0] for line in rig.reader.locator.problems(pointer)] == ["gang member <0"]
    with pytest.raises(ChecksumError):
        zio.Reader(rig.reader.locator.vdevs, Arc()).locator.find(pointer)
