"""What MACs are made over, on records made here; that OpenZFS makes the same is for the pools to show."""

from __future__ import annotations

import hashlib
import hmac
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unikiln.errors import AuthenticationError, CorruptError
from unikiln.zfs.codec.crypt import MasterKey
from unikiln.zfs.codec.crypt_auth import check_indirect, check_objset, dnode_parts, portable_pointers
from unikiln.zfs.format import blkptr
from unikiln.zfs.format.blkptr import BlockPointer, Dva
from unikiln.zfs.format.cryptokey import Suite
from unikiln.zfs.format.dmu import ObjectType
from unikiln.zfs.format.dnode import SPILL_BLKPTR, USED_BYTES, Dnode
from unikiln.zfs.format.objset import Objset

KEY = MasterKey(Suite.AES_256_GCM, 1, bytes(32), b"h" * 64)
MAC = struct.pack("<2Q", 3, 4)
DATA = BlockPointer(
    (Dva(0, 512, 4096),), 4096, 1024, 15, 7, ObjectType.PLAIN_FILE_CONTENTS, 0, 9, 1, (1, 2, 3, 4),
    encrypted=True, dedup=True, salt=b"s" * 8, iv=b"i" * 12,
)  # fmt: skip
INDIRECT = BlockPointer(
    (Dva(0, 512, 4096),), 131072, 1024, 15, 7, ObjectType.PLAIN_FILE_CONTENTS, 1, 9, 1, (1, 2, 3, 4),
    encrypted=True,
)  # fmt: skip
PROTECTED = 1 << 61
LITTLE = 1 << 63


def test_a_data_block_has_its_sizes_and_compression() -> None:
    properties = 7 | 1 << 16 | 15 << 32 | 19 << 48 | PROTECTED | LITTLE
    assert portable_pointers(blkptr.pack(DATA)) == struct.pack("<Q", properties) + MAC + bytes(8)


def test_an_indirect_block_has_neither_what_a_receiver_chooses() -> None:
    properties = 255 | 19 << 48 | 1 << 56 | PROTECTED
    assert portable_pointers(blkptr.pack(INDIRECT)) == struct.pack("<Q", properties) + MAC + bytes(8)


def test_a_hole_has_nothing_but_its_birth_is_no_matter() -> None:
    hole = BlockPointer((), 4096, 512, 0, 0, ObjectType.PLAIN_FILE_CONTENTS, 0, 77, 0)
    assert portable_pointers(blkptr.pack(hole)) == bytes(32)
    assert portable_pointers(blkptr.HOLE) == bytes(32)


def test_the_first_format_left_more_in_and_was_shorter() -> None:
    properties = 255 | 15 << 32 | 19 << 48 | 1 << 56 | PROTECTED | LITTLE
    assert portable_pointers(blkptr.pack(INDIRECT), 0) == struct.pack("<Q", properties) + MAC


@pytest.mark.parametrize("version", [0, 1])
def test_indirect_blocks(version: int) -> None:
    block = blkptr.pack(DATA) + blkptr.HOLE + blkptr.pack(DATA)
    mac = hashlib.sha512(portable_pointers(block, version)).digest()[:16]
    check_indirect(block, mac)
    for other in (block[::-1], block[128:] + block[:128], blkptr.pack(INDIRECT) + block[128:]):
        with pytest.raises(AuthenticationError):
            check_indirect(other, mac)


def dnode_block(*dnodes: Dnode) -> bytes:
    return b"".join(each.pack() for each in dnodes).ljust(4096, b"\0")


FILE = Dnode(
    ObjectType.PLAIN_FILE_CONTENTS, 512, bonus_type=ObjectType.SA, bonus=b"secret" * 20, used=5,
    flags=USED_BYTES, pointers=(blkptr.pack(DATA),),
)  # fmt: skip
SPILLED = Dnode(
    ObjectType.PLAIN_FILE_CONTENTS, 512, bonus_type=ObjectType.SA, bonus=b"secret" * 60,
    pointers=(blkptr.pack(DATA),), spill=blkptr.pack(DATA), slots=2,
)  # fmt: skip
OPEN = Dnode(ObjectType.MASTER_NODE, 512, bonus_type=ObjectType.ZNODE, bonus=b"open" * 9)


