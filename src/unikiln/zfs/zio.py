"""The read pipeline: from a block pointer to the data, verified.

Locate each copy, read it, check it against the pointer's checksum, take the next copy if it is
bad, decompress (module/zfs/zio.c). Verified data is kept in the ARC.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy as shallow_copy
from itertools import pairwise
from typing import Self

from unikiln.errors import AuthenticationError, CorruptError, KeyMissingError, UnsupportedError
from unikiln.zfs.arc import Arc
from unikiln.zfs.codec import compression, crypt_auth, crypt_block
from unikiln.zfs.codec.crypt import MasterKey
from unikiln.zfs.format.blkptr import BlockPointer, Compression, Dva
from unikiln.zfs.format.dmu import ObjectType
from unikiln.zfs.locate import Copy, Locator
from unikiln.zfs.vdev.top import TopVdev

BLOCK_MAX = 16 << 20
"""Largest block there can be (``SPA_MAXBLOCKSIZE``)."""
_JOIN_MAX = 1 << 20
"""Neighbours are read together up to this many bytes."""
_THREADS = 4
_FEW = 3
"""So few blocks are read without the help of threads."""


class Reader:
    """Reads blocks of a pool from its top-level vdevs, through its cache; thread-safe."""

    def __init__(self, vdevs: Mapping[int, TopVdev], arc: Arc) -> None:
        self.locator = Locator(vdevs)
        self.arc = arc
        self.threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="zio")
        """For reads of many blocks: checksums, decompression and reads release the GIL."""
        self._unlock: Callable[[], MasterKey] | None = None
        self._key_number = 0

    def keyed(self, number: int, unlock: Callable[[], MasterKey]) -> Self:
        """The same reader for a dataset with crypto key object ``number``; ``unlock`` gives its keys.

        A reader without leaves encrypted bonus buffers and log records as they are, and refuses other
        blocks that are encrypted.
        """
        reader = shallow_copy(self)
        reader._unlock, reader._key_number = unlock, number
        return reader

    def close(self) -> None:
        """End the threads."""
        self.threads.shutdown()

    def read(self, pointer: BlockPointer) -> bytes:
        """The ``lsize`` bytes that ``pointer`` refers to; zeros for a hole.

        :raises ChecksumError: no copy is good
        :raises CorruptError: a pointer that makes no sense, or data that does not decompress
        :raises UnsupportedError: a checksum, compression or vdev we do not know
        :raises EncryptionKeyError: a block that takes a key, which was not given or is wrong
        """
        if not pointer.dvas:
            return _without_device(pointer)
        key = self._cache_key(pointer)
        data = self.arc.get(key)
        if data is None or len(data) != pointer.lsize:
            check(pointer)
            data = self.decode(pointer, self.locator.find(pointer))
            self.arc.put(key, data)
        return data

    def read_many(self, pointers: Sequence[BlockPointer]) -> list[bytes]:
        """What :meth:`read` gives for each; neighbours on disk are read at once, and in threads."""
        if len(pointers) <= _FEW:
            return [self.read(pointer) for pointer in pointers]
        found: list[bytes | None] = [self._cached(pointer) for pointer in pointers]
        missing = [(index, pointers[index]) for index, data in enumerate(found) if data is None]
        runs = list(_runs(missing))
        for run, blocks in zip(runs, self.threads.map(self._read_run, runs), strict=True):
            for (index, _), data in zip(run, blocks, strict=True):
                found[index] = data
        return [data for data in found if data is not None]

    def _cached(self, pointer: BlockPointer) -> bytes | None:
        if not pointer.dvas:
            return _without_device(pointer)
        data = self.arc.get(self._cache_key(pointer))
        return data if data is not None and len(data) == pointer.lsize else None

    def _read_run(self, run: Sequence[tuple[int, BlockPointer]]) -> list[bytes]:
        """Neighbours in one read; a block that is bad there is read again by itself, from any copy."""
        first, last = run[0][1], run[-1][1]
        start = first.dvas[0].offset
        raw = (
            self._first_copy(first.dvas[0], last.dvas[0].offset + last.psize - start) if len(run) > 1 else b""
        )
        return [self._from_run(pointer, raw, start) for _, pointer in run]

    def _first_copy(self, dva: Dva, length: int) -> bytes:
        """What the first copy holds, or nothing if it cannot be read, or is not in one piece."""
        vdev = self.locator.top(dva).vdev
        attempt = next(vdev.attempts(dva.offset, length, 0), None) if vdev.is_plain else None
        try:
            return attempt.read() if attempt is not None else b""
        except CorruptError:
            return b""

    def _from_run(self, pointer: BlockPointer, raw: bytes, start: int) -> bytes:
        at = pointer.dvas[0].offset - start
        piece = raw[at : at + pointer.psize]
        check(pointer)
        if len(piece) != pointer.psize or not self.locator.is_good(pointer, piece):
            piece = self.locator.find(pointer)
        data = self.decode(pointer, piece)
        self.arc.put(self._cache_key(pointer), data)
        return data

    def _cache_key(self, pointer: BlockPointer) -> tuple[int, ...]:
        """What one key decrypted is not for who has another, or none."""
        key = cache_key(pointer)
        return (*key, self._key_number) if pointer.encrypted else key

    def decode(self, pointer: BlockPointer, data: bytes) -> bytes:
        """The ``lsize`` bytes that were made into ``data``, which may be encrypted.

        :raises AuthenticationError: a block of an encrypted dataset that is not what was written
        :raises EncryptionKeyError: it takes a key, which was not given or is wrong
        :raises CorruptError: data that does not decompress
        """
        if not pointer.encrypted:
            if self._unlock is not None and pointer.type == ObjectType.OBJSET:
                raise AuthenticationError(f"block {pointer.describe()}: not encrypted, as the dataset is")
            return decode(pointer, data)
        try:
            if pointer.level == 0:
                return decode(pointer, self._opened(pointer, data))
            data = decode(pointer, data)
            crypt_auth.check_indirect(data, pointer.mac)
        except AuthenticationError as error:
            raise AuthenticationError(f"block {pointer.describe()}: {error.message}") from error
        return data

    def _opened(self, pointer: BlockPointer, data: bytes) -> bytes:
        if self._unlock is not None:
            return crypt_block.open_block(self._unlock(), pointer, data)
        if not crypt_block.is_readable_without_key(pointer):
            raise KeyMissingError(f"block {pointer.describe()} is encrypted")
        return data

    def copies(self, pointer: BlockPointer) -> Iterator[Copy]:
        """See :meth:`Locator.copies`."""
        return self.locator.copies(pointer)

    def read_copy(self, pointer: BlockPointer, copy: Copy) -> bytes:
        """See :meth:`Locator.read_copy`."""
        return self.locator.read_copy(pointer, copy)


def _runs(missing: Sequence[tuple[int, BlockPointer]]) -> Iterator[list[tuple[int, BlockPointer]]]:
    """Split (index, pointer)s, in order of their place on disk, where they are not neighbours."""
    ordered = sorted(missing, key=lambda item: (item[1].dvas[0].vdev, item[1].dvas[0].offset))
    run = ordered[:1]
    for (_, before), item in pairwise(ordered):
        here, start = item[1].dvas[0], run[0][1].dvas[0]
        follows = before.dvas[0].vdev == here.vdev and not here.gang and not before.dvas[0].gang
        near = 0 <= here.offset - before.dvas[0].offset <= max(before.dvas[0].asize, before.psize)
        if not (follows and near and here.offset + item[1].psize - start.offset <= _JOIN_MAX):
            yield run
            run = []
        run.append(item)
    if run:
        yield run


def cache_key(pointer: BlockPointer) -> tuple[int, int, int]:
    """What a block is cached under: its first address, and the txg that wrote it there."""
    first = pointer.dvas[0]
    return first.vdev, first.offset, pointer.physical_birth or pointer.birth


def check(pointer: BlockPointer) -> None:
    """Refuse a pointer that no OpenZFS writes, or that we cannot follow.

    :raises CorruptError: sizes that cannot be
    :raises UnsupportedError: of the other byte order
    """
    if pointer.lsize > BLOCK_MAX or pointer.psize > pointer.lsize:
        raise CorruptError(f"block {pointer.describe()}: {pointer.lsize} bytes in {pointer.psize} on disk")
    if not pointer.little_endian:
        raise UnsupportedError(f"block {pointer.describe()} is big-endian, which cannot be read yet")
    if pointer.compression == Compression.OFF and pointer.psize != pointer.lsize and not pointer.is_embedded:
        raise CorruptError(f"block {pointer.describe()}: uncompressed, yet its sizes differ")


def decode(pointer: BlockPointer, data: bytes) -> bytes:
    """The ``lsize`` bytes that were made into ``data``."""
    try:
        return compression.decompress(pointer.compression, data, pointer.lsize)
    except CorruptError as error:
        raise CorruptError(f"block {pointer.describe()}: {error.message}") from error


def _without_device(pointer: BlockPointer) -> bytes:
    if pointer.lsize > BLOCK_MAX:
        raise CorruptError(f"block {pointer.describe()} of {pointer.lsize} bytes")
    if pointer.payload is None:
        return bytes(pointer.lsize)
    if pointer.redacted:
        raise UnsupportedError(
            f"block {pointer.describe()} was redacted",
            hint="its data is only where the dataset was sent from",
        )
    check(pointer)
    return decode(pointer, pointer.payload)
