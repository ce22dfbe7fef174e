"""Checksums of blocks: bytes in, four 64-bit words out (module/zcommon/zfs_fletcher.c, zio_checksum.c)."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from unikiln.errors import UnsupportedError
from unikiln.zfs.format.blkptr import Checksum

Words4 = tuple[int, int, int, int]
Data = bytes | bytearray | memoryview

_MASK = (1 << 64) - 1


@lru_cache(maxsize=64)
def _weights(count: int) -> npt.NDArray[np.uint64]:
    """How often each of ``count`` words enters the four running sums of fletcher4, modulo 2^64.

    The n-th word from the end enters the k-th sum binomial(n + k - 1, k - 1) times.
    """
    rows = [np.ones(count, dtype=np.uint64)]
    for _ in range(3):
        rows.append(np.cumsum(rows[-1], dtype=np.uint64))
    return np.ascontiguousarray(np.array(rows)[:, ::-1])


def fletcher_4(data: Data) -> Words4:
    """Four sums, each of the one before it, over little-endian 32-bit words.

    The sums are linear in the words, so they are four inner products: NumPy computes them
    without the GIL, as fast as a sequential loop in C would.
    """
    words = np.frombuffer(data, dtype="<u4").astype(np.uint64)
    a, b, c, d = np.einsum("ji,i->j", _weights(len(words)), words).tolist()
    return a, b, c, d


def fletcher_2(data: Data) -> Words4:
    """Two interleaved pairs of sums over little-endian 64-bit words."""
    words = np.frombuffer(data, dtype="<u8").reshape(-1, 2)
    first = words.sum(axis=0, dtype=np.uint64)
    weights = np.arange(len(words), 0, -1, dtype=np.uint64)
    second = np.einsum("ij,i->j", words, weights)
    return int(first[0]), int(first[1]), int(second[0]), int(second[1])


def _big_endian(digest: bytes) -> Words4:
    a, b, c, d = struct.unpack(">4Q", digest)
    return a, b, c, d


def _little_endian(digest: bytes) -> Words4:
    a, b, c, d = struct.unpack("<4Q", digest)
    return a, b, c, d


def sha256(data: Data) -> Words4:
    """SHA-256, its digest as big-endian words."""
    return _big_endian(hashlib.sha256(data).digest())


def sha512_256(data: Data) -> Words4:
    """SHA-512/256, as words of the host's order (little-endian)."""
    return _little_endian(hashlib.new("sha512_256", data).digest())


def none(data: Data) -> Words4:
    """No checksum: any data will do."""
    return 0, 0, 0, 0


_TABLE: dict[int, Callable[[Data], Words4]] = {
    Checksum.OFF: none,
    Checksum.NOPARITY: none,
    Checksum.LABEL: sha256,
    Checksum.GANG_HEADER: sha256,
    Checksum.FLETCHER_2: fletcher_2,
    Checksum.FLETCHER_4: fletcher_4,
    Checksum.SHA256: sha256,
    Checksum.SHA512: sha512_256,
}


def checksum(kind: int, data: Data) -> Words4:
    """The checksum of ``data``, by its number in a block pointer.

    :raises UnsupportedError: a checksum we do not compute
    """
    function = _TABLE.get(kind)
    if function is None:
        name = Checksum(kind).name if kind in Checksum.__members__.values() else str(kind)
        raise UnsupportedError(f"blocks with checksum {name} cannot be verified yet")
    return function(data)


def is_verifiable(kind: int) -> bool:
    """Whether a checksum of this kind says anything about the data."""
    return kind not in (Checksum.OFF, Checksum.NOPARITY)