def test_dnodes_are_encrypted_in_their_bonus_buffers() -> None:
    block = dnode_block(FILE, OPEN, SPILLED)
    about, spans = dnode_parts(block)
    assert spans == [(192, 512), (1024 + 192, 2048 - 128)]
    assert b"secret" not in about
    assert b"open" * 9 in about
    portable = portable_pointers(blkptr.pack(DATA))
    core = FILE.pack()[:7] + bytes([0]) + FILE.pack()[8:24] + bytes(8) + FILE.pack()[32:64]
    assert about.startswith(core + portable + OPEN.pack()[:7])
    spilled = SPILLED.pack()[:7] + bytes([SPILL_BLKPTR]) + SPILLED.pack()[8:24] + bytes(40)
    assert spilled + portable * 2 in about
    assert len(about) == (64 + 32) + (64 + 32 + 320) + (64 + 64) + 4 * 512


def test_an_empty_bonus_is_not_encrypted() -> None:
    block = dnode_block(Dnode(ObjectType.PLAIN_FILE_CONTENTS, 512, bonus_type=ObjectType.SA))
    assert dnode_parts(block).encrypted == []


@pytest.mark.parametrize(("at", "value"), [(3, 4), (3, 255), (12, 8), (12, 255)])
def test_dnodes_that_reach_beyond_their_block(at: int, value: int) -> None:
    block = bytearray(dnode_block(FILE))
    block[at] = value
    with pytest.raises(CorruptError, match="dnode"):
        dnode_parts(bytes(block))


@given(st.binary(max_size=1500), st.sampled_from([512, 1024, 2048, 1536]))
def test_any_bytes_as_dnodes(data: bytes, size: int) -> None:
    block = data[:size].ljust(size, b"\0")
    try:
        about, spans = dnode_parts(block)
    except CorruptError:
        return
    assert all(0 < start <= end <= size for start, end in spans)
    assert len(about) <= size


def objset(flags: int, *, counted: bool) -> bytes:
    """An object set with the MACs that it should have."""
    used = Dnode(ObjectType.USERGROUP_USED, 512)
    empty = bytes(512)
    record = Objset(FILE, 2, flags, user_used=used, group_used=used)
    tail = used.pack() * 2 + used.pack() if counted else empty * 3
    block = (record.pack()[:1024] + tail).ljust(4096, b"\0")
    portable = struct.pack(">Q", 2) + bytes(8) + portable_dnode(FILE.pack())
    local = struct.pack("<Q", flags) + portable_dnode(used.pack()) * 3
    macs = [hmac.new(b"h" * 64, each, hashlib.sha512).digest()[:32] for each in (portable, local)]
    second = macs[1] if counted and flags & 1 else bytes(32)
    return block[:720] + macs[0] + second + block[784:]


def portable_dnode(raw: bytes) -> bytes:
    return raw[:7] + b"\0" + raw[8:24] + bytes(8) + raw[32:64] + portable_pointers(raw[64:192])


@pytest.mark.parametrize(("flags", "counted"), [(1, True), (3, True), (0, True), (1, False), (0, False)])
def test_object_sets(flags: int, counted: bool) -> None:
    check_objset(KEY, objset(flags, counted=counted))


@pytest.mark.parametrize(
    ("at", "words"),
    [(0, "objects"), (64 + 50, "objects"), (704, "objects"), (720, "objects"), (751, "objects"),
     (712, "users"), (752, "users"), (783, "users"), (1024, "users"), (1536 + 8, "users"),
     (2048 + 1, "users")],
)  # fmt: skip
def test_nothing_in_an_object_set_can_be_changed(at: int, words: str) -> None:
    block = bytearray(objset(1, counted=True))
    block[at] ^= 2
    with pytest.raises(AuthenticationError, match=words):
        check_objset(KEY, bytes(block))


@pytest.mark.parametrize("at", [24, 512, 600, 64, 800])
def test_what_may_change_without_a_key(at: int) -> None:
    """Space used, the log's header, addresses: what a claim and a raw receive write."""
    block = bytearray(objset(1, counted=True))
    block[at] ^= 2
    check_objset(KEY, bytes(block))


@given(st.binary(max_size=4096))
def test_any_bytes_as_an_object_set(data: bytes) -> None:
    with pytest.raises(CorruptError):
        check_objset(KEY, data)
