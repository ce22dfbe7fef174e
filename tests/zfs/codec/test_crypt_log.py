"""Blocks of encrypted logs, encrypted here record by record as zio_crypt.c describes."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unikiln.errors import AuthenticationError, CorruptError
from unikiln.zfs.codec.crypt import MasterKey, cipher, hkdf_sha512
from unikiln.zfs.codec.crypt_log import decrypt_log_block
from unikiln.zfs.format.blkptr import BlockPointer, Dva
from unikiln.zfs.format.cryptokey import Suite

SALT, IV = b"saltsalt", b"iviviviviviv"
POINTER = BlockPointer(
    (Dva(0, 512, 4096),), 4096, 4096, 2, 9, 9, 0, 5, 0, encrypted=True, salt=SALT, iv=IV
)  # fmt: skip
KEY = MasterKey(Suite.AES_256_CCM, 1, bytes(range(32)), b"h" * 64)
CREATE, WRITE, CLONE = 1, 9, 24


def record(kind: int, hidden: bytes, shown: bytes = b"", more: bytes = b"") -> list[tuple[bytes, bool]]:
    """(bytes, whether they are encrypted) of a record."""
    head = struct.pack("<4Q", kind, 32 + len(hidden) + len(shown) + len(more), 7, 1)
    return [(head, False), (hidden, True), (shown, False), (more, True)]


def sealed(parts: list[tuple[bytes, bool]], size: int = 4096) -> tuple[bytes, bytes]:
    """A log block with these parts: in the plain, and encrypted."""
    head = b"p" * 8 + b"n" * 128 + struct.pack("<Q", 184 + sum(len(part) for part, _ in parts))
    about = head + b"".join(part for part, hidden in parts if not hidden)
    aes = cipher(KEY.suite, hkdf_sha512(KEY.master, SALT, 32))
    out = aes.encrypt(IV, b"".join(part for part, hidden in parts if hidden), about)
    pieces, done = [], 0
    for part, hidden in parts:
        pieces.append(out[done : done + len(part)] if hidden else part)
        done += len(part) if hidden else 0
    seal = b"magic..." + b"c" * 16 + out[-16:]
    plain = (head + seal + b"".join(part for part, _ in parts)).ljust(size, b"\0")
    return plain, (head + seal + b"".join(pieces)).ljust(size, b"\xaa")


PARTS = [
    *record(CREATE, b"create a file"),
    *record(WRITE, b"w" * 32, b"P" * 128),
    *record(WRITE, b"w" * 32, b"P" * 128, b"and its data" * 9),
    *record(CLONE, b"c" * 32, struct.pack("<Q", 2) + b"Q" * 256),
]


def test_every_kind_of_record() -> None:
    plain, block = sealed(PARTS)
    assert decrypt_log_block(KEY, POINTER, block) == plain
    assert b"and its data" not in block


def test_a_block_without_records_is_authenticated() -> None:
    plain, block = sealed([])
    assert decrypt_log_block(KEY, POINTER, block) == plain
    with pytest.raises(AuthenticationError):
        decrypt_log_block(KEY, POINTER, b"P" + block[1:])


@given(st.integers(0, 184 + sum(len(part) for part, _ in PARTS) - 1), st.integers(0, 7))
def test_no_bit_can_be_flipped(at: int, bit: int) -> None:
    block = bytearray(sealed(PARTS)[1])
    block[at] ^= 1 << bit
    if 144 <= at < 168:  # magic and checksum, which are checked before
        assert decrypt_log_block(KEY, POINTER, bytes(block))
        return
    with pytest.raises((AuthenticationError, CorruptError)):
        decrypt_log_block(KEY, POINTER, bytes(block))


@given(
    st.binary(max_size=600), st.integers(0, 700), st.sampled_from([0, 9, 24, 1 << 63]), st.integers(0, 700)
)
def test_any_bytes(data: bytes, used: int, kind: int, length: int) -> None:
    block = bytearray(data.ljust(184 + 32, b"\0"))
    block[136:144] = struct.pack("<Q", used)
    block[184:200] = struct.pack("<2Q", kind, length)
    with pytest.raises(CorruptError):
        decrypt_log_block(KEY, POINTER, bytes(block))
