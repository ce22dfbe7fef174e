"""Top-level virtual devices: what the first word of a data virtual address numbers.

From a pool's configuration to what reads: a tree of disks and files under mirrors, RAID-Z and dRAID.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from unikiln.base.size import round_up
from unikiln.errors import CorruptError, UnsupportedError
from unikiln.zfs.format.nvlist import NvList
from unikiln.zfs.vdev.attempt import Vdev
from unikiln.zfs.vdev.draid import DistributedSpare, Draid, Layout
from unikiln.zfs.vdev.indirect import Indirect, Segment
from unikiln.zfs.vdev.labels import number
from unikiln.zfs.vdev.leaf import Absent, Leaf
from unikiln.zfs.vdev.mirror import Mirror
from unikiln.zfs.vdev.raidz import Raidz

_LEAVES = ("disk", "file")
_MIRRORS = ("mirror", "replacing", "spare")
_EMPTY = ("hole", "missing")
_MAX_DEPTH = 4
_ASHIFT_MIN, _ASHIFT_MAX = 9, 16
_CHILDREN_MAX = 255
_DEFLATED, _SECTOR = 1 << 17, 9


def _no_map(config: NvList) -> Sequence[Segment]:
    raise CorruptError(f"vdev {number(config, 'id')} was removed, and its map is not known yet")


def _no_vdev(which: int) -> Vdev:
    raise CorruptError(f"a removed device was copied to vdev {which}, which is not there")


@dataclass(frozen=True)
class Parts:
    """What a vdev is made of that its configuration only names.

    ``leaves`` are the devices that are there, by guid; ``load_map`` and ``lookup`` serve removed devices;
    ``reflow`` says how far adding a disk to a RAID-Z had got: an offset, and whether what is before it is
    still in the scratch area.
    """

    leaves: Mapping[int, Leaf] = field(default_factory=dict)
    load_map: Callable[[NvList], Sequence[Segment]] = _no_map
    lookup: Callable[[int], Vdev] = _no_vdev
    reflow: tuple[int, bool] = (0, False)


class TopVdev:
    """A top-level vdev; sizes in bytes. ``vdev`` is what reads it."""

    def __init__(self, config: NvList, parts: Parts) -> None:
        self.config = config
        self.number = number(config, "id")
        self.type = str(config.get("type", "missing"))
        self.ashift = number(config, "ashift", 9)
        self.asize = number(config, "asize")
        self.is_log = bool(number(config, "is_log"))
        self.metaslab_array = number(config, "metaslab_array")
        self.metaslab_shift = number(config, "metaslab_shift")
        if not _ASHIFT_MIN <= self.ashift <= _ASHIFT_MAX:
            raise CorruptError(f"vdev {self.number} has sectors of 2^{self.ashift} bytes")
        self.vdev: Vdev = _build(config, parts, self.ashift, 0)

    @property
    def metaslabs(self) -> int:
        """How many metaslabs it is divided into; what is left at the end is not used."""
        return self.asize >> self.metaslab_shift if self.metaslab_shift else 0

    def metaslab_start(self, index: int) -> int:
        """Where a metaslab begins: in a dRAID with a whole row of a group (``vdev_draid_metaslab_init``)."""
        start = index << self.metaslab_shift
        return round_up(start, self.min_asize) if self.type == "draid" else start

    @property
    def has_space(self) -> bool:
        """Whether blocks can be allocated from it (a hole or a missing device has none)."""
        return self.type in (*_LEAVES, *_MIRRORS, "raidz", "draid") and self.metaslab_array != 0

    def deflated(self, asize: int) -> int:
        """What ``asize`` bytes count as: without the parity of 128 KiB blocks (``vdev_deflate_ratio``)."""
        if not isinstance(self.vdev, Raidz | Draid):
            return asize
        ratio = _DEFLATED // (self.vdev.asize(_DEFLATED, 0) >> _SECTOR)
        return (asize >> _SECTOR) * ratio

    @property
    def min_alloc(self) -> int:
        """Bytes of the smallest block (``vdev_get_min_alloc``)."""
        return (number(self.config, "draid_ndata") if self.type == "draid" else 1) << self.ashift

    @property
    def min_asize(self) -> int:
        """Bytes that the smallest block takes, with its parity."""
        parity = number(self.config, "nparity") if self.type in ("raidz", "draid") else 0
        return self.min_alloc + (parity << self.ashift)


def _build(config: NvList, parts: Parts, ashift: int, depth: int) -> Vdev:
    kind, guid = config.get("type", "missing"), number(config, "guid")
    if depth > _MAX_DEPTH:
        raise CorruptError("vdevs are nested too deep")
    if kind in _LEAVES:
        return parts.leaves.get(guid) or Absent(_called(config))
    if kind in _EMPTY:
        return Absent(_called(config))
    if kind == "indirect":
        return Indirect(_called(config), lambda: parts.load_map(config), parts.lookup)
    if kind == "dspare":
        return DistributedSpare(_called(config), number(config, "spareid", number(config, "spare_id")))
    if kind not in (*_MIRRORS, "raidz", "draid"):
        raise UnsupportedError(f"{_called(config)} is of a type that is none that we know")
    children = [_build(child, parts, ashift, depth + 1) for child in _children(config)]
    if kind in _MIRRORS:
        return Mirror(_called(config), children)
    if kind == "raidz":
        return _raidz(config, children, parts, ashift)
    return _draid(config, children, ashift)


def _raidz(config: NvList, children: Sequence[Vdev], parts: Parts, ashift: int) -> Raidz:
    txgs = config.get("raidz_expand_txgs")
    expansions = [txg for txg in txgs if isinstance(txg, int)] if isinstance(txgs, list) else []
    expanding = "raidz_expanding" in config
    nparity = number(config, "nparity", 1)
    return Raidz(_called(config), children, nparity, ashift, tuple(expansions), expanding, *parts.reflow)


def _draid(config: NvList, children: Sequence[Vdev], ashift: int) -> Draid:
    groups, spares = number(config, "draid_ngroups"), number(config, "draid_nspares")
    if number(config, "draid_nchildren", len(children)) != len(children):
        raise UnsupportedError(f"{_called(config)} has failure domains, which cannot be read yet")
    layout = Layout(len(children), number(config, "draid_ndata"), number(config, "nparity"), spares, groups)
    made = Draid(_called(config), children, layout, ashift)
    _give(children, made)
    return made


def _give(children: Sequence[Vdev], draid: Draid) -> None:
    """Tell the distributed spares among ``children``, or below them, what they are spares of."""
    for child in children:
        if isinstance(child, DistributedSpare):
            child.draid = draid
        elif isinstance(child, Mirror):
            _give(child.children, draid)


def _children(config: NvList) -> list[NvList]:
    listed = config.get("children")
    found = [child for child in listed if isinstance(child, dict)] if isinstance(listed, list) else []
    if not 0 < len(found) <= _CHILDREN_MAX:
        raise CorruptError(f"{_called(config)} has {len(found)} children")
    return found


def _called(config: NvList) -> str:
    path = config.get("path")
    kind = config.get("type")
    return (
        path if isinstance(path, str) else f"{kind if isinstance(kind, str) else '?'}-{number(config, 'id')}"
    )


def leaf_configs(config: object, depth: int = 0) -> Iterator[NvList]:
    """The disks and files at the bottom of a vdev tree."""
    if not isinstance(config, dict) or depth > _MAX_DEPTH:
        return
    children = config.get("children")
    if isinstance(children, list):
        for child in children:
            yield from leaf_configs(child, depth + 1)
    elif config.get("type") in _LEAVES:
        yield config


def leaf_guids(config: object) -> list[int]:
    """GUIDs of the disks and files at the bottom of a vdev tree."""
    return [number(each, "guid") for each in leaf_configs(config)]
