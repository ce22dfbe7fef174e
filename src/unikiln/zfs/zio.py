"""The read pipeline: from a block pointer to the data, verified.

Locate each copy, read it, check it against the pointer's checksum, take the next copy if it is
bad, decompress (module/zfs/zio.c). Verified data is kept in the ARC.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy as shallow_copy
from itertools import pairwise
from typing import NamedTuple, Self

from unikiln.errors import AuthenticationError, ChecksumError, CorruptError, KeyMissingError, UnsupportedError
from unikiln.zfs.arc import Arc
from unikiln.zfs.codec import checksum, compression, crypt_auth, crypt_block
from unikiln.zfs.codec.crypt import MasterKey
from unikiln.zfs.format import blkptr
from unikiln.zfs.format.blkptr import BlockPointer, Compression, Dva
from unikiln.zfs.format.dmu import ObjectType
from unikiln.zfs.format.label import MAGIC as TRAILER_MAGIC
from unikiln.zfs.vdev.leaf import Leaf
from unikiln.zfs.vdev.top import TopVdev

BLOCK_MAX = 16 << 20
"""Largest block there can be (``SPA_MAXBLOCKSIZE``)."""
GANG_HEADER = 512
_GANG_CHILDREN = 3
_GANG_DEPTH = 8
_JOIN_MAX = 1 << 20
"""Neighbours are read together up to this many bytes."""
_THREADS = 4
_FEW = 3
"""So few blocks are read without the help of threads."""
_ZILOG_TRAILER = 40


class Copy(NamedTuple):
    """One place that holds all of a block; ``dva`` is the address it stands for."""

    leaf: Leaf
    offset: int
    dva: Dva


class Reader:
    """Reads blocks of a pool from its top-level vdevs, through its cache; thread-safe."""

    def __init__(self, vdevs: Mapping[int, TopVdev], arc: Arc) -> None:
        self.vdevs = vdevs
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
            data = self.decode(pointer, self._read_any(pointer))
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
        """What the first copy holds, or nothing if it cannot be read."""
        for leaf, offset in self._top(dva).copies(dva.offset, length):
            try:
                return leaf.read(offset, length)
            except CorruptError:
                break
        return b""

    def _from_run(self, pointer: BlockPointer, raw: bytes, start: int) -> bytes:
        at = pointer.dvas[0].offset - start
        piece = raw[at : at + pointer.psize]
        check(pointer)
        if len(piece) != pointer.psize or not is_good(pointer, piece):
            piece = self._read_any(pointer)
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

    def _read_any(self, pointer: BlockPointer) -> bytes:
        """The ``psize`` bytes on disk, from the first copy that is good."""
        check(pointer)
        problem: CorruptError | None = None
        for copy in self.copies(pointer):
            try:
                data = self.read_copy(pointer, copy)
            except CorruptError as error:
                problem = error
                continue
            if is_good(pointer, data):
                return data
        raise ChecksumError(
            f"block {pointer.describe()}: no copy of {len(pointer.dvas)} has its checksum",
            hint=_reason(problem),
        )

    def _top(self, dva: Dva) -> TopVdev:
        top = self.vdevs.get(dva.vdev)
        if top is None:
            raise CorruptError(f"a block lies on vdev {dva.vdev}, which is not there")
        return top

    def copies(self, pointer: BlockPointer) -> Iterator[Copy]:
        """Every place that holds the block: each DVA, on each side of a mirror."""
        for dva in pointer.dvas:
            for leaf, offset in self._top(dva).copies(dva.offset, pointer.psize):
                yield Copy(leaf, offset, dva)

    def read_copy(self, pointer: BlockPointer, copy: Copy, depth: int = 0) -> bytes:
        """The ``psize`` bytes of one copy, not yet verified (but a gang's members are).

        :raises CorruptError: it cannot be read
        """
        if not copy.dva.gang:
            return copy.leaf.read(copy.offset, pointer.psize)
        if depth > _GANG_DEPTH:
            raise CorruptError(f"block {pointer.describe()}: gangs nested too deep")
        pieces = [self._read_member(member, depth + 1) for member in self.gang_members(pointer, copy)]
        data = b"".join(pieces)
        if len(data) < pointer.psize:
            raise CorruptError(
                f"block {pointer.describe()}: its gang has {len(data)} of {pointer.psize} bytes"
            )
        return data[: pointer.psize]

    def gang_members(self, pointer: BlockPointer, copy: Copy) -> list[BlockPointer]:
        """The block pointers in the header of a gang (``zio_gbh_phys_t``).

        :raises CorruptError: the header is damaged
        """
        header = copy.leaf.read(copy.offset, GANG_HEADER)
        birth = pointer.physical_birth or pointer.birth
        first = pointer.dvas[0]
        body, magic = header[:-32], header[-40:-32]
        seed = struct.pack("<4Q", first.vdev, first.offset, birth, 0)
        stated = struct.unpack("<4Q", header[-32:])
        if magic != struct.pack("<Q", TRAILER_MAGIC) or checksum.sha256(body + seed) != stated:
            raise CorruptError(
                f"block {pointer.describe()}: the gang header at {copy.dva} fails its checksum"
            )
        members = [blkptr.unpack(header, blkptr.SIZE * i) for i in range(_GANG_CHILDREN)]
        return [member for member in members if not member.is_hole]

    def _read_member(self, member: BlockPointer, depth: int) -> bytes:
        check(member)
        for copy in self.copies(member):
            data = self.read_copy(member, copy, depth)
            if is_good(member, data):
                return data
        raise CorruptError(f"gang member {member.describe()} has no good copy")


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


def is_good(pointer: BlockPointer, data: bytes) -> bool:
    """Whether ``data``, as it is on disk, has the checksum in its pointer."""
    kind = pointer.checksum_type
    if not checksum.is_verifiable(kind):
        return True
    words = checksum.checksum(kind, data)
    if pointer.encrypted and pointer.type != ObjectType.OBJSET:
        return crypt_block.truncated(kind, words) == pointer.checksum[:2]
    return words == pointer.checksum


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
    check(pointer)
    return decode(pointer, pointer.payload)


def _reason(problem: CorruptError | None) -> str | None:
    return None if problem is None else problem.message
