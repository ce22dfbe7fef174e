"""LZJB: a map of eight bits, each a literal byte or a match of 3 to 66 bytes in the last 1023 (lzjb.c)."""

from __future__ import annotations

from typing import Any

from unikiln.errors import CorruptError
from unikiln.zfs.codec.kernel import Kernel

_ENDS_EARLY, _BEFORE_START = -1, -2


def _expand(source: Any, out: Any, padded: int) -> int:  # noqa: ANN401
    """Fill ``out`` from ``source``, which has bytes to spare from ``padded`` on; 0, or what is wrong."""
    position, filled, size = 0, 0, len(out)
    while filled < size:
        if position >= padded:
            return _ENDS_EARLY
        bits = source[position]
        position += 1
        if bits == 0 and filled + 8 <= size:
            out[filled : filled + 8] = source[position : position + 8]
            position += 8
            filled += 8
            continue
        for bit in _BITS:
            if not bits & bit:
                out[filled] = source[position]
                position += 1
                filled += 1
            else:
                first = source[position]
                start = filled - ((first & 3) << 8 | source[position + 1])
                position += 2
                end = filled + (first >> 2) + 3
                if start < 0 or start == filled:
                    return _ENDS_EARLY if position > padded else _BEFORE_START
                if end > size:
                    end = size
                while filled < end:  # a match may reach into what it makes itself
                    count = filled - start
                    if count > end - filled:
                        count = end - filled
                    out[filled : filled + count] = out[start : start + count]
                    filled += count
            if filled == size:
                break
    return 0 if position <= padded else _ENDS_EARLY


_BITS = (1, 2, 4, 8, 16, 32, 64, 128)
_KERNEL = Kernel(_expand, "BBi")
_SPARE = bytes(16)
"""What eight items can take at most: the end of the data is looked for once in eight."""


def decompress(data: bytes | bytearray | memoryview, size: int) -> bytes:
    """The ``size`` bytes that ``data`` was made from; what follows in it is padding.

    :raises CorruptError: it ends early, or refers to before its start
    """
    out = bytearray(size)
    status = _KERNEL(bytes(data) + _SPARE, out, len(data))
    if status == _ENDS_EARLY:
        raise CorruptError("lzjb data ends early")
    if status == _BEFORE_START:
        raise CorruptError("lzjb data refers to before its start")
    return bytes(out)
