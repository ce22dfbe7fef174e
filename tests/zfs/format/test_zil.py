"""Records of the intent log: names where the C structs have them, and nothing read beyond a record's end."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unikiln.errors import CorruptError
from unikiln.zfs.format.zil import Create, Record, Tx, decode_create, object_of, records_of

WORDS = (5, 7 | 3 << 56, 0o100644, 1, 2, 9, 10, 11, 0)


def pack(kind: int, tail: bytes, words: tuple[int, ...] = WORDS, sequence: int = 1) -> bytes:
    body = struct.pack(f"<{len(words)}Q", *words) + tail
    return struct.pack("<4Q", kind, 32 + len(body), 8, sequence) + body


def one(kind: int, tail: bytes, words: tuple[int, ...] = WORDS) -> Record:
    (found,) = records_of(pack(kind, tail, words))
    return found


def test_a_plain_one() -> None:
    made = decode_create(one(Tx.CREATE, b"name\0"))
    assert made == Create(5, 7, 0o100644, 1, 2, 9, 10_000_000_011, 0, b"name", b"", None)


def test_names_come_after_what_is_optional() -> None:
    attributes = struct.pack("<I", 3) + bytes(12 + 56)
    assert decode_create(one(Tx.CREATE_ATTR, attributes + b"name\0")).name == b"name"
    foreign = (*WORDS[:3], 1 << 32 | 5, 2 << 32 | 5, *WORDS[5:])
    assert decode_create(one(Tx.MKDIR, b"S-1-1\0S-1-2\0name\0", foreign)).name == b"name"
    same = (*WORDS[:3], 1 << 32 | 5, 1 << 32 | 6, *WORDS[5:])
    assert decode_create(one(Tx.CREATE, b"S-1-1\0name\0", same)).name == b"name"
    aces = bytes(range(12))
    acl = struct.pack("<5Q", 1, 2, 1, 12, 0) + aces.ljust(16, b"\0") + bytes(8) + b"one\0two\0"
    made = decode_create(one(Tx.CREATE_ACL, acl + b"name\0"))
    assert (made.name, made.aces) == (b"name", (1, aces))
    acl = struct.pack("<5Q", 1, 0, 0, 12, 0) + attributes + aces.ljust(16, b"\0")
    made = decode_create(one(Tx.MKDIR_ACL_ATTR, acl + b"name\0"))
    assert (made.name, made.aces) == (b"name", (1, aces))


def test_a_symbolic_link_and_a_directory_of_attributes() -> None:
    made = decode_create(one(Tx.SYMLINK, b"name\0to/there\0"))
    assert (made.name, made.target) == (b"name", b"to/there")
    assert decode_create(one(Tx.MKXATTR, b"")).name == b""


def test_large_dnodes_leave_their_size_in_the_number() -> None:
    assert object_of(42 | 7 << 56) == 42


def test_case_does_not_change_the_type() -> None:
    assert one(Tx.REMOVE | 1 << 63, b"", (1,)).type == Tx.REMOVE


def test_records_follow_each_other() -> None:
    block = pack(Tx.REMOVE, b"a\0", (1,), 1) + pack(Tx.RMDIR, b"bb\0", (2,), 2)
    assert [(each.type, each.sequence, each.txg) for each in records_of(block + bytes(40))] == [
        (Tx.REMOVE, 1, 8), (Tx.RMDIR, 2, 8),
    ]  # fmt: skip
    assert list(records_of(block[:-1])) == list(records_of(block))[:1]


@given(st.sampled_from(Tx), st.binary(max_size=300))
def test_any_bytes_decode_or_are_corrupt(kind: Tx, tail: bytes) -> None:
    for record in records_of(pack(kind, tail, ())):
        with contextlib.suppress(CorruptError):
            decode_create(record)


def test_what_ends_early_is_refused() -> None:
    with pytest.raises(CorruptError, match="ends after"):
        decode_create(one(Tx.CREATE, b"", (1, 2)))
    with pytest.raises(CorruptError, match="no 1 names"):
        decode_create(one(Tx.CREATE, b"no end"))
    with pytest.raises(CorruptError, match="ACL of"):
        decode_create(one(Tx.CREATE_ACL, struct.pack("<5Q", 1, 0, 0, 1 << 40, 0)))
