"""Space maps, for reading: what is allocated of each metaslab, as the pool itself has it written down.

A metaslab's map is an object of its own; since ``log_spacemap``, what is newer is in logs that all
metaslabs share, one a txg, until it is flushed (space_map.c, spa_log_spacemap.c).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from unikiln.errors import CorruptError
from unikiln.zfs.format.spacemap import SpaceMapHeader
from unikiln.zfs.objset import DmuObject, ObjectSet
from unikiln.zfs.vdev.top import TopVdev
from unikiln.zfs.zap import Zap, read_zap

Runs = npt.NDArray[np.int64]
"""Rows of (offset, length, sign): bytes of the vdev; +1 allocates, -1 frees."""

_READ = 4 << 20
_LOG_SHIFT = 9
"""The shared logs count in sectors (``SPA_MINBLOCKSHIFT``)."""
_DEBUG, _TWO_WORD = 2, 3


@dataclass(slots=True)
class SpaceUsage:
    """What the space maps of one vdev say; sizes in bytes."""

    runs: Runs
    findings: list[str] = field(default_factory=list)

    @property
    def allocated(self) -> int:
        """Bytes allocated, net."""
        return int((self.runs[:, 1] * self.runs[:, 2]).sum())


@dataclass(slots=True, frozen=True)
class LogRuns:
    """What one shared log says: ``runs`` of vdev ``vdevs`` (a number a row), written in ``txg``."""

    txg: int
    vdevs: npt.NDArray[np.int64]
    runs: Runs


def decode_runs(data: bytes, shift: int) -> tuple[npt.NDArray[np.int64], Runs]:
    """The vdev (-1 where the entry does not say) and the run of every entry, in no particular order.

    Units of the map are ``1 << shift`` bytes. The whole map takes a few array operations, whatever its
    length; the order does not matter because what is allocated is the sum of all runs.

    :raises CorruptError: a two-word entry that is cut off
    """
    words = np.frombuffer(data, dtype="<u8")
    prefix = (words >> np.uint64(62)).astype(np.int64)
    second = _second_words(prefix)
    two = np.flatnonzero((prefix == _TWO_WORD) & ~second)
    if two.size and two[-1] == len(words) - 1:
        raise CorruptError("a space map ends within a two-word entry")
    one = np.flatnonzero((prefix != _TWO_WORD) & (prefix != _DEBUG) & ~second)
    short, head, tail = words[one], words[two], words[two + 1]
    offset = np.concatenate([_bits(short, 16, 47), _bits(tail, 0, 63)])
    length = np.concatenate([_bits(short, 0, 15), _bits(head, 24, 36)]) + 1
    freed = np.concatenate([_bits(short, 15, 1), _bits(tail, 63, 1)])
    vdevs = np.concatenate([np.full(len(one), -1, dtype=np.int64), _bits(head, 0, 24)])
    return vdevs, np.column_stack([offset << shift, length << shift, 1 - 2 * freed])


def _second_words(prefix: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which words are the second of an entry of two; they may look like anything."""
    second = np.zeros(len(prefix), dtype=np.bool_)
    taken = -1
    for at in np.flatnonzero(prefix == _TWO_WORD).tolist():
        if at != taken and at + 1 < len(prefix):
            taken = at + 1
            second[taken] = True
    return second


def _bits(words: npt.NDArray[np.uint64], low: int, count: int) -> npt.NDArray[np.int64]:
    return ((words >> np.uint64(low)) & np.uint64((1 << count) - 1)).astype(np.int64)


def _read_map(obj: DmuObject) -> tuple[SpaceMapHeader, bytes]:
    head = SpaceMapHeader.unpack(obj.dnode.bonus)
    if head.length > obj.blocks * obj.block_size or head.length % 8:
        raise CorruptError(f"space map {obj.number} claims {head.length} bytes and has {obj.blocks} blocks")
    pieces = [obj.read(at, min(_READ, head.length - at)) for at in range(0, head.length, _READ)]
    return head, b"".join(pieces)


