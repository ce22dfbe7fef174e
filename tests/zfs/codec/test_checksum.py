from __future__ import annotations

import hashlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unikiln.errors import UnsupportedError
from unikiln.zfs.codec import checksum
from unikiln.zfs.format.blkptr import Checksum

MASK = (1 << 64) - 1
sectors = st.binary(min_size=1, max_size=64).map(lambda piece: (piece * 512)[:1024])


def slow_fletcher_4(data: bytes) -> tuple[int, ...]:
    a = b = c = d = 0
    for (word,) in struct.iter_unpack("<I", data):
        a = a + word & MASK
        b = b + a & MASK
        c = c + b & MASK
        d = d + c & MASK
    return a, b, c, d


def slow_fletcher_2(data: bytes) -> tuple[int, ...]:
    a0 = a1 = b0 = b1 = 0
    for first, second in struct.iter_unpack("<2Q", data):
        a0, a1 = a0 + first & MASK, a1 + second & MASK
        b0, b1 = b0 + a0 & MASK, b1 + a1 & MASK
    return a0, a1, b0, b1


@given(sectors)
def test_fletcher_4_is_the_running_sums(data: bytes) -> None:
    assert checksum.fletcher_4(data) == slow_fletcher_4(data)


@given(sectors)
def test_fletcher_2_is_the_running_sums(data: bytes) -> None:
    assert checksum.fletcher_2(data) == slow_fletcher_2(data)


def test_fletcher_4_wraps_at_64_bits() -> None:
    data = b"\xff" * (128 << 10)
    assert checksum.fletcher_4(data) == slow_fletcher_4(data)


def test_sha256_is_big_endian() -> None:
    digest = hashlib.sha256(b"abc").digest()
    assert checksum.sha256(b"abc")[0] == 0xBA7816BF8F01CFEA
    assert struct.pack(">4Q", *checksum.sha256(b"abc")) == digest


def test_sha512_256_is_that_of_fips_180() -> None:
    words = checksum.checksum(Checksum.SHA512, b"abc")
    assert struct.pack("<4Q", *words).hex().startswith("53048e2681941ef99b2e29b76b4c7dab")


def test_off_is_zero_and_says_nothing() -> None:
    assert checksum.checksum(Checksum.OFF, b"x") == (0, 0, 0, 0)
    assert not checksum.is_verifiable(Checksum.OFF)
    assert checksum.is_verifiable(Checksum.FLETCHER_4)


@pytest.mark.parametrize("kind", [Checksum.SKEIN, Checksum.EDONR, Checksum.BLAKE3])
def test_others_are_refused_by_name(kind: Checksum) -> None:
    with pytest.raises(UnsupportedError, match=kind.name):
        checksum.checksum(kind, b"")


def test_an_unknown_number_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="200"):
        checksum.checksum(200, b"")
