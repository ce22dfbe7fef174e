"""Open a pool that lies on one or more devices, for reading.

From the labels come the vdevs and the newest uberblock; from that one's root block the meta object
set, and from its object directory all the rest (spa.c).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from types import TracebackType
from typing import Self

from unikiln.base.device import BlockDevice
from unikiln.errors import CorruptError, EncryptionKeyError, PoolNotFoundError, UnsupportedError
from unikiln.zfs import space
from unikiln.zfs.alloc import slop
from unikiln.zfs.arc import DEFAULT_LIMIT, Arc
from unikiln.zfs.dataset import Dataset
from unikiln.zfs.dsl import DatasetInfo, Datasets
from unikiln.zfs.features import check_readable
from unikiln.zfs.filesystem import FileSystem
from unikiln.zfs.format import blkptr, nvlist
from unikiln.zfs.format.nvlist import NvList
from unikiln.zfs.format.uberblock import Uberblock
from unikiln.zfs.format.words import first_word
from unikiln.zfs.keys import Keys
from unikiln.zfs.objset import ObjectSet
from unikiln.zfs.saved import saved_bytes
from unikiln.zfs.vdev.labels import Label, has_config, number, read_labels
from unikiln.zfs.vdev.leaf import Leaf
from unikiln.zfs.vdev.top import TopVdev
from unikiln.zfs.zap import read_zap
from unikiln.zfs.zio import Reader

OBJECT_DIRECTORY = 1
_CONFIG_MAX = 16 << 20
_VERSIONS = (*range(1, 29), 5000)
_STATES = {0: "active", 1: "exported", 2: "destroyed", 3: "spare", 4: "l2cache", 5: "uninitialized"}
_EMBEDDED_LOG_METASLABS = 64
"""From so many metaslabs on, a vdev keeps one for the intent log (``zfs_embedded_slog_min_ms``)."""


def has_label(device: BlockDevice) -> bool:
    """Whether any of the four labels of ``device`` has a configuration with a valid checksum."""
    return has_config(device)


def open_pool(
    devices: BlockDevice | Sequence[BlockDevice],
    *,
    key: Keys = None,
    zil: bool = True,
    cache: int = DEFAULT_LIMIT,
) -> Pool:
    """The pool on ``devices``; ``cache`` bytes of blocks are kept. The devices stay the caller's to close.

    ``key`` is for what is encrypted: the key itself (32 bytes, hex digits or a passphrase) or a function of
    an encryption root's name that gives it, for all; or these by names of encryption roots. Without ``zil``,
    datasets are shown as they are on disk, without what their intent logs say.

    :raises PoolNotFoundError: no label, or no usable uberblock
    :raises UnsupportedError: a version or a feature that we cannot read
    :raises CorruptError: what the labels point to cannot be read
    :raises WrongKeyError: a key that opens nothing
    """
    given = list(devices) if isinstance(devices, Sequence) else [devices]
    pool = Pool([Member(device) for device in given], cache, key)
    pool.zil = zil
    try:
        pool.load()
        if key is not None:
            pool.dsl.keys.check()
    except BaseException:
        pool.close()
        raise
    return pool


class Member:
    """A device of the pool: its labels, of which ``config`` is the newest that can be used."""

    def __init__(self, device: BlockDevice) -> None:
        self.device = device
        self.labels: list[Label] = read_labels(device)
        configs = [each.config for each in self.labels if each.config is not None]
        if not configs:
            raise PoolNotFoundError(f"{device.name}: no ZFS label with a valid checksum")
        self.config: NvList = max(configs, key=lambda config: number(config, "txg"))
        self.guid = number(self.config, "guid")

    def uberblocks(self) -> Iterator[Uberblock]:
        """Every uberblock with a valid checksum, of all labels."""
        return (found for each in self.labels for found in each.uberblocks)


class Pool:
    """A pool opened for reading; a context manager. ``txg`` is that of its active uberblock."""

    zil = True
    """Whether what intent logs say is part of what is read."""

    def __init__(self, members: Sequence[Member], cache: int, key: Keys = None) -> None:
        self.members = members
        self._key = key
        label = max((each.config for each in members), key=lambda config: number(config, "txg"))
        self.label = label
        self.name = str(label.get("name", ""))
        self.guid = number(label, "pool_guid")
        self.state = number(label, "state")
        self.uberblock = _best_uberblock(members)
        self.txg = self.uberblock.txg
        self.version = self.uberblock.version
        self.arc = Arc(cache)
        self.vdevs = _vdevs(members, label)
        self.reader = Reader(self.vdevs, self.arc)
        self.config: NvList = label

    def load(self) -> None:
        """Read the pool's own configuration, and refuse what we do not know."""
        if self.version not in _VERSIONS:
            raise UnsupportedError(f"pool {self.name} has version {self.version}, which is none that we know")
        check_readable(self._label_features())
        self.config = self._read_config()
        check_readable(self._feature_counts(b"features_for_read"))
        for config in _tops_of(self.config):
            self.vdevs.update(_top_from(config, self.members))

    def _label_features(self) -> Mapping[str, int]:
        listed = self.label.get("features_for_read")
        return dict.fromkeys(listed, 1) if isinstance(listed, dict) else {}

    @property
    def state_name(self) -> str:
        """The state in a word: ``active``, ``exported``, ..."""
        return _STATES.get(self.state, str(self.state))

    @cached_property
    def mos(self) -> ObjectSet:
        """The meta object set, where the pool keeps all that is its own."""
        return ObjectSet(self.reader, blkptr.unpack(self.uberblock.root), "the meta object set")

    @cached_property
    def directory(self) -> dict[bytes, int]:
        """The object directory: names of what is in the meta object set, to object numbers."""
        return read_zap(self.mos, OBJECT_DIRECTORY)

    def _read_config(self) -> NvList:
        found = self.mos.object(self.listed(b"config"))
        size = first_word(found.dnode.bonus)
        if size > min(_CONFIG_MAX, found.blocks * found.block_size):
            raise CorruptError(f"pool {self.name}: its configuration claims {size} bytes")
        return nvlist.decode(found.read(0, size))

    def listed(self, name: bytes) -> int:
        """The object under ``name`` of the object directory.

        :raises CorruptError: there is none
        """
        found = self.directory.get(name)
        if found is None:
            raise CorruptError(f"pool {self.name}: its object directory has no {name.decode()}")
        return found

    def _feature_counts(self, name: bytes) -> dict[str, int]:
        listed = self.directory.get(name)
        if not listed:
            return {}
        return {os.fsdecode(feature): count for feature, count in read_zap(self.mos, listed).items()}

    @cached_property
    def features(self) -> dict[str, int]:
        """How often each feature is in use: 0 is enabled but not active."""
        return {**self._feature_counts(b"features_for_write"), **self._feature_counts(b"features_for_read")}

    @cached_property
    def usage(self) -> dict[int, space.SpaceUsage]:
        """What the space maps say, by vdev.

        :raises CorruptError: a space map that cannot be read
        """
        logs = space.read_logs(self.mos, self.directory)
        return {top.number: space.usage(self.mos, top, logs) for top in self.vdevs.values() if top.has_space}

    @property
    def size(self) -> int:
        """Bytes that blocks can be allocated from."""
        return sum(top.metaslabs << top.metaslab_shift for top in self.vdevs.values() if not top.is_log)

    @property
    def allocated(self) -> int:
        """Bytes that are allocated, by the space maps."""
        return sum(used.allocated for vdev, used in self.usage.items() if not self.vdevs[vdev].is_log)

    @property
    def free(self) -> int:
        """Bytes that are not."""
        return self.size - self.allocated

    @cached_property
    def dsl(self) -> Datasets:
        """The datasets."""
        return Datasets(self.mos, self.listed(b"root_dataset"), self.name, self._writable(), self._key)

    @property
    def encryption_roots(self) -> list[str]:
        """Names of the datasets whose keys open what is encrypted: themselves, and what inherits."""
        return self.dsl.keys.roots()

    def _writable(self) -> int:
        """Bytes that datasets may fill in all: less the slop (``spa_get_slop_space``), less what is used."""
        whole = 0
        for top in self.vdevs.values():
            log = 1 if top.metaslabs >= _EMBEDDED_LOG_METASLABS else 0
            whole += 0 if top.is_log else (top.metaslabs - log) << top.metaslab_shift
        used = Datasets(self.mos, 0, "", 0).directory(self.listed(b"root_dataset")).used_bytes
        shared = saved_bytes(self.mos, self.directory)
        return max(0, whole - slop(whole) + shared - used)

    def datasets(self) -> list[DatasetInfo]:
        """Every file system, volume and snapshot: parents first, snapshots after what they are of."""
        return list(self.dsl.infos())

    def dataset(self, name: str) -> Dataset:
        """The dataset ``pool/name``, or the snapshot ``pool/name@snap``.

        :raises PoolNotFoundError: there is no such dataset
        """
        return Dataset(self.dsl, name, self.dsl.find(name), self.txg if self.zil else None)

    def filesystem(self, name: str | None = None) -> FileSystem:
        """The file system (or snapshot) ``name``.

        Without a name: the only one with files; else the last of a chain of only children; else the root.

        :raises PoolNotFoundError: there is no such dataset
        """
        if name is None:
            name = self._likely()
        return self.dataset(name).filesystem

    def _likely(self) -> str:
        names = [info.name for info in self.dsl.infos() if info.type == "filesystem"]
        if not names:
            raise PoolNotFoundError(f"pool {self.name} has no file system")
        filled = [name for name in names if self._has_files(name, names)] if len(names) > 1 else names
        if len(filled) == 1:
            return filled[0]
        here = names[0]
        while True:
            below = [name for name in names if name.rpartition("/")[0] == here]
            if len(below) != 1:
                return here if not below else names[0]
            here = below[0]

    def _has_files(self, name: str, names: Sequence[str]) -> bool:
        """Whether anything is in ``name`` but the directories on which its children are mounted."""
        mounts = {os.fsencode(other[len(name) + 1 :]) for other in names if other.startswith(f"{name}/")}
        try:
            return any(entry.name not in mounts for entry in self.filesystem(name).root.entries())
        except (CorruptError, UnsupportedError, EncryptionKeyError):
            return False

    def close(self) -> None:
        """End the threads that read."""
        self.reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _best_uberblock(members: Sequence[Member]) -> Uberblock:
    """The newest of all labels (``vdev_uberblock_compare``)."""
    found = [each for member in members for each in member.uberblocks()]
    if not found:
        raise PoolNotFoundError(f"{members[0].device.name}: no uberblock with a valid checksum")
    return max(found, key=lambda each: (each.txg, each.timestamp))


def _vdevs(members: Sequence[Member], label: NvList) -> dict[int, TopVdev]:
    guid = number(label, "pool_guid")
    tops: dict[int, TopVdev] = {}
    for member in members:
        tree = member.config.get("vdev_tree")
        if number(member.config, "pool_guid") == guid and isinstance(tree, dict):
            tops.update(_top_from(tree, members))
    return tops


def _top_from(config: NvList, members: Sequence[Member]) -> dict[int, TopVdev]:
    top = TopVdev(config, {member.guid: Leaf(member.device, member.guid) for member in members})
    return {top.number: top}


def _tops_of(config: NvList) -> Iterator[NvList]:
    tree = config.get("vdev_tree")
    children = tree.get("children") if isinstance(tree, dict) else None
    return (
        (child for child in children if isinstance(child, dict)) if isinstance(children, list) else iter(())
    )
