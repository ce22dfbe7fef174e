"""Object sets and objects, for reading: from an object number to its blocks.

The objects of a set are the blocks of its meta-dnode; the blocks of an object hang from up to six
levels of indirect blocks (dmu.c, dnode.c, dbuf.c). Nothing here trusts a fill count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

from unikiln.errors import CorruptError
from unikiln.zfs.format import blkptr, dnode
from unikiln.zfs.format import objset as format_objset
from unikiln.zfs.format.blkptr import BlockPointer
from unikiln.zfs.format.dmu import type_name
from unikiln.zfs.format.dnode import Dnode
from unikiln.zfs.format.objset import Objset
from unikiln.zfs.zio import BLOCK_MAX, Reader

_BATCH = 8 << 20
"""Bytes that one round of block reads asks for."""


class DmuObject:
    """One object: a dnode and the blocks under it."""

    __slots__ = ("_last", "dnode", "number", "reader")

    def __init__(self, reader: Reader, number: int, dn: Dnode) -> None:
        self.reader = reader
        self.number = number
        self.dnode = dn
        self._last: tuple[int, bytes | None] = (-1, None)
        if not 0 < dn.block_size <= BLOCK_MAX:
            raise CorruptError(f"object {number} ({type_name(dn.type)}) has blocks of {dn.block_size} bytes")

    @property
    def type(self) -> int:
        """The ``DMU_OT_*`` of its blocks."""
        return self.dnode.type

    @property
    def block_size(self) -> int:
        """Bytes in a block."""
        return self.dnode.block_size

    @property
    def blocks(self) -> int:
        """How many blocks it has, holes among them (``dn_maxblkid`` + 1, or as many as its levels hold)."""
        return min(self.dnode.max_block + 1, self._reach())

    def _reach(self) -> int:
        return len(self.dnode.pointers) << self._shift() * (self.dnode.levels - 1)

    def _shift(self) -> int:
        """Block pointers in an indirect block, as a power of two."""
        return self.dnode.indirect_shift - 7

    def block_pointer(self, number: int) -> BlockPointer | None:
        """The pointer to block ``number``; None for a hole.

        :raises CorruptError: an indirect block of the wrong level or size
        """
        if not 0 <= number < self._reach():
            return None
        if self.dnode.levels == 1:
            raw, at = self.dnode.pointers[number], 0
        else:
            above = self._leaf_indirect(number >> self._shift())
            if above is None:
                return None
            raw, at = above, blkptr.SIZE * (number & (1 << self._shift()) - 1)
        return self._decode(raw, at, 0)

    def _decode(self, raw: bytes, at: int, level: int) -> BlockPointer | None:
        pointer = blkptr.unpack(raw, at)
        if pointer.is_hole:
            return None
        expected = 1 << self.dnode.indirect_shift if level else self.block_size
        if pointer.level != level or pointer.lsize != expected:
            raise CorruptError(
                f"object {self.number}: block {pointer.describe()} of {pointer.lsize} bytes "
                f"where level {level} of {expected} bytes belongs"
            )
        return pointer

    def _leaf_indirect(self, number: int) -> bytes | None:
        """Level 1 block ``number``: block pointers of data; None for a hole. The last one is kept."""
        kept, block = self._last
        if number != kept:
            block = self._find_indirect(number)
            self._last = number, block
        return block

    def _find_indirect(self, number: int) -> bytes | None:
        shift = self._shift()
        top = self.dnode.levels - 1
        raw, at = self.dnode.pointers[number >> shift * (top - 1)], 0
        for level in range(top, 0, -1):
            pointer = self._decode(raw, at, level)
            if pointer is None:
                return None
            raw = self.reader.read(pointer)
            at = blkptr.SIZE * (number >> shift * max(level - 2, 0) & (1 << shift) - 1)
        return raw

    def read_block(self, number: int) -> bytes:
        """Block ``number``, whole; zeros for a hole.

        :raises CorruptError: it, or an indirect block above it, cannot be read
        """
        pointer = self.block_pointer(number)
        return bytes(self.block_size) if pointer is None else self.reader.read(pointer)

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``; zeros in holes and beyond the last block."""
        size = self.block_size
        first, last = offset // size, (offset + length - 1) // size
        if length <= 0:
            return b""
        if first == last:
            start = offset - first * size
            return self.read_block(first)[start : start + length]
        step = max(1, _BATCH // size)
        pieces = [self._read_blocks(n, min(n + step, last + 1)) for n in range(first, last + 1, step)]
        whole = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        start = offset - first * size
        return whole if start == 0 and len(whole) == length else whole[start : start + length]

    def _read_blocks(self, first: int, end: int) -> bytes:
        pointers = [self.block_pointer(number) for number in range(first, end)]
        found = iter(self.reader.read_many([pointer for pointer in pointers if pointer is not None]))
        hole = bytes(self.block_size)
        return b"".join(hole if pointer is None else next(found) for pointer in pointers)

    def data_blocks(self, since: int = 0) -> Iterator[int]:
        """Numbers of the blocks that are not holes, in order; whole holes are stepped over.

        So is what was born in txg ``since`` or before it, if that is not 0.
        """
        top = self.dnode.levels - 1
        for n, raw in enumerate(self.dnode.pointers):
            yield from self._data_below(raw, 0, top, n << self._shift() * top, since)

    def _data_below(self, raw: bytes, at: int, level: int, first: int, since: int) -> Iterator[int]:
        pointer = self._decode(raw, at, level) if first < self.blocks else None
        if pointer is None or pointer.birth <= since > 0:
            return
        if level == 0:
            yield first
            return
        block, span = self.reader.read(pointer), self._shift() * (level - 1)
        for i in range(1 << self._shift()):
            if block[i * blkptr.SIZE : (i + 1) * blkptr.SIZE] != blkptr.HOLE:
                yield from self._data_below(block, blkptr.SIZE * i, level - 1, first + (i << span), since)


class ObjectSet:
    """A set of objects: the meta object set, a file system, a snapshot or a volume."""

    def __init__(self, reader: Reader, pointer: BlockPointer, name: str) -> None:
        self.reader = reader
        self.pointer = pointer
        self.name = name
        self._last = (-1, b"")

    @cached_property
    def head(self) -> Objset:
        """The decoded ``objset_phys_t``.

        :raises CorruptError: it cannot be read
        """
        if self.pointer.is_hole:
            raise CorruptError(f"{self.name}: has no object set")
        return format_objset.unpack(self.reader.read(self.pointer))

    @cached_property
    def meta(self) -> DmuObject:
        """The meta-dnode, as an object whose blocks are arrays of dnodes."""
        meta = DmuObject(self.reader, 0, self.head.meta_dnode)
        if meta.block_size % dnode.SIZE:
            raise CorruptError(f"{self.name}: its dnodes are in blocks of {meta.block_size} bytes")
        return meta

    @property
    def type(self) -> int:
        """What it makes up (:class:`~unikiln.zfs.format.objset.ObjsetType`)."""
        return self.head.type

    def dnode(self, number: int) -> Dnode:
        """The dnode of object ``number``.

        :raises CorruptError: there is no such object, or it makes no sense
        """
        size = self.meta.block_size
        block_id, at = divmod(number * dnode.SIZE, size)
        if number <= 0 or block_id >= self.meta.blocks:
            raise CorruptError(f"{self.name}: there is no object {number}")
        kept_id, block = self._last
        if block_id != kept_id:
            block = self.meta.read_block(block_id)
            self._last = block_id, block
        if not block[at]:
            raise CorruptError(f"{self.name}: object {number} is not allocated")
        return dnode.unpack(block, at)

    def object(self, number: int) -> DmuObject:
        """Object ``number``.

        :raises CorruptError: there is no such object, or it makes no sense
        """
        return DmuObject(self.reader, number, self.dnode(number))

    def dnodes(self) -> Iterator[tuple[int, Dnode]]:
        """(number, dnode) of every object that is allocated, in order."""
        per_block = self.meta.block_size // dnode.SIZE
        for block_id in self.meta.data_blocks():
            yield from dnodes_of(self.meta.read_block(block_id), block_id * per_block)

    def special(self) -> Sequence[DmuObject]:
        """The objects that lie in the head itself: those that count users and groups."""
        return [DmuObject(self.reader, -1, each) for each in self.head.accounting]


def dnodes_of(block: bytes, first: int) -> Iterator[tuple[int, Dnode]]:
    """(number, dnode) of every allocated object in a block of the meta-dnode that starts with ``first``."""
    slot, count = 0, len(block) // dnode.SIZE
    while slot < count:
        slots = 1
        if block[slot * dnode.SIZE]:
            found = dnode.unpack(block, slot * dnode.SIZE)
            slots = found.slots
            yield first + slot, found
        slot += slots
