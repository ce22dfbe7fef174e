"""Create a pool on one device and fill it with a tree, in one transaction group, without OpenZFS.

The order is that of a sync: file data and file systems, the meta object set, space maps, labels with
the uberblock last. A device that can grow is written first and sized at the end.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from unikiln.base.device import BlockDevice
from unikiln.base.progress import QUIET, Progress
from unikiln.base.size import round_up
from unikiln.base.tree import Node, directory
from unikiln.zfs import enabled as flags
from unikiln.zfs.alloc import Allocator, metaslab_shift
from unikiln.zfs.block_writer import BlockWriter, Policy
from unikiln.zfs.config import VERSION, VdevLayout
from unikiln.zfs.dsl_writer import DslWriter, FileSystemPlan
from unikiln.zfs.enabled import FeatureSet
from unikiln.zfs.format import dnode, label, nvlist
from unikiln.zfs.format.blkptr import Compression
from unikiln.zfs.format.dmu import ZAP_METADATA, ObjectType
from unikiln.zfs.format.uberblock import Uberblock
from unikiln.zfs.mos_writer import CONFIG_BLOCK, MosWriter, SpaceMaps, pack_config
from unikiln.zfs.names import check_dataset_name, check_pool_name
from unikiln.zfs.object_writer import Context
from unikiln.zfs.sizing import least_size, usable_size, vdev_asize
from unikiln.zfs.zpl_writer import ZplWriter

TXG = 4
"""``TXG_INITIAL``: the transaction group in which everything is born."""
DEVICE_PATHS: Mapping[str, str] = {"osv": "/dev/vblk0.1", "openzfs": "/dev/vda2"}
"""What the vdev is called in its label; OSv accepts only its own name for a ``vblk`` device."""
HOST_NAMES: Mapping[str, str] = {"osv": "osv.local", "openzfs": "unikiln"}
"""Who the labels say had the pool last."""
INDIRECT_SHIFTS: Mapping[str, int] = {"osv": dnode.OLD_INDIRECT_SHIFT, "openzfs": dnode.INDIRECT_SHIFT}
"""log2 of the size of indirect blocks: nothing larger than OSv's ZFS makes itself, for OSv."""
_SYNC_BPOBJ_BLOCK = 1 << 14
_XATTR_SA, _ACL_POSIX, _CANMOUNT_NOAUTO = 2, 1, 2


class GrowableDevice(BlockDevice, Protocol):
    """A device that takes writes anywhere and whose size is set at the end."""

    def truncate(self, size: int) -> None:
        """Set the size in bytes."""


@dataclass(slots=True, frozen=True)
class CreateOptions:
    """How to create a pool.

    ``size`` is the device's in bytes, None for the least that holds the tree with ``slack`` to spare;
    ``compression`` is of the blocks written here, the property of that name is the profile's (OSv's: off);
    ``dataset`` is the path below the pool that gets the files (empty or ``/``: the pool itself);
    ``seed`` fixes guids and salts, ``epoch`` (seconds since 1970) all times of the pool's own. ``properties``
    are set on datasets, by their paths below the pool (``""``: the pool itself); they do not change how this
    data is written.
    """

    pool: str = "osv"
    dataset: str = "zfs"
    size: int | None = None
    slack: float = 0.10
    compression: str = "lz4"
    ashift: int = 12
    recordsize: int = 128 << 10
    seed: int | None = None
    epoch: int = 0
    profile: str = "osv"
    properties: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class CreateResult:
    """What was made: sizes in bytes; ``bytes_out`` is what is allocated in the pool."""

    pool_guid: int
    size: int
    files: int
    bytes_in: int
    bytes_out: int


class _Count:
    """Passes progress on and remembers the totals."""

    def __init__(self, below: Progress) -> None:
        self._below = below
        self.files = self.size = 0

    def total(self, files: int, size: int) -> None:
        self._below.total(files, size)

    def advance(self, files: int, size: int) -> None:
        self.files += files
        self.size += size
        self._below.advance(files, size)


