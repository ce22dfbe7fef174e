"""Open a pool that lies on one or more devices, for reading.

From the labels come the vdevs and the newest uberblock; from that one's root block the meta object
set, and from its object directory all the rest (spa.c).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from types import TracebackType
from typing import Self

from unikiln.base.device import BlockDevice
from unikiln.errors import CorruptError, EncryptionKeyError, PoolNotFoundError, UnsupportedError
from unikiln.zfs import space
from unikiln.zfs.alloc import slop
from unikiln.zfs.arc import DEFAULT_LIMIT, Arc
from unikiln.zfs.assembly import (
    Member,
    Opener,
    Source,
    check_version,
    choose,
    devices_of,
    members_of,
    open_plain,
    uberblocks_of,
)
from unikiln.zfs.dataset import Dataset
from unikiln.zfs.dsl import DatasetInfo, Datasets
from unikiln.zfs.features import check_readable
from unikiln.zfs.filesystem import FileSystem
from unikiln.zfs.format import blkptr, nvlist, uberblock
from unikiln.zfs.format.blkptr import Dva
from unikiln.zfs.format.nvlist import NvList
from unikiln.zfs.format.uberblock import Uberblock
from unikiln.zfs.format.words import first_word
from unikiln.zfs.keys import Keys
from unikiln.zfs.locate import Damage
from unikiln.zfs.objset import ObjectSet
from unikiln.zfs.saved import saved_bytes
from unikiln.zfs.vdev.attempt import Vdev
from unikiln.zfs.vdev.indirect import ENTRY, Segment, decode_mapping
from unikiln.zfs.vdev.labels import has_config, number
from unikiln.zfs.vdev.leaf import Leaf
from unikiln.zfs.vdev.top import Parts, TopVdev, leaf_configs
from unikiln.zfs.zap import Zap, read_zap
from unikiln.zfs.zio import Reader

OBJECT_DIRECTORY = 1
_CONFIG_MAX = 16 << 20
_DYNAMIC_GANGS = "com.klarasystems:dynamic_gang_header"
_STATES = {0: "active", 1: "exported", 2: "destroyed", 3: "spare", 4: "l2cache", 5: "uninitialized"}
_SPECIAL = b"org.zfsonlinux:allocation_bias"
"""In the ZAP of a vdev that is kept for metadata, small blocks or deduplication tables."""
_EMBEDDED_LOG_METASLABS = 64
"""From so many metaslabs on, a vdev keeps one for the intent log (``zfs_embedded_slog_min_ms``)."""


def has_label(device: BlockDevice) -> bool:
    """Whether any of the four labels of ``device`` has a configuration with a valid checksum."""
    return has_config(device)


def open_pool(
    sources: Source | Sequence[Source],
    *,
    key: Keys = None,
    zil: bool = True,
    cache: int = DEFAULT_LIMIT,
    pool: str | int | None = None,
    txg: int | None = None,
    rewind: bool = False,
    checkpoint: bool = False,
    opener: Opener = open_plain,
) -> Pool:
    """The pool on ``sources``: devices, paths of files or folders of them, in any order, some missing.

    ``key`` is for what is encrypted: the key itself (32 bytes, hex digits or a passphrase) or a function of
    an encryption root's name that gives it, for all; or these by names of encryption roots. Without ``zil``,
    intent logs are not replayed into what is read. ``cache`` bytes of blocks are kept.

    ``pool`` is a name or guid, when there are several. ``txg`` opens the pool as it was in an older one;
    ``rewind`` as it was in the newest that can be read; ``checkpoint`` as it was at its checkpoint.
    ``opener`` opens paths, which are plain files otherwise; devices that are given stay the caller's to
    close.

    :raises PoolNotFoundError: no label, no usable uberblock, no such txg, or no checkpoint
    :raises UnsupportedError: a version or a feature that we cannot read
    :raises CorruptError: what the labels point to cannot be read
    :raises WrongKeyError: a key that opens nothing
    :raises HostError: a file cannot be opened
    """
    devices, opened = devices_of(sources, opener)
    try:
        members = members_of(devices, pool)
        found = choose(uberblocks_of(members), txg)
        made = _newest(members, found if rewind else found[:1], cache, key)
        if checkpoint:
            with made:
                before = made.checkpoint
            made = _newest(members, [before], cache, key)
    except BaseException:
        for device in opened:
            device.close()
        raise
    made.zil, made.opened = zil, opened
    return made


def _newest(members: Sequence[Member], found: Sequence[Uberblock], cache: int, key: Keys) -> Pool:
    """The pool as of the first uberblock that leads to datasets; the error of the newest if none does."""
    problem: CorruptError | None = None
    for each in found:
        pool = Pool(members, each, cache, key)
        try:
            pool.load()
            if len(found) > 1:
                pool.datasets()
            if key is not None:
                pool.dsl.keys.check()
        except CorruptError as error:
            pool.close()
            problem = problem or error
        except BaseException:
            pool.close()
            raise
        else:
            return pool
    if problem is None:
        raise PoolNotFoundError("no uberblock to open the pool with")
    raise problem


class Pool:
    """A pool opened for reading; a context manager. ``txg`` is that of its active uberblock."""

    zil = True
    """Whether what intent logs say is part of what is read."""

    def __init__(self, members: Sequence[Member], uberblock: Uberblock, cache: int, key: Keys = None) -> None:
        self.members = members
        self._key = key
        label = max((each.config for each in members), key=lambda config: number(config, "txg"))
        self.label = label
        self.name = str(label.get("name", ""))
        self.guid = number(label, "pool_guid")
        self.state = number(label, "state")
        self.uberblock = uberblock
        self.txg = uberblock.txg
        self.version = uberblock.version
        self.arc = Arc(cache)
        self.opened: Sequence[BlockDevice] = ()
        self.vdevs: dict[int, TopVdev] = {}
        for member in members:  # oldest first: what newer labels say of the same vdev is believed
            self._add_top(member.config.get("vdev_tree"))
        self.reader = Reader(self.vdevs, self.arc)
        self.config: NvList = label

    def load(self) -> None:
        """Read the pool's own configuration, and refuse what we do not know."""
        check_version(self.name, self.version)
        labelled = self._label_features()
        check_readable(labelled)
        self.reader.locator.dynamic_gangs = _DYNAMIC_GANGS in labelled
        self.config = self._read_config()
        self.reader.locator.salt = self._salt()
        active = self._feature_counts(b"features_for_read")
        check_readable(active)
        self.reader.locator.dynamic_gangs |= active.get(_DYNAMIC_GANGS, 0) > 0
        for config in _tops_of(self.config):
            self._add_top(config)

    def _add_top(self, config: object) -> None:
        if isinstance(config, dict):
            leaves = {member.guid: Leaf(member.device, member.guid) for member in self.members}
            parts = Parts(leaves, self._removed_map, self._vdev, self.uberblock.reflow)
            top = TopVdev(config, parts)
            self.vdevs[top.number] = top

    def _vdev(self, which: int) -> Vdev:
        """A top-level vdev that blocks of a removed one were copied to."""
        return self.reader.locator.top(Dva(which, 0, 0)).vdev

    def _removed_map(self, config: NvList) -> list[Segment]:
        """Where the blocks of a removed vdev are now."""
        obj = self.mos.object(number(config, "com.delphix:indirect_object"))
        _, _, count = struct.unpack_from("<3Q", obj.dnode.bonus.ljust(24, b"\0"))
        if ENTRY * count > obj.blocks * obj.block_size:
            raise CorruptError(f"pool {self.name}: the map of a removed device claims {count} entries")
        return decode_mapping(obj.read(0, ENTRY * count))

    def _salt(self) -> bytes:
        """What the pool's keyed checksums are keyed with; empty if it has none yet."""
        entry = Zap(self.mos.object(OBJECT_DIRECTORY)).entry(b"org.illumos:checksum_salt")
        return b"" if entry is None else bytes(value & 0xFF for value in entry.values)

    @property
    def checkpoint(self) -> Uberblock:
        """The uberblock of the pool's checkpoint.

        :raises PoolNotFoundError: it has none
        """
        entry = Zap(self.mos.object(OBJECT_DIRECTORY)).entry(b"com.delphix:zpool_checkpoint")
        words = () if entry is None else entry.values
        found = uberblock.unpack(struct.pack(f"<{len(words)}Q", *words).ljust(uberblock.SIZE, b"\0"))
        if found is None:
            raise PoolNotFoundError(f"pool {self.name} has no checkpoint")
        return found

    @property
    def missing(self) -> list[str]:
        """Paths of the devices that the pool's configuration has and that were not given."""
        given = {member.guid for member in self.members}
        leaves = leaf_configs(self.config.get("vdev_tree"))
        return [
            str(leaf.get("path", number(leaf, "guid")))
            for leaf in leaves
            if number(leaf, "guid") not in given
        ]

    @property
    def damage(self) -> list[Damage]:
        """What was bad on devices, of blocks that were read so far and could be read some other way."""
        return self.reader.locator.damage

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
        whole = elsewhere = 0
        for top in self.vdevs.values():
            log = 1 if top.metaslabs >= _EMBEDDED_LOG_METASLABS else 0
            if top.is_log:
                continue
            if space.in_vdev_zap(self.mos, top, _SPECIAL):
                elsewhere += top.deflated(self.usage[top.number].allocated)
            else:
                whole += top.deflated((top.metaslabs - log) << top.metaslab_shift)
        used = Datasets(self.mos, 0, "", 0).directory(self.listed(b"root_dataset")).used_bytes
        shared = saved_bytes(self.mos, self.directory)
        return max(0, whole - slop(whole) + elsewhere + shared - used)

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
        """End the threads that read, and close what was opened from a path."""
        self.reader.close()
        for device in self.opened:
            device.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _tops_of(config: NvList) -> Iterator[NvList]:
    tree = config.get("vdev_tree")
    children = tree.get("children") if isinstance(tree, dict) else None
    return (
        (child for child in children if isinstance(child, dict)) if isinstance(children, list) else iter(())
    )
