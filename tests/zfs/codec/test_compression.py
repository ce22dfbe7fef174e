from __future__ import annotations

import contextlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unikiln.errors import CorruptError, UnsupportedError
from unikiln.zfs.codec import compression
from unikiln.zfs.format.blkptr import Compression

contents = st.binary(min_size=1, max_size=2000) | st.binary(min_size=1, max_size=9).map(lambda b: b * 300)
KINDS = [Compression.LZJB, Compression.ZLE, Compression.LZ4, Compression.GZIP_6]


def zle(data: bytes) -> bytes:
    """A plain encoder: runs of zeros, runs of anything else."""
    out, at = bytearray(), 0
    while at < len(data):
        end = at
        limit = 192 if data[at] == 0 else 64
        while end < len(data) and end - at < limit and (data[end] == 0) == (data[at] == 0):
            end += 1
        out += bytes([end - at + 63]) if data[at] == 0 else bytes([end - at - 1]) + data[at:end]
        at = end
    return bytes(out)


def lzjb(data: bytes) -> bytes:
    """A plain encoder: at each place the longest match of the last 1023 bytes."""
    out, at = bytearray(), 0
    while at < len(data):
        mask_at, bits = len(out), 0
        out.append(0)
        for bit in range(8):
            if at >= len(data):
                break
            length, offset = longest(data, at)
            if length >= 3:
                bits |= 1 << bit
                out += bytes([length - 3 << 2 | offset >> 8, offset & 0xFF])
                at += length
            else:
                out.append(data[at])
                at += 1
        out[mask_at] = bits
    return bytes(out)


def longest(data: bytes, at: int) -> tuple[int, int]:
    best = (0, 0)
    for offset in range(1, min(at, 64) + 1):
        length = 0
        while length < 66 and at + length < len(data) and data[at + length] == data[at + length - offset]:
            length += 1
        best = max(best, (length, offset))
    return best


@given(contents)
def test_lz4_round_trip(data: bytes) -> None:
    packed = compression.lz4_compress(data)
    padded = packed.ljust(len(packed) + 100, b"\0")
    assert compression.decompress(Compression.LZ4, padded, len(data)) == data


@given(contents)
def test_zle(data: bytes) -> None:
    assert compression.decompress(Compression.ZLE, zle(data) + b"\0\0\0", len(data)) == data


@given(contents.map(lambda data: data[:600]))
def test_lzjb(data: bytes) -> None:
    assert compression.decompress(Compression.LZJB, lzjb(data) + b"\0\0\0", len(data)) == data


@given(contents, st.integers(1, 9))
def test_gzip(data: bytes, level: int) -> None:
    kind = Compression.GZIP_1 + level - 1
    assert compression.decompress(kind, zlib.compress(data, level) + bytes(9), len(data)) == data


def test_lzjb_by_hand() -> None:
    # a literal "a", then 66 bytes that copy from one before: the match overlaps what it makes
    assert compression.lzjb_decompress(bytes([0b10, ord("a"), 63 << 2, 1]), 67) == b"a" * 67


def test_zle_by_hand() -> None:
    assert compression.zle_decompress(bytes([1, 5, 6, 66]), 5) == b"\x05\x06\0\0\0"


def test_off_is_the_data() -> None:
    assert compression.decompress(Compression.OFF, b"abc", 3) == b"abc"


@given(st.binary(max_size=200), st.integers(1, 4096), st.sampled_from(KINDS))
def test_anything_decompresses_or_is_corrupt(data: bytes, size: int, kind: Compression) -> None:
    with contextlib.suppress(CorruptError):
        assert len(compression.decompress(kind, data, size)) == size


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_corrupt(kind: Compression) -> None:
    with pytest.raises(CorruptError):
        compression.decompress(kind, b"", 512)


def test_a_short_gzip_stream_is_corrupt() -> None:
    with pytest.raises(CorruptError, match="4 bytes, not 512"):
        compression.decompress(Compression.GZIP_6, zlib.compress(b"abcd"), 512)


def test_zstd_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match="ZSTD"):
        compression.decompress(Compression.ZSTD, b"", 512)