def create_pool(
    device: GrowableDevice, tree: Node, options: CreateOptions, progress: Progress = QUIET
) -> CreateResult:
    """Write a pool that holds ``tree`` to ``device``, which must read as zeros.

    :raises UsageError: a name that OpenZFS would refuse
    :raises NoSpaceError: ``options.size`` is too small
    :raises HostError: a source cannot be read, or the device cannot be written
    """
    check_pool_name(options.pool)
    check_dataset_name(options.pool, options.dataset)
    return _Creation(device, options, _Count(progress)).run(tree)


class _Creation:
    """One run of :func:`create_pool`."""

    def __init__(self, device: GrowableDevice, options: CreateOptions, count: _Count) -> None:
        self._device = device
        self._options = options
        self._count = count
        self._random = Random(options.seed)
        self._pool_guid = self._random.getrandbits(64)
        self._vdev_guid = self._random.getrandbits(64)
        self._features = FeatureSet(options.profile)
        limit = None if options.size is None else usable_size(options.size)
        self._writer = BlockWriter(device, Allocator(options.ashift, limit), TXG)
        self._metadata = Policy(True, options.ashift, flags.EMBEDDED_DATA in self._features)
        self._mos = MosWriter(self._writer, self._metadata, self._random)

    def run(self, tree: Node) -> CreateResult:
        directory_number = self._mos.number()
        root = self._file_systems(tree)
        dsl = DslWriter(self._mos, self._random, self._options.epoch)
        entries = dsl.write(root) | self._pool_objects(dsl)
        config = self._mos.number()
        entries |= {b"config": config, b"creation_version": VERSION, b"deflate": 1}
        self._mos.add_zap(ObjectType.OBJECT_DIRECTORY, entries, number=directory_number)
        self._writer.flush()
        size, root_pointer, layout = self._finish(dsl, config)
        self._device.truncate(size)
        self._write_labels(size, root_pointer, layout)
        allocated = self._writer.allocator.allocated
        return CreateResult(self._pool_guid, size, self._count.files, self._count.size, allocated)

    def _file_systems(self, tree: Node) -> FileSystemPlan:
        """The pool's root dataset, and below it the path that gets the files."""
        names = [part for part in self._options.dataset.split("/") if part]
        plans = [FileSystemPlan(name) for name in ("", *names)]
        for index, plan in enumerate(plans):
            content = tree if index == len(names) else self._mount_point(names[index])
            self._write_file_system(plan, content)
            plan.children = plans[index + 1 : index + 2]
            plan.properties = self._mounting(index, index == len(names))
        plans[-1].properties = {**plans[-1].properties, **self._properties(tree)}
        for index, plan in enumerate(plans):
            chosen = self._options.properties.get("/".join(names[:index]), {})
            plan.properties = {**plan.properties, **chosen}
        return plans[0]

    def _mounting(self, depth: int, holds_files: bool) -> dict[str, int | str]:
        """Properties of the dataset that is ``depth`` below the pool's root, as the profile wants them.

        For OSv they are as its own image has them: the kernel mounts the dataset by name, nobody else does,
        and whatever the files' blocks are compressed with, what the guest writes is not.
        """
        if self._options.profile != "osv":
            chosen = Compression.LZ4 if self._options.compression == "lz4" else Compression.OFF
            return {} if depth else {"compression": int(chosen)}
        found: dict[str, int | str] = {"canmount": _CANMOUNT_NOAUTO}
        if depth == 0:
            found |= {"mountpoint": "/", "compression": int(Compression.OFF)}
        if holds_files:
            found["relatime"] = 1
        return found

    def _mount_point(self, child: str) -> Node:
        """The tree of a dataset above the one with the files: where its child is mounted."""
        time_ns = self._options.epoch * 10**9
        root = directory(time_ns=time_ns)
        root.children = {os.fsencode(child): directory(time_ns=time_ns)}
        return root

    def _write_file_system(self, plan: FileSystemPlan, tree: Node) -> None:
        data = Policy(self._options.compression == "lz4", self._options.ashift, self._metadata.embed)
        context = Context(self._writer, self._metadata, 2, INDIRECT_SHIFTS[self._options.profile])
        writer = ZplWriter(context, data, self._options.recordsize, self._random)
        plan.pointer = writer.write(tree, self._count)
        plan.usage = context.usage
        if writer.large_blocks:
            plan.features = [flags.LARGE_BLOCKS.guid]
            self._features.use(flags.LARGE_BLOCKS)
            self._features.use(flags.EXTENSIBLE_DATASET)

    def _properties(self, tree: Node) -> dict[str, int]:
        """Properties without which the files would not be seen as they are."""
        found = {}
        if self._options.recordsize != 128 << 10:
            found["recordsize"] = self._options.recordsize
        names = _xattr_names(tree)
        if names:
            found["xattr"] = _XATTR_SA
        if any(name.startswith(b"system.posix_acl_") for name in names):
            found["acltype"] = _ACL_POSIX
        return found

    def _pool_objects(self, dsl: DslWriter) -> dict[bytes, int]:
        """Features and the list of deferred frees; gives their entries in the object directory."""
        chosen = self._features
        descriptions = {each.guid.encode(): each.description for each in chosen.enabled()}
        entries = {
            b"features_for_read": self._mos.add_zap(ZAP_METADATA, chosen.counts(readonly_compatible=False)),
            b"features_for_write": self._mos.add_zap(ZAP_METADATA, chosen.counts(readonly_compatible=True)),
            b"feature_descriptions": self._mos.add_values(ZAP_METADATA, descriptions),
            b"sync_bplist": dsl.bpobj(_SYNC_BPOBJ_BLOCK),
        }
        if flags.ENABLED_TXG in chosen:
            entries[b"feature_enabled_txg"] = self._mos.add_zap(
                ZAP_METADATA, {flags.HOLE_BIRTH.guid.encode(): TXG}
            )
        return entries

    def _finish(self, dsl: DslWriter, config: int) -> tuple[int, bytes, VdevLayout]:
        """Size the pool, then give addresses to all that is left, then write it."""
        mos, allocator = self._mos, self._writer.allocator
        size = self._size()
        asize = vdev_asize(size)
        shift = metaslab_shift(asize)
        count = asize >> shift
        allocator.limit = count << shift
        array = mos.number()
        array_block = mos.reserve(ObjectType.OBJECT_ARRAY, round_up(8 * count, 512))
        config_block = mos.reserve(ObjectType.PACKED_NVLIST, CONFIG_BLOCK, ObjectType.PACKED_NVLIST_SIZE)
        maps = SpaceMaps(mos, shift)
        maps.number()
        objset = mos.reserve_objset()
        while maps.number():
            pass  # each new space map may itself lie in a metaslab that was not used before
        layout = VdevLayout(
            self._options.pool, self._pool_guid, self._vdev_guid, DEVICE_PATHS[self._options.profile],
            self._options.ashift, asize, shift, array, TXG, self._features.label(),
            HOST_NAMES[self._options.profile],
        )  # fmt: skip
        mos.fill(array_block, maps.array(count), number=array)
        mos.fill(config_block, *pack_config(layout.meta_objset()), number=config)
        maps.fill()
        dsl.finish()
        return size, mos.finish(objset), layout

    def _size(self) -> int:
        """The device's size: as told, or the least in which the tree leaves the slack usable."""
        if self._options.size is not None:
            return self._options.size
        return least_size(self._writer.allocator, self._options.slack)

    def _write_labels(self, size: int, root: bytes, layout: VdevLayout) -> None:
        """Uberblocks and nvlists of all four labels, when everything they lead to is written."""
        guid_sum = self._pool_guid + self._vdev_guid & (1 << 64) - 1
        uberblock = Uberblock(VERSION, TXG, guid_sum, self._options.epoch, root).pack()
        pairs = nvlist.encode(layout.label())
        slot = label.uberblock_size(self._options.ashift)
        ring = label.RING_OFFSET + TXG % (label.RING_SIZE // slot) * slot
        self._device.flush()
        for start in label.offsets(size):
            blocks = (
                (8 << 10, b"", 8 << 10),
                (label.NVLIST_OFFSET, pairs, label.NVLIST_SIZE),
                (ring, uberblock, slot),
            )
            for offset, data, length in blocks:
                self._device.write_at(start + offset, label.seal(data, length, start + offset))
        self._device.flush()


def _xattr_names(root: Node) -> set[bytes]:
    names: set[bytes] = set()
    stack = [root]
    while stack:
        node = stack.pop()
        names.update(node.xattrs)
        stack.extend(node.children.values())
    return names
