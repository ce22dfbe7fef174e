"""Zstandard as pools store it: its length and version, then a frame without its magic (zfs_zstd.c)."""

from __future__ import annotations

import threading

import zstandard

from unikiln.errors import CorruptError

_HEADER = 8
_MAGIC = b"\x28\xb5\x2f\xfd"
_WINDOW_MAX = 128 << 20
"""Nothing that was made from a block of 16 MiB needs a larger window, even with rounding."""


class _PerThread(threading.local):
    """A decompressor serves one thread at a time."""

    def __init__(self) -> None:
        self.decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_MAX)


_LOCAL = _PerThread()


def decompress(data: bytes | bytearray | memoryview, size: int) -> bytes:
    """The ``size`` bytes that ``data`` was made from; bytes after the stated length are padding.

    :raises CorruptError: it is cut off, claims another size, or does not decompress
    """
    length = int.from_bytes(data[:4], "big")
    if length + _HEADER > len(data):
        raise CorruptError(f"a zstd block claims {length} bytes, and has {len(data)}")
    frame = _MAGIC + bytes(data[_HEADER : _HEADER + length])
    try:
        stated = zstandard.get_frame_parameters(frame).content_size
        if stated not in (size, zstandard.CONTENTSIZE_UNKNOWN, 0):
            raise CorruptError(f"a zstd block decompresses to {stated} bytes, not {size}")
        return _LOCAL.decompressor.decompress(frame, max_output_size=size)
    except zstandard.ZstdError as error:
        raise CorruptError(f"zstd data does not decompress: {error}") from error
