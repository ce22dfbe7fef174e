"""Skein-512 with 256 bits of output and a key (The Skein Hash Function Family, version 1.3).

A chain of calls of the block cipher Threefish-512, each tweaked with how many bytes came before and what the
block is for: key, configuration, message, output.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Any

from unikiln.zfs.codec.kernel import Kernel

_BLOCK = 64
_TURNS = (
    46, 36, 19, 37, 33, 27, 14, 42, 17, 49, 36, 39, 44, 9, 54, 56,
    39, 30, 34, 24, 13, 50, 10, 17, 25, 29, 39, 43, 8, 35, 56, 22,
)  # fmt: skip
"""How far the second word of each pair is turned, in each of eight rounds of four pairs (table 4)."""
_FIRSTS = (0, 2, 4, 6, 2, 4, 6, 0, 4, 6, 0, 2, 6, 0, 2, 4)
_SECONDS = (1, 3, 5, 7, 1, 7, 5, 3, 1, 3, 5, 7, 1, 7, 5, 3)
"""The pairs of four rounds: words stay where they are, their names are permuted (table 3)."""
_MASK = (1 << 64) - 1
_PARITY = 0x1BD11BDAA9FC1A22
_SCHEMA = 0x133414853
"""``SHA3``, and version 1."""
_KEY, _CONFIGURATION, _MESSAGE, _OUTPUT = (kind << 56 for kind in (0, 4, 48, 63))
_FIRST, _FINAL = 1 << 62, 1 << 63
_OUTPUT_BITS = 256


def _chain_blocks(chain: Any, message: Any, tweak: Any, room: Any) -> int:  # noqa: ANN401
    """Chain the blocks of ``message`` into the eight words of ``chain``.

    ``tweak``: bytes before, kind and flags, bytes in a block, parity, 1, and all bits but the first flag;
    in an array, for a compiler to see that all are of 64 bits. ``room``: 8 words of state, 9 of key, 3 more.
    """
    position, kind = tweak[0], tweak[1]
    for at in range(0, len(message), 8):
        position = (position + tweak[2]) & _MASK
        room[16] = tweak[3]
        for i in range(8):
            room[8 + i] = chain[i]
            room[16] ^= chain[i]
            room[i] = message[at + i]
        room[17], room[18], room[19] = position, kind, position ^ kind
        injection = tweak[4] ^ tweak[4]
        for step in range(19):
            for i in range(8):
                room[i] = (room[i] + room[8 + (step + i) % 9]) & _MASK
            room[5] = (room[5] + room[17 + step % 3]) & _MASK
            room[6] = (room[6] + room[17 + (step + 1) % 3]) & _MASK
            room[7] = (room[7] + injection) & _MASK
            injection = injection + tweak[4]
            if step == 18:
                break
            for m in range(16):
                turn = _TURNS[16 * (step % 2) + m]
                second = room[_SECONDS[m]]
                total = (room[_FIRSTS[m]] + second) & _MASK
                room[_FIRSTS[m]] = total
                room[_SECONDS[m]] = ((second << turn) & _MASK | second >> (64 - turn)) ^ total
        for i in range(8):
            chain[i] = room[i] ^ message[at + i]
        kind = kind & tweak[5]
    return 0


_KERNEL = Kernel(_chain_blocks, "QQQQ")


def _ubi(chain: bytes, message: bytes, kind: int) -> bytes:
    """Unique block iteration over all of ``message`` (section 3.4)."""
    state = bytearray(chain)
    last = max(0, len(message) - 1) // _BLOCK * _BLOCK
    if last:
        _run(state, message[:last], 0, kind | _FIRST, _BLOCK)
    flags = kind | _FINAL | (0 if last else _FIRST)
    _run(state, message[last:].ljust(_BLOCK, b"\0"), last, flags, len(message) - last)
    return bytes(state)


def _run(state: bytearray, blocks: bytes, position: int, kind: int, step: int) -> None:
    tweak = struct.pack("<6Q", position, kind, step, _PARITY, 1, _MASK ^ _FIRST)
    _KERNEL(state, blocks, tweak, bytearray(160))


@lru_cache(maxsize=8)
def _start(key: bytes) -> bytes:
    """The chaining words that every message under ``key`` begins with."""
    keyed = _ubi(bytes(_BLOCK), key, _KEY) if key else bytes(_BLOCK)
    return _ubi(keyed, struct.pack("<2Q16x", _SCHEMA, _OUTPUT_BITS), _CONFIGURATION)


def digest(data: bytes, key: bytes = b"") -> bytes:
    """The 32 bytes of Skein-512-256 of ``data`` under ``key``."""
    chained = _ubi(_start(key), data, _MESSAGE)
    return _ubi(chained, bytes(8), _OUTPUT)[: _OUTPUT_BITS // 8]
