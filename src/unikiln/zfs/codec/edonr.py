"""Edon-R 512, second version, keyed the way that pools do it (Gligoroski and others; edonr_zfs.c).

A block is mixed into a pipe of 16 words by eight operations of a quasigroup of order 2^512.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Any

from unikiln.zfs.codec.kernel import Kernel

_BLOCK = 128
_MASK = (1 << 64) - 1
_PIPE = bytes(range(0x80, 0x100))
"""The pipe's first contents, as big-endian words."""
_ALTERNATING = 0xAAAAAAAAAAAAAAAA
_ROOM = 8 * 82

# The sums of five words each, and how far they are turned, for the left and the right operand.
_SUMS = (
    0, 1, 2, 4, 7,  0, 1, 3, 4, 7,  0, 1, 4, 6, 7,  2, 3, 5, 6, 7,
    1, 2, 3, 5, 6,  0, 2, 3, 4, 5,  0, 1, 5, 6, 7,  2, 3, 4, 5, 6,
    0, 1, 2, 5, 7,  0, 1, 3, 4, 6,  0, 1, 2, 3, 5,  2, 3, 4, 6, 7,
    0, 1, 3, 4, 5,  2, 4, 5, 6, 7,  1, 2, 5, 6, 7,  0, 3, 4, 6, 7,
)  # fmt: skip
_TURNS = (0, 5, 15, 22, 31, 40, 50, 59, 0, 10, 19, 29, 36, 44, 48, 55)
# Which three sums of the left (0-7) and of the right (8-15) make each word of the result.
_MIXES = (
    0, 1, 4, 8, 9, 13,  0, 4, 7, 10, 14, 15,  1, 6, 7, 8, 9, 11,  2, 3, 4, 8, 11, 12,
    0, 1, 7, 9, 10, 13,  3, 5, 6, 11, 12, 14,  2, 5, 6, 10, 13, 15,  2, 3, 5, 12, 14, 15,
)  # fmt: skip
# Where in the room the left operand, the right one and the result of each of the eight operations lie:
# the block at 0, the block backwards at 16, two results at 32 and 40, the pipe at 48, sums at 64.
_OPERATIONS = (
    16, 0, 32,  32, 8, 40,  56, 32, 32,  32, 40, 40,  32, 48, 32,  40, 32, 40,  24, 32, 32,  32, 40, 40,
)  # fmt: skip


def _compress(pipe: Any, message: Any, room: Any) -> int:  # noqa: ANN401
    """Mix the blocks of ``message`` into the 16 words of ``pipe``; ``room[80:82]`` are the constants."""
    for at in range(0, len(message), 16):
        for i in range(16):
            room[i] = message[at + i]
            room[31 - i] = message[at + i]
            room[48 + i] = pipe[i]
        for step in range(8):
            for k in range(16):
                operand = _OPERATIONS[3 * step + k // 8]
                total = room[operand + _SUMS[5 * k]]
                for i in range(1, 5):
                    total = (total + room[operand + _SUMS[5 * k + i]]) & _MASK
                turn = _TURNS[k]
                if turn == 0:
                    room[64 + k] = (total + room[80 + k // 8]) & _MASK
                else:
                    room[64 + k] = (total << turn) & _MASK | total >> (64 - turn)
            target = _OPERATIONS[3 * step + 2]
            for k in range(8):
                left = room[64 + _MIXES[6 * k]] ^ room[64 + _MIXES[6 * k + 1]] ^ room[64 + _MIXES[6 * k + 2]]
                right = (
                    room[64 + _MIXES[6 * k + 3]] ^ room[64 + _MIXES[6 * k + 4]] ^ room[64 + _MIXES[6 * k + 5]]
                )
                room[target + k] = (left + right) & _MASK
        for i in range(8):
            pipe[i] ^= message[at + 8 + i] ^ room[32 + i]
            pipe[8 + i] ^= message[at + i] ^ room[40 + i]
    return 0


_KERNEL = Kernel(_compress, "QQQ")


def _mix(pipe: bytearray, blocks: bytes) -> None:
    room = bytearray(_ROOM)
    struct.pack_into("<2Q", room, 8 * 80, _ALTERNATING, _ALTERNATING ^ _MASK)
    _KERNEL(pipe, blocks, room)


def _fresh() -> bytearray:
    return bytearray(struct.pack("<16Q", *struct.unpack(">16Q", _PIPE)))


def _finish(pipe: bytearray, data: bytes, before: int) -> bytes:
    """The 64 bytes after ``data``, of whose message ``before`` bytes went before."""
    padded = data + b"\x80"
    size = -(-(len(padded) + 8) // _BLOCK) * _BLOCK
    _mix(pipe, padded.ljust(size - 8, b"\0") + struct.pack("<Q", 8 * (before + len(data))))
    return bytes(pipe[64:])


@lru_cache(maxsize=8)
def _start(key: bytes) -> bytes:
    """The pipe after the key, which is hashed and hashed again to fill a block."""
    first = _finish(_fresh(), key, 0)
    pipe = _fresh()
    _mix(pipe, first + _finish(_fresh(), first, 0))
    return bytes(pipe)


def digest(data: bytes, key: bytes = b"") -> bytes:
    """The 64 bytes of Edon-R 512 of ``data``, after the block that ``key`` makes if there is one."""
    pipe = bytearray(_start(key)) if key else _fresh()
    return _finish(pipe, data, _BLOCK if key else 0)
