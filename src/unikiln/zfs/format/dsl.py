"""Records of the dataset and snapshot layer, all of them bonus buffers of objects in the MOS."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar, Self

from unikiln.errors import CorruptError
from unikiln.zfs.format import blkptr
from unikiln.zfs.format.words import Words

DD_FLAG_USED_BREAKDOWN = 1
DS_FLAG_INCONSISTENT = 1
DS_FLAG_UNIQUE_ACCURATE = 4


@dataclass(slots=True)
class DslDir(Words):
    """``dsl_dir_phys_t`` (sys/dsl_dir.h): a name in the tree of datasets, its properties and space."""

    SIZE: ClassVar[int] = 256

    creation_time: int = 0
    head_dataset_obj: int = 0
    parent_obj: int = 0
    origin_obj: int = 0
    child_dir_zapobj: int = 0
    used_bytes: int = 0
    compressed_bytes: int = 0
    uncompressed_bytes: int = 0
    quota: int = 0
    reserved: int = 0
    props_zapobj: int = 0
    deleg_zapobj: int = 0
    flags: int = DD_FLAG_USED_BREAKDOWN
    used_head: int = 0
    used_snap: int = 0
    used_child: int = 0
    used_child_reserved: int = 0
    used_refreservation: int = 0
    clones: int = 0


@dataclass(slots=True)
class DslDataset:
    """``dsl_dataset_phys_t`` (sys/dsl_dataset.h): a head or a snapshot; ``bp`` is its object set, packed."""

    SIZE: ClassVar[int] = 320
    _HEAD: ClassVar[struct.Struct] = struct.Struct("<16Q")
    _TAIL: ClassVar[struct.Struct] = struct.Struct("<3Q40x")

    dir_obj: int = 0
    prev_snap_obj: int = 0
    prev_snap_txg: int = 0
    next_snap_obj: int = 0
    snapnames_zapobj: int = 0
    num_children: int = 0
    creation_time: int = 0
    creation_txg: int = 0
    deadlist_obj: int = 0
    referenced_bytes: int = 0
    compressed_bytes: int = 0
    uncompressed_bytes: int = 0
    unique_bytes: int = 0
    fsid_guid: int = 0
    guid: int = 0
    flags: int = DS_FLAG_UNIQUE_ACCURATE
    bp: bytes = blkptr.HOLE
    next_clones_obj: int = 0
    props_obj: int = 0
    userrefs_obj: int = 0

    def pack(self) -> bytes:
        """The 320 bytes of the bonus."""
        head = self._HEAD.pack(
            self.dir_obj, self.prev_snap_obj, self.prev_snap_txg, self.next_snap_obj,
            self.snapnames_zapobj, self.num_children, self.creation_time, self.creation_txg,
            self.deadlist_obj, self.referenced_bytes, self.compressed_bytes, self.uncompressed_bytes,
            self.unique_bytes, self.fsid_guid, self.guid, self.flags,
        )  # fmt: skip
        return head + self.bp + self._TAIL.pack(self.next_clones_obj, self.props_obj, self.userrefs_obj)

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """The dataset in a bonus buffer.

        :raises CorruptError: too short
        """
        if len(data) < cls.SIZE:
            raise CorruptError(f"a DSL dataset of {len(data)} bytes")
        start = cls._HEAD.size
        words = cls._HEAD.unpack_from(data)
        tail = cls._TAIL.unpack_from(data, start + blkptr.SIZE)
        members = [*words, data[start : start + blkptr.SIZE], *tail]
        return cls(*members)


@dataclass(slots=True)
class Bpobj(Words):
    """``bpobj_phys_t`` (sys/bpobj.h): an array of block pointers to be freed."""

    SIZE: ClassVar[int] = 48

    num_blkptrs: int = 0
    bytes: int = 0
    comp: int = 0
    uncomp: int = 0
    subobjs: int = 0
    num_subobjs: int = 0


@dataclass(slots=True)
class Deadlist(Words):
    """``dsl_deadlist_phys_t`` (sys/dsl_deadlist.h): what the last snapshot has and the head has not."""

    SIZE: ClassVar[int] = 320

    used: int = 0
    comp: int = 0
    uncomp: int = 0
