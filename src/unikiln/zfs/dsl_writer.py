"""Datasets: their directories, origins, properties and space, as ``dsl_pool_create`` leaves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from unikiln.zfs.block_writer import Usage
from unikiln.zfs.format.blkptr import HOLE
from unikiln.zfs.format.dmu import ZAP_METADATA, ObjectType
from unikiln.zfs.format.dsl import Bpobj, Deadlist, DslDataset, DslDir
from unikiln.zfs.mos_writer import MosWriter

TOUPPER = 2
"""``U8_TEXTPREP_TOUPPER``: names of snapshots are matched without regard to case."""
INITIAL_TXG = 1
_BPOBJ_BLOCK = 128 << 10


@dataclass(slots=True)
class FileSystemPlan:
    """A dataset to be made: its name's last component, its object set, its space, its children."""

    name: str
    pointer: bytes = HOLE
    usage: Usage = field(default_factory=Usage)
    properties: Mapping[str, int | str] = field(default_factory=dict)
    features: Sequence[str] = ()
    children: list[FileSystemPlan] = field(default_factory=list)


@dataclass(slots=True)
class _Directory:
    number: int
    record: DslDir
    usage: Usage = field(default_factory=Usage)
    children: list[_Directory] = field(default_factory=list)


class DslWriter:
    """Writes the tree of datasets into the meta object set; directories come last, with their totals."""

    def __init__(self, mos: MosWriter, random: Random, time: int) -> None:
        self._mos = mos
        self._random = random
        self._time = time
        self._clones: list[int] = []
        self._root: _Directory | None = None
        self._mos_dir: _Directory | None = None
        self._origin_snapshot = 0

    def write(self, root: FileSystemPlan) -> dict[bytes, int]:
        """Write all that does not depend on totals; gives the entries of the object directory."""
        number = self._mos.number()
        mos_dir = self._directory(number, {}, [])
        free = self._directory(number, {}, [])
        origin = self._origin(number)
        self._mos_dir = mos_dir
        special = {"$MOS": mos_dir, "$FREE": free, "$ORIGIN": origin}
        self._root = self._file_system(root, 0, number, special)
        self._finish_origin(origin)
        return {b"root_dataset": number, b"free_bpobj": self.bpobj(_BPOBJ_BLOCK)}

    def bpobj(self, block_size: int) -> int:
        """An empty list of block pointers to free; gives its number."""
        return self._mos.add(
            ObjectType.BPOBJ, block_size=block_size, bonus_type=ObjectType.BPOBJ_HDR, bonus=Bpobj().pack()
        )

    def _directory(
        self,
        parent: int,
        properties: Mapping[str, int | str],
        children: Sequence[tuple[str, _Directory]],
        number: int = 0,
    ) -> _Directory:
        names = {name.encode(): child.number for name, child in children}
        record = DslDir(
            creation_time=self._time,
            parent_obj=parent,
            props_zapobj=self._properties(properties),
            child_dir_zapobj=self._mos.add_zap(ObjectType.DSL_DIR_CHILD_MAP, names),
        )
        return _Directory(number or self._mos.number(), record, children=[child for _, child in children])

    def _properties(self, properties: Mapping[str, int | str]) -> int:
        words = {name.encode(): value for name, value in properties.items() if isinstance(value, int)}
        if len(words) == len(properties):
            return self._mos.add_zap(ObjectType.DSL_PROPS, words)
        named = {name.encode(): value for name, value in properties.items()}
        return self._mos.add_values(ObjectType.DSL_PROPS, named)

    def _file_system(
        self, plan: FileSystemPlan, parent: int, number: int, special: Mapping[str, _Directory]
    ) -> _Directory:
        numbers = [self._mos.number() for _ in plan.children]
        made = [
            self._file_system(child, number, n, {}) for child, n in zip(plan.children, numbers, strict=True)
        ]
        names = [
            *special.items(),
            *((child.name, each) for child, each in zip(plan.children, made, strict=True)),
        ]
        directory = self._directory(parent, plan.properties, names, number)
        head = self._head(directory, plan)
        directory.record.head_dataset_obj = head
        directory.record.origin_obj = self._origin_snapshot
        directory.usage = plan.usage
        self._clones.append(head)
        return directory

    def _head(self, directory: _Directory, plan: FileSystemPlan) -> int:
        number = self._mos.number()
        record = self._dataset(directory.number)
        record.prev_snap_obj, record.prev_snap_txg = self._origin_snapshot, INITIAL_TXG
        record.snapnames_zapobj = self._snapshot_names({})
        record.deadlist_obj = self._deadlist({b"0": self.bpobj(_BPOBJ_BLOCK)})
        record.bp = plan.pointer
        usage = plan.usage
        record.referenced_bytes = record.unique_bytes = usage.used
        record.compressed_bytes, record.uncompressed_bytes = usage.compressed, usage.uncompressed
        return self._put_dataset(record, number, plan.features)

    def _put_dataset(self, record: DslDataset, number: int, features: Sequence[str] = ()) -> int:
        """The dataset's object; features that it uses are named in a ZAP in it (``dsl_dataset_zapify``)."""
        bonus = record.pack()
        if not features:
            return self._mos.add(
                ObjectType.DSL_DATASET, number=number, bonus_type=ObjectType.DSL_DATASET, bonus=bonus
            )
        block = self._mos.micro_zap({name.encode(): 0 for name in features})
        return self._mos.add(
            ZAP_METADATA, [block], number=number, bonus_type=ObjectType.DSL_DATASET, bonus=bonus
        )

    def _dataset(self, directory: int) -> DslDataset:
        return DslDataset(
            dir_obj=directory,
            creation_time=self._time,
            creation_txg=INITIAL_TXG,
            fsid_guid=self._random.getrandbits(56),
            guid=self._random.getrandbits(64),
        )

    def _snapshot_names(self, names: Mapping[bytes, int]) -> int:
        return self._mos.add_zap(ObjectType.DSL_DS_SNAP_MAP, names, normalization=TOUPPER)

    def _deadlist(self, entries: Mapping[bytes, int]) -> int:
        block = self._mos.micro_zap(entries)
        return self._mos.add(
            ObjectType.DEADLIST, [block], bonus_type=ObjectType.DEADLIST_HDR, bonus=Deadlist().pack()
        )

    def _origin(self, parent: int) -> _Directory:
        """``$ORIGIN``: an empty dataset whose snapshot every file system is a clone of."""
        directory = self._directory(parent, {}, [])
        head_number, self._origin_snapshot = self._mos.number(), self._mos.number()
        head = self._dataset(directory.number)
        head.prev_snap_obj, head.prev_snap_txg = self._origin_snapshot, INITIAL_TXG
        head.snapnames_zapobj = self._snapshot_names({b"$ORIGIN": self._origin_snapshot})
        head.deadlist_obj = self._deadlist({b"0": self.bpobj(_BPOBJ_BLOCK)})
        directory.record.head_dataset_obj = self._put_dataset(head, head_number)
        return directory

    def _finish_origin(self, origin: _Directory) -> None:
        snapshot = self._dataset(origin.number)
        snapshot.next_snap_obj = origin.record.head_dataset_obj
        snapshot.num_children = 1 + len(self._clones)
        snapshot.deadlist_obj = self._deadlist({})
        snapshot.next_clones_obj = self._mos.add_integers(ObjectType.NEXT_CLONES, self._clones)
        self._put_dataset(snapshot, self._origin_snapshot)
        origin.record.clones = self._mos.add_integers(ObjectType.DSL_CLONES, self._clones)

    def finish(self) -> None:
        """Write the directories, when the meta object set's own space is final."""
        if self._root is None or self._mos_dir is None:
            raise ValueError("finish() comes after write()")
        self._mos_dir.usage = self._mos.context.usage
        self._finish(self._root)

    def _finish(self, directory: _Directory) -> Usage:
        total, below = Usage(), Usage()
        total.add(directory.usage)
        for child in directory.children:
            below.add(self._finish(child))
        total.add(below)
        record = directory.record
        record.used_head, record.used_child = directory.usage.used, below.used
        record.used_bytes, record.compressed_bytes = total.used, total.compressed
        record.uncompressed_bytes = total.uncompressed
        self._mos.add(
            ObjectType.DSL_DIR, number=directory.number, bonus_type=ObjectType.DSL_DIR, bonus=record.pack()
        )
        return total
