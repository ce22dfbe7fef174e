from __future__ import annotations

import contextlib
import struct
import tracemalloc
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from unikiln.errors import CorruptError, UnsupportedError
from unikiln.zfs.codec import compression
from unikiln.zfs.codec import lzjb as lzjb_module
from unikiln.zfs.codec.kernel import Kernel
from unikiln.zfs.format.blkptr import Compression

contents = st.binary(min_size=1, max_size=2000) | st.binary(min_size=1, max_size=9).map(lambda b: b * 300)
KINDS = [Compression.LZJB, Compression.ZLE, Compression.LZ4, Compression.GZIP_6, Compression.ZSTD]


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


def zstd(data: bytes, level: int = 3, *, content_size: bool = True) -> bytes:
    """As a pool has it: length, version and level, and a frame whose first four bytes are cut off."""
    parameters = zstandard.ZstdCompressionParameters.from_level(level, write_content_size=content_size)
    frame = zstandard.ZstdCompressor(compression_params=parameters).compress(data)
    return struct.pack(">2I", len(frame) - 4, 10405 << 8 | level & 0xFF) + frame[4:]


@given(contents, st.integers(-7, 19))
def test_zstd(data: bytes, level: int) -> None:
    assert compression.decompress(Compression.ZSTD, zstd(data, level) + bytes(5), len(data)) == data
    assert compression.decompress(Compression.ZSTD, zstd(data, level, content_size=False), len(data)) == data


def test_zstd_that_claims_more_is_refused_before_it_is_made() -> None:
    bomb, unsized = zstd(bytes(1 << 26)), zstd(bytes(1 << 26), content_size=False)
    tracemalloc.start()
    try:
        with pytest.raises(CorruptError, match="67108864 bytes, not 4096"):
            compression.decompress(Compression.ZSTD, bomb, 4096)
        with pytest.raises(CorruptError):
            compression.decompress(Compression.ZSTD, unsized, 4096)
        with pytest.raises(CorruptError, match="4 bytes, not 512"):
            compression.decompress(Compression.ZSTD, zstd(b"abcd"), 512)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


def test_a_cut_zstd_block_is_refused() -> None:
    with pytest.raises(CorruptError, match="claims"):
        compression.decompress(Compression.ZSTD, zstd(b"abcd" * 100)[:-1], 400)


def test_empty_is_zeros() -> None:
    assert compression.decompress(Compression.EMPTY, b"", 700) == bytes(700)


def test_an_unknown_compression_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="77"):
        compression.decompress(77, b"", 512)


@given(contents.map(lambda data: data[:600]), st.binary(max_size=40))
def test_compiled_lzjb_gives_what_the_plain_one_gives(data: bytes, noise: bytes) -> None:
    pytest.importorskip("numba")
    for packed in (lzjb(data), lzjb(data)[:-1], noise):
        results = []
        for kernel in (PLAIN, QUICK):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(lzjb_module, "_KERNEL", kernel)
                try:
                    results.append(lzjb_module.decompress(packed, len(data)))
                except CorruptError as error:
                    results.append(str(error).encode())
        assert results[0] == results[1]


PLAIN = Kernel(lzjb_module._expand, "BBi")
QUICK = Kernel(lzjb_module._expand, "BBi")
QUICK._spent = 1e9
