"""Datasets, for reading: the tree of names in the meta object set, snapshots and properties.

A DSL directory is a name with properties, children and space; its head is a DSL dataset, and from
that one's predecessors hang the snapshots (dsl_dir.c, dsl_dataset.c).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from unikiln.errors import CorruptError, PoolNotFoundError
from unikiln.zfs.format import blkptr
from unikiln.zfs.format.dmu import ObjectType
from unikiln.zfs.format.dsl import DslDataset, DslDir
from unikiln.zfs.format.objset import ObjsetType
from unikiln.zfs.keys import Keys, Keystore
from unikiln.zfs.objset import ObjectSet
from unikiln.zfs.properties import decode_properties
from unikiln.zfs.zap import Zap, read_zap

_MAX_DEPTH = 64
_TYPES = {ObjsetType.ZFS: "filesystem", ObjsetType.ZVOL: "volume"}


@dataclass(slots=True)
class DatasetInfo:
    """A file system, volume or snapshot; sizes in bytes, ``creation`` in seconds since 1970.

    ``object`` is its number in the meta object set (``objsetid``); ``properties`` are those set here:
    (value in users' words, ``local`` or ``received``) by name. ``key_status`` is ``available`` or
    ``unavailable``; it and ``encryption_root`` are empty if nothing is encrypted.
    """

    name: str
    type: str
    object: int
    used: int
    referenced: int
    available: int
    creation: int
    properties: dict[str, tuple[str, str]] = field(default_factory=dict)
    encryption: str = "off"
    encryption_root: str = ""
    key_status: str = ""


@dataclass(slots=True)
class Directory:
    """A DSL directory in the tree; ``available`` bytes may still be written below it."""

    name: str
    number: int
    phys: DslDir
    available: int


class Datasets:
    """The datasets of a pool, read from its meta object set."""

    def __init__(self, mos: ObjectSet, root: int, pool_name: str, space: int, key: Keys = None) -> None:
        self.mos = mos
        self.keys = Keystore(mos, self._names_by_number, key)
        self._root = root
        self.pool_name = pool_name
        self._space = space

    def directories(self, *, hidden: bool = False) -> Iterator[Directory]:
        """Every DSL directory, parents first, children by name; ``$MOS`` and its kind when ``hidden``.

        :raises CorruptError: a directory is its own ancestor, or the tree is too deep
        """
        seen: set[int] = set()
        stack = [(self.pool_name, self._root, self._space, 0)]
        while stack:
            name, number, above, depth = stack.pop()
            if number in seen or depth > _MAX_DEPTH:
                raise CorruptError(f"dataset {name}: DSL directory {number} occurs twice in the tree")
            seen.add(number)
            phys = self.directory(number)
            here = Directory(name, number, phys, _available(phys, above))
            yield here
            children = read_zap(self.mos, phys.child_dir_zapobj) if phys.child_dir_zapobj else {}
            below = sorted(children.items(), reverse=True)
            if not hidden:
                below = [child for child in below if not child[0].startswith((b"$", b"%"))]
            stack += [(f"{name}/{os.fsdecode(child)}", n, here.available, depth + 1) for child, n in below]

    def _names_by_number(self) -> dict[int, str]:
        return {each.number: each.name for each in self.directories()}

    def directory(self, number: int) -> DslDir:
        """The DSL directory that is object ``number``."""
        dn = self.mos.dnode(number)
        if dn.bonus_type != ObjectType.DSL_DIR:
            raise CorruptError(f"object {number} is not a DSL directory")
        return DslDir.unpack(dn.bonus)

    def dataset(self, number: int) -> DslDataset:
        """The DSL dataset that is object ``number``."""
        dn = self.mos.dnode(number)
        if dn.bonus_type != ObjectType.DSL_DATASET:
            raise CorruptError(f"object {number} is not a DSL dataset")
        return DslDataset.unpack(dn.bonus)

    def snapshots(self, head: DslDataset) -> list[tuple[bytes, int]]:
        """(name, object number) of the snapshots of a head, oldest first."""
        if not head.snapnames_zapobj:
            return []
        return sorted(read_zap(self.mos, head.snapnames_zapobj).items(), key=lambda item: self._age(item[1]))

    def _age(self, number: int) -> int:
        return self.dataset(number).creation_txg

    def object_set(self, number: int, name: str) -> ObjectSet:
        """The object set of the dataset that is object ``number``.

        If it is encrypted, reading from it takes the key.
        """
        phys = self.dataset(number)
        return ObjectSet(self.keys.reader(phys.dir_obj, name), blkptr.unpack(phys.bp), name)

    def _type(self, head: DslDataset, name: str) -> int:
        """What its object set says it is, which no key is needed for."""
        return ObjectSet(self.mos.reader, blkptr.unpack(head.bp), name).type

    def find(self, name: str) -> int:
        """The object number of dataset ``pool/name`` or snapshot ``pool/name@snap``.

        :raises PoolNotFoundError: there is none
        """
        base, _, snapshot = name.partition("@")
        for each in self.directories():
            if each.name == base and each.phys.head_dataset_obj:
                head = each.phys.head_dataset_obj
                known = dict(self.snapshots(self.dataset(head))) if snapshot else {b"": head}
                if os.fsencode(snapshot) in known:
                    return known[os.fsencode(snapshot)]
        raise PoolNotFoundError(f"no dataset {name}", hint=f"there are: {', '.join(self._names())}")

    def _names(self) -> list[str]:
        return [each.name for each in self.directories()][:20]

    def infos(self) -> Iterator[DatasetInfo]:
        """Every dataset, each followed by its snapshots."""
        for each in self.directories():
            if each.phys.head_dataset_obj:
                head = self.dataset(each.phys.head_dataset_obj)
                yield self._head_info(each, head)
                for name, number in self.snapshots(head):
                    yield self._snapshot_info(f"{each.name}@{os.fsdecode(name)}", number)

    def _head_info(self, each: Directory, head: DslDataset) -> DatasetInfo:
        number = each.phys.head_dataset_obj
        kind = self._type(head, each.name)
        return DatasetInfo(
            each.name,
            _TYPES.get(ObjsetType(kind), "other"),
            number,
            used=each.phys.used_bytes,
            referenced=head.referenced_bytes,
            available=each.available,
            creation=head.creation_time,
            properties=self._properties(each.phys.props_zapobj),
            **self._encryption(each.number),
        )

    def _snapshot_info(self, name: str, number: int) -> DatasetInfo:
        phys = self.dataset(number)
        return DatasetInfo(
            name,
            "snapshot",
            number,
            used=phys.unique_bytes,
            referenced=phys.referenced_bytes,
            available=0,
            creation=phys.creation_time,
            properties=self._properties(phys.props_obj),
            **self._encryption(phys.dir_obj),
        )

    def _encryption(self, directory: int) -> dict[str, str]:
        key = self.keys.wrapped(directory)
        if key is None:
            return {}
        root, status = self.keys.root_of(directory), self.keys.status(directory)
        return {"encryption": key.suite.title, "encryption_root": root, "key_status": status}

    def _properties(self, number: int) -> dict[str, tuple[str, str]]:
        if not number:
            return {}
        entries = Zap(self.mos.object(number)).entries()
        return decode_properties({os.fsdecode(entry.name): entry for entry in entries})


def _available(phys: DslDir, above: int) -> int:
    """Bytes left below a directory whose parent has ``above`` left (``dsl_dir_space_available``)."""
    space = above + max(0, phys.reserved - phys.used_bytes)
    if phys.quota:
        space = min(space, max(0, phys.quota - phys.used_bytes))
    return max(0, space)
