"""One dataset of a pool: what is in it (files or blocks), and what is known of it (properties, holds).

A snapshot is a dataset too, ``pool/name@snapshot``; what it has no place for is its head's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import PurePosixPath

from unikiln.errors import PoolNotFoundError, UnsupportedError
from unikiln.zfs.dsl import Datasets
from unikiln.zfs.filesystem import FileSystem
from unikiln.zfs.format import blkptr
from unikiln.zfs.format.dsl import DslDataset, DslDir
from unikiln.zfs.format.objset import ObjsetType
from unikiln.zfs.format.zil import Record
from unikiln.zfs.kin import origin_of
from unikiln.zfs.objset import ObjectSet
from unikiln.zfs.path import ZfsPath
from unikiln.zfs.records import (
    Bookmark,
    Delegation,
    SpaceUse,
    read_bookmarks,
    read_delegations,
    read_holds,
    read_space,
)
from unikiln.zfs.replay import ReplayedFileSystem, replay_volume
from unikiln.zfs.settings import Property, effective
from unikiln.zfs.statistics import statistics
from unikiln.zfs.volume import Volume
from unikiln.zfs.zil import log_records

_SNAPSHOTS = (".zfs", "snapshot")
_KINDS = {ObjsetType.ZFS: "filesystem", ObjsetType.ZVOL: "volume"}


class Dataset:
    """A file system, a volume or a snapshot of either; ``object`` is its number in the meta object set.

    ``txg`` is the pool's when its intent log is to be replayed, else None.
    """

    def __init__(self, datasets: Datasets, name: str, object: int, txg: int | None) -> None:
        self._datasets = datasets
        self.name = name
        self.object = object
        self._txg = txg

    def __repr__(self) -> str:
        return f"<Dataset {self.name}>"

    @cached_property
    def phys(self) -> DslDataset:
        """Its record in the meta object set."""
        return self._datasets.dataset(self.object)

    @cached_property
    def directory(self) -> DslDir:
        """The record of its name: properties, quotas and space of it and all below."""
        return self._datasets.directory(self.phys.dir_obj)

    @cached_property
    def objset(self) -> ObjectSet:
        """Its objects."""
        return self._datasets.object_set(self.object, self.name)

    @property
    def is_snapshot(self) -> bool:
        """Whether it is a snapshot."""
        return "@" in self.name

    @cached_property
    def kind(self) -> str:
        """What it holds: ``filesystem`` or ``volume``, of a snapshot too."""
        plain = ObjectSet(self._datasets.mos.reader, blkptr.unpack(self.phys.bp), self.name)
        return _KINDS.get(ObjsetType(plain.type), "other")

    @property
    def type(self) -> str:
        """``filesystem``, ``volume`` or ``snapshot``."""
        return "snapshot" if self.is_snapshot else self.kind

    @property
    def encryption_root(self) -> str:
        """The dataset whose key is needed to read this one; empty if it is not encrypted."""
        return self._datasets.keys.root_of(self.phys.dir_obj)

    @property
    def key_status(self) -> str:
        """``available`` or ``unavailable``; empty if it is not encrypted."""
        return self._datasets.keys.status(self.phys.dir_obj)

    @cached_property
    def filesystem(self) -> FileSystem:
        """Its files, with what the intent log says of them.

        :raises UnsupportedError: not a file system
        """
        self._require("filesystem")
        if not self._has_log:
            return FileSystem(self.objset)
        return ReplayedFileSystem(self.objset, self._records())

    @cached_property
    def volume(self) -> Volume:
        """Its blocks, as a device that can be read, with what the intent log says of them.

        :raises UnsupportedError: not a volume
        """
        self._require("volume")
        return Volume(self.objset, replay_volume(self.objset, self._records()) if self._has_log else None)

    def _require(self, kind: str) -> None:
        if self.kind != kind:
            raise UnsupportedError(f"{self.name} is no {kind}: it is a {self.kind}")

    @property
    def _has_log(self) -> bool:
        return not self.is_snapshot and self._txg is not None and any(self.objset.head.zil_header)

    def _records(self) -> Iterator[Record]:
        return log_records(self.objset.reader, self.objset.head.zil_header, self._txg or 0)

    def path(self, path: str | os.PathLike[str] = "/") -> ZfsPath:
        """The path object for ``path``, which starts at the root; nothing of it is looked up yet.

        One below ``/.zfs/snapshot/NAME`` is in that snapshot.

        :raises PoolNotFoundError: there is no such snapshot
        """
        _, *parts = PurePosixPath("/", path).parts
        if tuple(parts[:2]) == _SNAPSHOTS and len(parts) > len(_SNAPSHOTS):
            return self.snapshot(parts[2]).path("/".join(parts[3:]))
        return ZfsPath(self.filesystem, path)

    @cached_property
    def properties(self) -> dict[str, Property]:
        """Properties as ``zfs get -p all`` shows them: counted, set, received, inherited or default."""
        found = effective(self._datasets, self)
        found.update(statistics(self._datasets, self))
        return dict(sorted(found.items()))

    def snapshots(self) -> list[Dataset]:
        """Its snapshots, oldest first."""
        if self.is_snapshot:
            return []
        return [
            Dataset(self._datasets, f"{self.name}@{os.fsdecode(name)}", number, None)
            for name, number in self._datasets.snapshots(self.phys)
        ]

    def snapshot(self, name: str) -> Dataset:
        """The snapshot ``name`` of it.

        :raises PoolNotFoundError: there is none
        """
        for each in self.snapshots():
            if each.name == f"{self.name}@{name}":
                return each
        raise PoolNotFoundError(f"{self.name} has no snapshot {name}")

    @property
    def origin(self) -> str | None:
        """The snapshot that it is a clone of."""
        return None if self.is_snapshot else origin_of(self._datasets, self.directory.origin_obj)

    def bookmarks(self) -> dict[str, Bookmark]:
        """Its bookmarks by name, without ``dataset#``."""
        return {} if self.is_snapshot else read_bookmarks(self._datasets, self.object)

    def holds(self) -> dict[str, int]:
        """What keeps a snapshot from being destroyed: tags, and when each was set (seconds since 1970)."""
        return read_holds(self._datasets, self.phys)

    def space(self) -> list[SpaceUse]:
        """What each user, group and project uses of a file system, and may."""
        return read_space(self.filesystem) if self.kind == "filesystem" else []

    def delegations(self) -> list[Delegation]:
        """Who may do what with it (``zfs allow``)."""
        return read_delegations(self._datasets, self.directory)
