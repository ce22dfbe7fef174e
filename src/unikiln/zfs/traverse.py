"""Walk every block that a pool refers to: once each, from the uberblock down (dmu_traverse.c).

A snapshot shares blocks with the one before it; those that were born before that one was taken are
below it already, and are left out. What is damaged is reported, and the walk goes on beside it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import numpy as np

from unikiln.errors import CorruptError
from unikiln.zfs import zil
from unikiln.zfs.format import blkptr
from unikiln.zfs.format.blkptr import BlockPointer
from unikiln.zfs.format.dmu import ObjectType
from unikiln.zfs.format.dnode import Dnode
from unikiln.zfs.format.dsl import Bpobj
from unikiln.zfs.objset import DmuObject, ObjectSet, dnodes_of
from unikiln.zfs.pool import Pool

Report = Callable[[str], None]
_BPOBJ_BATCH = 8192
_SUBOBJ_DEPTH = 1 << 16


class Walk:
    """A walk over a pool; ``objects`` counts what was passed."""

    def __init__(self, pool: Pool, report: Report) -> None:
        self.pool = pool
        self.reader = pool.reader
        self.report = report
        self.objects = 0
        self._deflate = bool(pool.directory.get(b"deflate"))

    def everything(self) -> Iterator[BlockPointer]:
        """The blocks of the meta object set, then of every dataset and snapshot.

        Holes and embedded blocks, which take no space, are left out.
        """
        mos = self.pool.mos
        yield from self.object_set(mos, 0)
        names = self._names()
        for number, dn in self._guarded(mos):
            if dn.bonus_type == ObjectType.DSL_DATASET:
                phys = self.pool.dsl.dataset(number)
                name = names.get(number, f"dataset {number}")
                objset = ObjectSet(self.reader, blkptr.unpack(phys.bp), name)
                yield from self.object_set(objset, phys.prev_snap_txg, is_head=phys.num_children == 0)

    def _names(self) -> dict[int, str]:
        """Names of datasets and snapshots, hidden ones too, by object number."""
        found: dict[int, str] = {}
        dsl = self.pool.dsl
        for each in dsl.directories(hidden=True):
            head = each.phys.head_dataset_obj
            if head:
                found[head] = each.name
                found.update(
                    (n, f"{each.name}@{os.fsdecode(name)}") for name, n in dsl.snapshots(dsl.dataset(head))
                )
        return found

    def _guarded(self, objset: ObjectSet) -> Iterator[tuple[int, Dnode]]:
        try:
            yield from objset.dnodes()
        except CorruptError as error:
            self.report(f"{objset.name}: {error.message}")

    def object_set(self, objset: ObjectSet, since: int, *, is_head: bool = True) -> Iterator[BlockPointer]:
        """The blocks of an object set that were born after txg ``since``.

        What a snapshot says about an intent log is a memory of its head's.
        """
        pointer = objset.pointer
        if pointer.is_hole:
            return
        try:
            head, meta = objset.head, objset.meta
        except CorruptError as error:
            self.report(f"{objset.name}: {error.message}")
            return
        if is_head:
            yield from zil.log_blocks(self.reader, head.zil_header, self.pool.txg)
        if pointer.birth <= since:
            return
        yield pointer
        for dn in (head.meta_dnode, *head.accounting):
            yield from self.dnode(objset.name, 0, dn, since)
        for number, dn in self._dnodes(objset.name, meta, since):
            self.objects += 1
            yield from self.dnode(objset.name, number, dn, since)

    def _dnodes(self, name: str, meta: DmuObject, since: int) -> Iterator[tuple[int, Dnode]]:
        """The objects in those blocks of the meta-dnode that are newer than ``since``."""
        per_block = meta.block_size >> 9
        try:
            for block_id in meta.data_blocks(since):
                try:
                    yield from dnodes_of(meta.read_block(block_id), block_id * per_block)
                except CorruptError as error:
                    self.report(f"{name}: objects from {block_id * per_block}: {error.message}")
        except CorruptError as error:
            self.report(f"{name}: {error.message}")

    def dnode(self, name: str, number: int, dn: Dnode, since: int) -> Iterator[BlockPointer]:
        """The blocks under one dnode, its spill block too; what it says it uses is checked against them."""
        used, complete = 0, True
        roots = [*dn.pointers, *([dn.spill] if dn.spill else [])]
        stack = [(raw, dn.levels - 1 if index < len(dn.pointers) else 0) for index, raw in enumerate(roots)]
        while stack:
            raw, level = stack.pop()
            try:
                pointer = blkptr.unpack(raw)
                if pointer.is_hole or pointer.is_embedded:
                    continue
                if pointer.birth <= since:
                    complete = False
                    continue
                used += self._counted(pointer)
                yield pointer
                if level:
                    stack += self._below(pointer, level)
            except CorruptError as error:
                complete = False
                self.report(f"{name}: object {number}: {error.message}")
        if complete and used != dn.used:
            self.report(f"{name}: object {number} says it uses {dn.used} bytes, its blocks take {used}")

    def _counted(self, pointer: BlockPointer) -> int:
        """Bytes that a block counts as in what is used (``bp_get_dsize``)."""
        if not self._deflate:
            return pointer.asize
        return sum(self.reader.locator.top(dva).deflated(dva.asize) for dva in pointer.dvas)

    def _below(self, pointer: BlockPointer, level: int) -> list[tuple[bytes, int]]:
        """(packed pointer, level) of what is not a hole in an indirect block."""
        if pointer.level != level:
            raise CorruptError(f"block {pointer.describe()} where level {level} belongs")
        data = self.reader.read(pointer)
        words = np.frombuffer(data, dtype="<u8").reshape(-1, 16)
        present = np.flatnonzero(
            words[:, :6].any(axis=1) | (words[:, 6] >> np.uint64(39) & np.uint64(1)).astype(bool)
        )
        return [(data[i * blkptr.SIZE : (i + 1) * blkptr.SIZE], level - 1) for i in present.tolist()[::-1]]

    def pending_frees(self) -> Iterator[BlockPointer]:
        """Blocks that nothing refers to any more, still allocated until a later txg frees them."""
        for name in (b"sync_bplist", b"free_bpobj"):
            number = self.pool.directory.get(name)
            if number:
                yield from self._bpobj(number)

    def _bpobj(self, first: int) -> Iterator[BlockPointer]:
        seen: set[int] = set()
        stack = [first]
        mos = self.pool.mos
        while stack and len(seen) < _SUBOBJ_DEPTH:
            number = stack.pop()
            if number in seen:
                continue
            seen.add(number)
            obj = mos.object(number)
            head = Bpobj.unpack(obj.dnode.bonus)
            yield from _pointers(obj, head.num_blkptrs)
            if head.subobjs:
                raw = _read_whole(mos.object(head.subobjs), 8 * head.num_subobjs)
                stack += np.frombuffer(raw, dtype="<u8").tolist()


def _pointers(obj: DmuObject, count: int) -> Iterator[BlockPointer]:
    for start in range(0, count, _BPOBJ_BATCH):
        wanted = min(_BPOBJ_BATCH, count - start)
        raw = _read_whole(obj, blkptr.SIZE * wanted, blkptr.SIZE * start)
        pointers = (blkptr.unpack(raw, at) for at in range(0, len(raw), blkptr.SIZE))
        yield from (each for each in pointers if not each.is_hole and not each.is_embedded)


def _read_whole(obj: DmuObject, length: int, start: int = 0) -> bytes:
    if start + length > obj.blocks * obj.block_size:
        raise CorruptError(f"object {obj.number} claims {start + length} bytes and ends before them")
    return obj.read(start, length)
