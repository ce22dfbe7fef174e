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

SALT_SIZE = 32
"""Bytes of a pool's salt (``zio_cksum_salt_t``)."""


@lru_cache(maxsize=64)
def _weights(count: int) -> npt.NDArray[np.uint64]:
    """How often each of ``count`` words enters the four running sums of fletcher4, modulo 2^64.

    The n-th word from the end enters the k-th sum binomial(n + k - 1, k - 1) times.
    """
    rows = [np.ones(count, dtype=np.uint64)]
    for _ in range(3):
        rows.append(np.cumsum(rows[-1], dtype=np.uint64))
    return np.ascontiguousarray(np.array(rows)[:, ::-1])


def fletcher_4(data: Data, order: str = "<") -> Words4:
    """Four sums, each of the one before it, over 32-bit words of a byte order.

    The sums are linear in the words, so they are four inner products: NumPy computes them
    without the GIL, as fast as a sequential loop in C would.
    """
    words = np.frombuffer(data, dtype=f"{order}u4").astype(np.uint64)
    a, b, c, d = np.einsum("ji,i->j", _weights(len(words)), words).tolist()
    return a, b, c, d


def fletcher_2(data: Data, order: str = "<") -> Words4:
    """Two interleaved pairs of sums over 64-bit words of a byte order."""
    words = np.frombuffer(data, dtype=f"{order}u8").reshape(-1, 2).astype(np.uint64)
    first = words.sum(axis=0, dtype=np.uint64)
    weights = np.arange(len(words), 0, -1, dtype=np.uint64)
    second = np.einsum("ij,i->j", words, weights)
    return int(first[0]), int(first[1]), int(second[0]), int(second[1])


def words_of(digest: bytes, order: str = "<") -> Words4:
    """The first 32 bytes of a digest as four words."""
    a, b, c, d = struct.unpack_from(f"{order}4Q", digest)
    return a, b, c, d


def sha256(data: Data) -> Words4:
    """SHA-256, its digest as big-endian words whatever wrote it."""
    return words_of(hashlib.sha256(data).digest(), ">")


def sha512_256(data: Data) -> bytes:
    """SHA-512/256: of SHA-512's kind, with other first words, and cut to 256 bits."""
    try:
        return hashlib.new("sha512_256", data).digest()
    except ValueError as error:
        raise UnsupportedError(
            "this Python's OpenSSL has no SHA-512/256", hint="install a Python with OpenSSL 1.1.1 or later"
        ) from error


def _blake3(data: Data, salt: bytes) -> bytes:
    from blake3 import blake3

    return blake3(data, key=salt).digest()


def _skein(data: Data, salt: bytes) -> bytes:
    from unikiln.zfs.codec import skein

    return skein.digest(bytes(data), salt)


def _edonr(data: Data, salt: bytes) -> bytes:
    from unikiln.zfs.codec import edonr

    return edonr.digest(bytes(data), salt)


_NONE = frozenset({Checksum.OFF, Checksum.NOPARITY})
_FLETCHER: dict[int, Callable[[Data, str], Words4]] = {
    Checksum.ZILOG: fletcher_2,
    Checksum.FLETCHER_2: fletcher_2,
    Checksum.FLETCHER_4: fletcher_4,
    Checksum.ZILOG2: fletcher_4,
}
_SHA256 = frozenset({Checksum.LABEL, Checksum.GANG_HEADER, Checksum.SHA256})
_SALTED: dict[int, Callable[[Data, bytes], bytes]] = {
    Checksum.SKEIN: _skein,
    Checksum.EDONR: _edonr,
    Checksum.BLAKE3: _blake3,
}


def checksum(kind: int, data: Data, salt: bytes = b"", order: str = "<") -> Words4:
    """The checksum of ``data``, by its number in a block pointer.

    ``salt`` is the pool's 32 bytes, which some are keyed with; ``order`` is the byte order of whoever wrote
    the block, ``<`` or ``>``.

    :raises UnsupportedError: a checksum that we do not know, or that is keyed in a pool without a salt
    """
    if kind in _NONE:
        return 0, 0, 0, 0
    if kind in _FLETCHER:
        return _FLETCHER[kind](data, order)
    if kind in _SHA256:
        return sha256(data)
    if kind == Checksum.SHA512:
        return words_of(sha512_256(data), order)
    if kind not in _SALTED:
        raise UnsupportedError(f"a block has checksum {kind}, which is none that we know")
    if len(salt) != SALT_SIZE:
        raise UnsupportedError(f"checksum {Checksum(kind).name} needs the pool's salt, and the pool has none")
    return words_of(_SALTED[kind](data, salt), order)


def is_verifiable(kind: int) -> bool:
    """Whether a checksum of this kind says anything about the data."""
    return kind not in _NONE
