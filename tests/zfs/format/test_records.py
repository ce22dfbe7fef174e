"""Dnodes, object sets, uberblocks, labels and the records of the DSL."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unikiln.errors import CorruptError
from unikiln.zfs.format import dnode, label, objset, uberblock
from unikiln.zfs.format.blkptr import HOLE
from unikiln.zfs.format.dmu import ObjectType, is_metadata, type_name
from unikiln.zfs.format.dnode import Dnode
from unikiln.zfs.format.dsl import DslDataset, DslDir
from unikiln.zfs.format.objset import Objset, ObjsetType
from unikiln.zfs.format.uberblock import Uberblock
from unikiln.zfs.format.words import first_word

u64 = st.integers(0, (1 << 64) - 1)
pointer = st.binary(min_size=128, max_size=128)


@given(
    st.integers(1, 3),
    st.binary(max_size=64),
    st.none() | pointer,
    st.integers(1, 7),
    st.integers(1, 4),
    u64,
)
def test_dnode_round_trip(
    count: int, bonus: bytes, spill: bytes | None, levels: int, slots: int, used: int
) -> None:
    if count == 3 and slots == 1:
        bonus, spill = bonus[:60], None
    dn = Dnode(
        19, 512, levels=levels, bonus_type=44, bonus=bonus, used=used, max_block=9,
        pointers=(bytes(range(128)),) * count, spill=spill, slots=slots,
    )  # fmt: skip
    try:
        raw = dn.pack()
    except CorruptError:
        assert slots == 1
        return
    assert len(raw) == 512 * slots
    found = dnode.unpack(raw)
    assert (found.flags & dnode.SPILL_BLKPTR != 0) == (spill is not None)
    found.flags &= ~dnode.SPILL_BLKPTR
    assert found == dn


def test_old_dnodes_count_sectors() -> None:
    raw = bytearray(Dnode(19, 512, used=7).pack())
    raw[7] = 0
    assert dnode.unpack(bytes(raw)).used == 7 << 9


@given(st.binary(min_size=512, max_size=512))
def test_any_dnode_unpacks_or_is_corrupt(raw: bytes) -> None:
    with contextlib.suppress(CorruptError):
        found = dnode.unpack(raw)
        assert found.type == 0 or 1 <= len(found.pointers) <= 3


@pytest.mark.parametrize("counted", [False, True])
def test_objset_round_trip(counted: bool) -> None:
    users = Dnode(ObjectType.USERGROUP_USED, 512) if counted else None
    head = Objset(Dnode(10, 16384), ObjsetType.ZFS, 1, user_used=users, group_used=users)
    raw = head.pack()
    assert len(raw) == (2048 if counted else 1024)
    assert objset.unpack(raw) == head
    assert len(head.accounting) == (2 if counted else 0)


def test_objsets_that_are_not() -> None:
    with pytest.raises(CorruptError, match="100 bytes"):
        objset.unpack(bytes(100))
    with pytest.raises(CorruptError, match="type"):
        objset.unpack(b"\xff" * 1024)


@given(u64, u64, u64, u64)
def test_uberblock_round_trip(txg: int, guid_sum: int, timestamp: int, software: int) -> None:
    block = Uberblock(5000, txg, guid_sum, timestamp, HOLE, software)
    assert uberblock.unpack(block.pack()) == block
    assert uberblock.unpack(bytes(1024)) is None


@given(st.binary(max_size=500), st.integers(0, 1 << 40), st.integers(0, 1023))
def test_a_seal_holds_only_where_it_was_made(data: bytes, offset: int, at: int) -> None:
    block = label.seal(data, 1024, offset)
    assert len(block) == 1024
    assert label.is_sealed(block, offset)
    assert not label.is_sealed(block, offset + 512)
    broken = bytearray(block)
    broken[at] ^= 1
    assert not label.is_sealed(bytes(broken), offset)


def test_a_seal_needs_room() -> None:
    with pytest.raises(CorruptError):
        label.seal(bytes(1000), 1024, 0)


def test_labels_lie_at_both_ends() -> None:
    assert label.offsets((64 << 20) + 1000) == (0, 256 << 10, 0x3F80000, 0x3FC0000)
    assert [label.uberblock_size(ashift) for ashift in (9, 12, 13, 16)] == [1024, 4096, 8192, 8192]


@given(st.lists(u64, min_size=16, max_size=16), pointer, st.lists(u64, min_size=3, max_size=3))
def test_dsl_dataset_round_trip(head: list[int], bp: bytes, tail: list[int]) -> None:
    raw = struct.pack("<16Q", *head) + bp + struct.pack("<3Q", *tail) + bytes(40)
    assert len(raw) == DslDataset.SIZE
    phys = DslDataset.unpack(raw)
    assert (phys.dir_obj, phys.flags, phys.bp, phys.userrefs_obj) == (head[0], head[15], bp, tail[2])
    assert phys.pack() == raw


def test_short_records() -> None:
    with pytest.raises(CorruptError):
        DslDataset.unpack(bytes(200))
    with pytest.raises(CorruptError):
        DslDir.unpack(bytes(9))
    assert DslDir.unpack(bytes(8)).used_bytes == 0
    assert first_word(b"\1\0\0\0\0\0\0\0more") == 1
    assert first_word(b"\1") == 0


def test_types() -> None:
    assert type_name(ObjectType.DNODE) == "DNODE"
    assert type_name(0xC4) == "type 0xc4"
    assert is_metadata(0xC4)
    assert not is_metadata(0x84)
    assert not is_metadata(ObjectType.PLAIN_FILE_CONTENTS)
