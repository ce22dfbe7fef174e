from __future__ import annotations

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