def read_logs(mos: ObjectSet, directory: dict[bytes, int]) -> list[LogRuns]:
    """The shared logs that the pool has, oldest first; runs in bytes."""
    listed = directory.get(b"com.delphix:log_spacemap_zap")
    if listed is None:
        return []
    logs = []
    for name, number in read_zap(mos, listed).items():
        _, data = _read_map(mos.object(number))
        vdevs, runs = decode_runs(data, _LOG_SHIFT)
        logs.append(LogRuns(int(name, 16), vdevs, runs))
    return sorted(logs, key=lambda log: log.txg)


def usage(mos: ObjectSet, vdev: TopVdev, logs: list[LogRuns]) -> SpaceUsage:
    """All runs of ``vdev``: its metaslabs' maps, and what the logs hold that is newer.

    :raises CorruptError: a map that cannot be read
    """
    found: list[Runs] = [np.empty((0, 3), dtype=np.int64)]
    findings: list[str] = []
    unflushed = _unflushed_txgs(mos, vdev)
    for index, number in enumerate(_metaslab_objects(mos, vdev)):
        start = vdev.metaslab_start(index)
        if number:
            found.append(_own_runs(mos, vdev, number, start, findings))
        since = unflushed[index] if index < len(unflushed) else 0
        found.extend(_logged_runs(logs, vdev, start, since))
    found.extend(_checkpointed(mos, vdev))
    return SpaceUsage(np.concatenate(found), findings)


def _checkpointed(mos: ObjectSet, vdev: TopVdev) -> Iterator[Runs]:
    """What was freed since the pool's checkpoint: allocated in the metaslabs' maps for its sake alone."""
    number = in_vdev_zap(mos, vdev, b"com.delphix:pool_checkpoint_sm")
    if number:
        _, data = _read_map(mos.object(number))
        yield decode_runs(data, vdev.ashift)[1]


def _own_runs(mos: ObjectSet, vdev: TopVdev, number: int, start: int, findings: list[str]) -> Runs:
    head, data = _read_map(mos.object(number))
    _, runs = decode_runs(data, vdev.ashift)
    size = 1 << vdev.metaslab_shift
    if runs.size and (runs[:, 0] + runs[:, 1] > size).any():
        findings.append(f"space map {number} of vdev {vdev.number} reaches beyond its metaslab")
    stated = head.alloc - (1 << 64) if head.alloc >> 63 else head.alloc
    total = int((runs[:, 1] * runs[:, 2]).sum())
    if stated != total:
        findings.append(f"space map {number} says {stated} bytes are allocated, its entries {total}")
    runs[:, 0] += start
    return runs


def _logged_runs(logs: list[LogRuns], vdev: TopVdev, start: int, since: int) -> Iterator[Runs]:
    end = start + (1 << vdev.metaslab_shift)
    for log in logs:
        if log.txg < since:
            continue
        inside = (log.vdevs == vdev.number) & (log.runs[:, 0] >= start) & (log.runs[:, 0] < end)
        yield log.runs[inside]


def _metaslab_objects(mos: ObjectSet, vdev: TopVdev) -> list[int]:
    """Object numbers of the space maps; 0 where a metaslab was never used."""
    obj = mos.object(vdev.metaslab_array)
    length = 8 * vdev.metaslabs
    if length > obj.blocks * obj.block_size:
        raise CorruptError(f"vdev {vdev.number} has {vdev.metaslabs} metaslabs and an array for fewer")
    objects: list[int] = np.frombuffer(obj.read(0, length), dtype="<u8").tolist()
    return objects


def _unflushed_txgs(mos: ObjectSet, vdev: TopVdev) -> list[int]:
    """Since which txg the logs hold what each metaslab's map does not."""
    number = in_vdev_zap(mos, vdev, b"com.delphix:ms_unflushed_phys_txgs")
    if not number:
        return []
    obj = mos.object(number)
    length = min(8 * vdev.metaslabs, obj.blocks * obj.block_size)
    txgs: list[int] = np.frombuffer(obj.read(0, length), dtype="<u8").tolist()
    return txgs


def in_vdev_zap(mos: ObjectSet, vdev: TopVdev, name: bytes) -> int:
    """What is under ``name`` in the vdev's own ZAP, or 0."""
    top = vdev.config.get("com.delphix:vdev_zap_top")
    return (Zap(mos.object(top)).get(name) or 0) if isinstance(top, int) else 0
