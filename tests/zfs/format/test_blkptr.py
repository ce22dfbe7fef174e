from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unikiln.errors import CorruptError
from unikiln.zfs.format import blkptr
from unikiln.zfs.format.blkptr import BlockPointer, Dva

u64 = st.integers(0, (1 << 64) - 1)
dvas = st.builds(
    Dva,
    st.integers(0, 99),
    st.integers(0, 1 << 40).map(lambda n: n << 9),
    st.integers(1, 1 << 15).map(lambda n: n << 9),
    st.booleans(),
)
sizes = st.integers(1, 1 << 15).map(lambda n: n << 9)
plain = st.builds(
    BlockPointer,
    dvas=st.lists(dvas, min_size=1, max_size=3).map(tuple),
    lsize=sizes,
    psize=sizes,
    compression=st.integers(2, 16),
    checksum_type=st.integers(2, 14),
    type=st.integers(1, 255),
    level=st.integers(0, 6),
    birth=u64,
    fill=u64,
    checksum=st.tuples(u64, u64, u64, u64),
    physical_birth=u64,
    dedup=st.booleans(),
)


@given(plain)
def test_round_trip(pointer: BlockPointer) -> None:
    raw = blkptr.pack(pointer)
    assert len(raw) == blkptr.SIZE
    assert blkptr.unpack(b"pad" + raw, 3) == pointer


@given(st.binary(min_size=1, max_size=112), st.integers(1, 1 << 17), st.integers(0, 1 << 60))
def test_embedded_round_trip(payload: bytes, lsize: int, birth: int) -> None:
    pointer = BlockPointer(
        (), lsize, len(payload), 15, blkptr.Checksum.OFF, 19, 0, birth, fill=1, payload=payload
    )
    found = blkptr.unpack(blkptr.pack(pointer))
    assert found == pointer
    assert found.is_embedded
    assert not found.is_hole


def test_zeros_are_a_hole() -> None:
    hole = blkptr.unpack(blkptr.HOLE)
    assert hole.is_hole
    assert hole.describe() == "<hole> L0 NONE"


def test_the_words_lie_where_openzfs_puts_them() -> None:
    pointer = BlockPointer((Dva(0, 0x59000, 0x1000),), 4096, 4096, 2, 7, 11, 0, 24, 45, (1, 2, 3, 4))
    raw = blkptr.pack(pointer)
    assert int.from_bytes(raw[0:8], "little") == 8
    assert int.from_bytes(raw[8:16], "little") == 0x59000 >> 9
    assert int.from_bytes(raw[48:56], "little") == 0x800B070200070007
    assert raw[80] == 24
    assert raw[88] == 45
    assert pointer.asize == 0x1000
    assert pointer.describe() == "<0:59000:1000> L0 OBJSET"


def test_an_embedded_size_that_does_not_fit_is_corrupt() -> None:
    raw = bytearray(blkptr.SIZE)
    raw[48:56] = (1 << 39 | 127 << 25).to_bytes(8, "little")
    with pytest.raises(CorruptError):
        blkptr.unpack(bytes(raw))


@given(st.binary(min_size=128, max_size=128))
def test_anything_unpacks_or_is_corrupt(raw: bytes) -> None:
    try:
        blkptr.unpack(raw).describe()
    except CorruptError:
        assert raw[52] & 0x80


@given(
    st.builds(
        BlockPointer,
        dvas=st.lists(dvas, min_size=1, max_size=2).map(tuple),
        lsize=sizes,
        psize=sizes,
        compression=st.integers(2, 16),
        checksum_type=st.integers(2, 14),
        type=st.sampled_from([9, 10, 19, 20, 44, 0xE4]),
        level=st.just(0),
        birth=u64,
        fill=st.integers(0, (1 << 32) - 1),
        checksum=st.tuples(u64, u64, u64, u64),
        encrypted=st.just(True),
        little_endian=st.booleans(),
        salt=st.binary(min_size=8, max_size=8),
        iv=st.binary(min_size=12, max_size=12),
    )
)
def test_salt_and_iv_are_in_place_of_the_third_copy(pointer: BlockPointer) -> None:
    assert pointer.is_ciphertext
    assert blkptr.unpack(blkptr.pack(pointer)) == pointer


def test_salt_and_iv_as_zdb_prints_them() -> None:
    """``zdb -iiiii`` shows them as words: salt=bf3ce64d72bc1512 iv=ef35a9c28b08ccb5:a3ed1eba."""
    words = [8 | 0 << 32, 0x71B, 0, 0, 0xBF3CE64D72BC1512, 0xEF35A9C28B08CCB5]
    words += [
        7 | 7 << 16 | 2 << 32 | 9 << 40 | 9 << 48 | 1 << 61 | 1 << 63,
        0,
        0,
        0,
        24,
        0xA3ED1EBA << 32 | 1,
    ]
    found = blkptr.unpack(struct.pack("<16Q", *words, 1, 2, 3, 4))
    assert found.salt.hex() == "1215bc724de63cbf"
    assert found.iv.hex() == "b5cc088bc2a935efba1eeda3"
    assert (found.fill, len(found.dvas), found.mac) == (1, 1, struct.pack("<2Q", 3, 4))


@pytest.mark.parametrize(("kind", "level"), [(11, 0), (21, 0), (19, 1), (10, 2)])
def test_what_is_only_authenticated_has_three_copies(kind: int, level: int) -> None:
    three = tuple(Dva(0, n << 9, 512) for n in (1, 2, 3))
    pointer = BlockPointer(three, 512, 512, 2, 7, kind, level, 5, 1 << 40, encrypted=True)
    assert not pointer.is_ciphertext
    assert blkptr.unpack(blkptr.pack(pointer)) == pointer
