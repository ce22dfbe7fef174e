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
    """LZJB: a bit map of eight, each a literal byte or a two-byte match of 3 to 66 bytes."""
    source, out = bytes(data), bytearray()
    position, mask, bits = 0, 0, 0
    try:
        while len(out) < size:
            mask = mask << 1 & 0xFF
            if not mask:
                mask, bits, position = 1, source[position], position + 1
            if not bits & mask:
                out.append(source[position])
                position += 1
                continue
            length = (source[position] >> 2) + 3
            offset = (source[position] << 8 | source[position + 1]) & 0x3FF
            position += 2
            _copy_match(out, offset, min(length, size - len(out)))
    except IndexError:
        raise CorruptError("lzjb data ends early") from None
    return bytes(out)


def _copy_match(out: bytearray, offset: int, length: int) -> None:
    if not 0 < offset <= len(out):
        raise CorruptError("lzjb data refers to before its start")
    start = len(out) - offset
    while length:  # a match may reach into what it makes itself
        piece = out[start : start + length]
        out += piece
        start, length = start + len(piece), length - len(piece)


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
    **dict.fromkeys(range(Compression.GZIP_1, Compression.GZIP_9 + 1), gzip_decompress),
}


def decompress(kind: int, data: Data, size: int) -> bytes:
    """The ``size`` bytes that ``data`` was made from.

    :raises CorruptError: it does not decompress to that
    :raises UnsupportedError: a compression we do not know
    """
    if kind == Compression.OFF:
        return bytes(data[:size])
    function = _DECOMPRESS.get(kind)
    if function is None:
        name = Compression(kind).name if kind in Compression.__members__.values() else str(kind)
        raise UnsupportedError(f"blocks compressed with {name} cannot be read yet")
    out = function(data, size)
    if len(out) != size:
        raise CorruptError(f"a block decompresses to {len(out)} bytes, not {size}")
    return out
