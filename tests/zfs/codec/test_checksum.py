from __future__ import annotations

import hashlib
import struct
import sys
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unikiln.errors import UnsupportedError
from unikiln.zfs.codec import checksum, edonr, skein
from unikiln.zfs.codec.kernel import Kernel
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


SALT = bytes(range(32))
KEYED = [Checksum.SKEIN, Checksum.EDONR, Checksum.BLAKE3]


@pytest.mark.parametrize("kind", KEYED)
def test_keyed_ones_depend_on_the_salt_and_need_it(kind: Checksum) -> None:
    data = bytes(512)
    assert checksum.checksum(kind, data, SALT) != checksum.checksum(kind, data, SALT[::-1])
    assert checksum.checksum(kind, data, SALT) != checksum.checksum(kind, data[1:], SALT)
    with pytest.raises(UnsupportedError, match=kind.name):
        checksum.checksum(kind, data)


@pytest.mark.parametrize("kind", [*KEYED, Checksum.SHA512])
def test_digests_are_words_of_the_order_of_who_wrote_them(kind: Checksum) -> None:
    little, big = checksum.checksum(kind, b"x" * 512, SALT), checksum.checksum(kind, b"x" * 512, SALT, ">")
    assert struct.pack("<4Q", *little) == struct.pack(">4Q", *big)


@given(sectors)
def test_fletchers_of_the_other_byte_order(data: bytes) -> None:
    swapped = np.frombuffer(data, dtype=">u4").astype("<u4").tobytes()
    assert checksum.fletcher_4(data, ">") == slow_fletcher_4(swapped)
    swapped = np.frombuffer(data, dtype=">u8").astype("<u8").tobytes()
    assert checksum.fletcher_2(data, ">") == slow_fletcher_2(swapped)


def test_sha256_is_the_same_in_either_order() -> None:
    assert checksum.checksum(Checksum.SHA256, b"abc", order=">") == checksum.sha256(b"abc")


def test_skein_of_the_paper() -> None:
    # Skein-512-256 of nothing, as the reference implementation and others have it
    assert skein.digest(b"").hex() == "39ccc4554a8b31853b9de7a1fe638a24cce6b35a55f2431009e18780335d2621"


@pytest.mark.parametrize("module", [skein, edonr])
@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 119, 120, 127, 128, 129, 512, 4096])
def test_compiled_kernels_give_what_plain_ones_give(module: ModuleType, size: int) -> None:
    pytest.importorskip("numba")
    data = bytes(n * 7 & 0xFF for n in range(size))
    plain = Kernel(module._KERNEL.function, module._KERNEL.layout)
    quick = Kernel(plain.function, plain.layout)
    quick._spent = 1e9
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_KERNEL", plain)
        expected = module.digest(data, b"") + module.digest(data, SALT)
        patch.setattr(module, "_KERNEL", quick)
        assert module.digest(data, b"") + module.digest(data, SALT) == expected


def test_without_numba_a_kernel_stays_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    kernel = Kernel(sum, "B")
    kernel._spent = 1e9
    assert kernel(b"\1\2") == 3
    assert kernel(b"\1\2\3") == 6


def test_an_unknown_number_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="200"):
        checksum.checksum(200, b"")
