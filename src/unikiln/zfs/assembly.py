"""Which of the devices that were given make up a pool, and from which uberblock to read it.

Devices come in any order, some may be missing, some may be of other pools or have been taken out of this
one. Each has four labels; where these disagree, the newest that can be used is believed (``spa_load_best``,
vdev_label.c).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from unikiln.base.device import BlockDevice, FileDevice
from unikiln.errors import HostError, PoolNotFoundError, UnsupportedError
from unikiln.zfs.format.nvlist import NvList
from unikiln.zfs.format.uberblock import Uberblock
from unikiln.zfs.vdev.labels import Label, number, read_labels

Source = BlockDevice | str | os.PathLike[str]
"""A device; or the path of a file that is one, or of a folder of such files."""
Opener = Callable[[Path], Iterable[BlockDevice]]
"""Opens a file: what is given back is looked at for labels, each by itself."""

VERSIONS = (*range(1, 29), 5000)
_SPARE, _CACHE = 3, 4
_SHOWN = 12


class Member:
    """A device of a pool: its labels, of which ``config`` is the newest that can be used.

    :raises PoolNotFoundError: it has no label that can be used
    """

    def __init__(self, device: BlockDevice) -> None:
        self.device = device
        self.labels: list[Label] = read_labels(device)
        configs = [each.config for each in self.labels if each.config is not None]
        if not configs:
            raise PoolNotFoundError(f"{device.name}: no ZFS label with a valid checksum")
        self.config: NvList = max(configs, key=lambda config: number(config, "txg"))
        self.guid = number(self.config, "guid")
        self.pool_guid = number(self.config, "pool_guid")
        self.txg = number(self.config, "txg")

    @property
    def is_auxiliary(self) -> bool:
        """Whether it is a spare or a cache: these hold no blocks of the pool, nor say which that is."""
        return number(self.config, "state") in (_SPARE, _CACHE)

    def uberblocks(self) -> Iterator[Uberblock]:
        """Every uberblock with a valid checksum, of all labels."""
        return (found for each in self.labels for found in each.uberblocks)


def open_plain(path: Path) -> list[BlockDevice]:
    """The file as one device."""
    return [FileDevice(path)]


def devices_of(
    sources: Source | Sequence[Source], opener: Opener
) -> tuple[list[BlockDevice], list[BlockDevice]]:
    """All devices in ``sources``, and those of them that were opened here.

    :raises HostError: a file cannot be opened, or a folder holds none
    """
    listed = sources if isinstance(sources, Sequence) and not isinstance(sources, str) else [sources]
    devices: list[BlockDevice] = []
    opened: list[BlockDevice] = []
    try:
        for source in listed:
            if isinstance(source, str | os.PathLike):
                found = [device for path in _files(Path(source)) for device in opener(path)]
                opened += found
                devices += found
            else:
                devices.append(source)
    except BaseException:
        for device in opened:
            device.close()
        raise
    return devices, opened


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(each for each in path.iterdir() if each.is_file())
    if not found:
        raise HostError(f"{path}: no files in this folder")
    return found


def members_of(devices: Sequence[BlockDevice], pool: str | int | None) -> list[Member]:
    """The devices of one pool, oldest label first; ``pool`` is its name or guid, if there may be several.

    Spares and caches come along. What has no label, or is of another pool, is left out; so are devices that
    were taken out of a pool, unless there is nothing else.

    :raises PoolNotFoundError: no label, not this pool, or several of which none was asked for
    """
    members = list(_labelled(devices))
    pools: dict[int, list[Member]] = {}
    for member in members:
        if not member.is_auxiliary:
            pools.setdefault(member.pool_guid, []).append(member)
    wanted = {guid: each for guid, each in pools.items() if pool in (None, guid, _name(each))}
    if pool is None:  # a device that was detached has a label of txg 0
        wanted = {guid: each for guid, each in wanted.items() if any(m.txg for m in each)} or wanted
    if not wanted:
        where = ", ".join(device.name for device in devices[:_SHOWN]) or "no devices"
        raise PoolNotFoundError(f"{where}: no ZFS label with a valid checksum" + _of(pool))
    if len(wanted) > 1:
        names = ", ".join(sorted(f"{_name(each)} ({guid})" for guid, each in wanted.items()))
        raise PoolNotFoundError(f"the devices hold several pools: {names}", hint="say which")
    (chosen,) = wanted.values()
    auxiliary = [member for member in members if member.is_auxiliary]
    return sorted([*chosen, *auxiliary], key=lambda member: member.txg)


def _of(pool: str | int | None) -> str:
    return "" if pool is None else f" that is of pool {pool}"


def _labelled(devices: Sequence[BlockDevice]) -> Iterator[Member]:
    for device in devices:
        try:
            yield Member(device)
        except PoolNotFoundError:
            continue


def _name(members: Sequence[Member]) -> str:
    return str(max(members, key=lambda member: member.txg).config.get("name", ""))


def uberblocks_of(members: Sequence[Member]) -> list[Uberblock]:
    """The uberblocks of a pool, newest first, each txg once.

    :raises PoolNotFoundError: there is none
    """
    best: dict[int, Uberblock] = {}
    for found in (each for member in members if not member.is_auxiliary for each in member.uberblocks()):
        if found.txg not in best or best[found.txg].age < found.age:
            best[found.txg] = found
    if not best:
        raise PoolNotFoundError(f"{members[0].device.name}: no uberblock with a valid checksum")
    return sorted(best.values(), key=lambda each: each.age, reverse=True)


def choose(found: Sequence[Uberblock], txg: int | None) -> list[Uberblock]:
    """Those of txg ``txg``, or all.

    :raises PoolNotFoundError: there is none of that txg; the hint says which there are
    """
    chosen = [each for each in found if txg in (None, each.txg)]
    if not chosen:
        have = ", ".join(str(each.txg) for each in found[:_SHOWN])
        raise PoolNotFoundError(f"no uberblock of txg {txg}", hint=f"there are, newest first: {have}")
    return chosen


def check_version(name: str, version: int) -> None:
    """Refuse a pool of a version that there is not.

    :raises UnsupportedError: the version is none that we know
    """
    if version not in VERSIONS:
        raise UnsupportedError(f"pool {name} has version {version}, which is none that we know")
