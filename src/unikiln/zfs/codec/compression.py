"""Compressions of blocks: bytes in, bytes out (module/zfs: zio_compress.c and one file each)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import lz4.block

from unikiln.errors import CorruptError, UnsupportedError
from unikiln.zfs.format.blkptr import Compression

Data = bytes | bytearray | memoryview


def lz4_compress(data: Data) -> bytes:
    """LZ4 as OpenZFS stores it: a big-endian length, then the block."""
    body: bytes = lz4.block.compress(data, store_size=False)
    return struct.pack(">I", len(body)) + body


def lz4_decompress(data: Data, size: int) -> bytes:
    """The inverse; bytes after the stated length are padding."""
    length = int.from_bytes(data[:4], "big")
    if length + 4 > len(data):
        raise CorruptError(f"an lz4 block claims {length} bytes, and has {len(data)}")
    try:
        out: bytes = lz4.block.decompress(bytes(data[4 : 4 + length]), uncompressed_size=size)
    except lz4.block.LZ4BlockError as error:
        raise CorruptError(f"lz4 data does not decompress: {error}") from error
    return out


def gzip_decompress(data: Data, size: int) -> bytes:
    """A zlib stream, whatever the level it was made with."""
    try:
        return zlib.decompressobj().decompress(data, size)
    except zlib.error as error:
        raise CorruptError(f"gzip data does not decompress: {error}") from error


def lzjb_decompress(data: Data, size: int) -> bytes:
    """See :mod:`unikiln.zfs.codec.lzjb`."""
    from unikiln.zfs.codec import lzjb

    return lzjb.decompress(data, size)


def zstd_decompress(data: Data, size: int) -> bytes:
    """See :mod:`unikiln.zfs.codec.zstd`."""
    from unikiln.zfs.codec import zstd

    return zstd.decompress(data, size)


def zle_decompress(data: Data, size: int) -> bytes:
    """Runs: a byte below 64 is that many plus one literals, else that many minus 63 zeros."""
    source, out, position = bytes(data), bytearray(), 0
    while len(out) < size and position < len(source):
        length = source[position] + 1
        position += 1
        if length <= 64:
            out += source[position : position + length]
            position += length
        else:
            out += bytes(length - 64)
    if len(out) < size:
        raise CorruptError("zle data ends early")
    return bytes(out[:size])


_DECOMPRESS: dict[int, Callable[[Data, int], bytes]] = {
    Compression.LZJB: lzjb_decompress,
    Compression.ZLE: zle_decompress,
    Compression.LZ4: lz4_decompress,
    Compression.ZSTD: zstd_decompress,
    **dict.fromkeys(range(Compression.GZIP_1, Compression.GZIP_9 + 1), gzip_decompress),
}


def decompress(kind: int, data: Data, size: int) -> bytes:
    """The ``size`` bytes that ``data`` was made from; never more are made, whatever the data claims.

    :raises CorruptError: it does not decompress to that
    :raises UnsupportedError: a compression we do not know
    """
    if kind == Compression.OFF:
        return bytes(data[:size])
    if kind == Compression.EMPTY:
        return bytes(size)
    function = _DECOMPRESS.get(kind)
    if function is None:
        raise UnsupportedError(f"a block has compression {kind}, which is none that we know")
    out = function(data, size)
    if len(out) != size:
        raise CorruptError(f"a block decompresses to {len(out)} bytes, not {size}")
    return out
