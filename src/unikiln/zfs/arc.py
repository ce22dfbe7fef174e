"""The adaptive replacement cache: blocks seen once and blocks seen often, in balance.

The policy of Megiddo and Modha ("ARC: A Self-Tuning, Low Overhead Replacement Cache", FAST 2003),
counted in bytes as ZFS does (module/zfs/arc.c). :class:`Policy` decides with keys and sizes alone;
:class:`Arc` holds the buffers and a lock.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

DEFAULT_LIMIT = 256 << 20


class SizedList:
    """Keys with their sizes, least recently used first; ``total`` bytes."""

    __slots__ = ("entries", "total")

    def __init__(self) -> None:
        self.entries: OrderedDict[Hashable, int] = OrderedDict()
        self.total = 0

    def __contains__(self, key: Hashable) -> bool:
        return key in self.entries

    def push(self, key: Hashable, size: int) -> None:
        """Add ``key`` as the most recently used."""
        self.entries[key] = size
        self.total += size

    def remove(self, key: Hashable) -> int:
        """Take ``key`` out; its size."""
        size = self.entries.pop(key)
        self.total -= size
        return size

    def pop(self) -> tuple[Hashable, int]:
        """Take the least recently used out."""
        key, size = self.entries.popitem(last=False)
        self.total -= size
        return key, size


class Policy:
    """Which keys to keep, of a cache of ``limit`` bytes.

    ``mru`` holds what was used once, ``mfu`` what was used again; the ghosts remember what each
    lost lately. ``target`` is what ``mru`` may take: a hit in a ghost moves it that ghost's way.
    """

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        self.limit = limit
        self.target = 0
        self.mru, self.mfu = SizedList(), SizedList()
        self.mru_ghost, self.mfu_ghost = SizedList(), SizedList()

    def touch(self, key: Hashable) -> bool:
        """Note a use of a resident key: it is frequent now. Whether it was frequent already."""
        frequent = key in self.mfu.entries
        if frequent:
            self.mfu.entries.move_to_end(key)
        else:
            self.mfu.push(key, self.mru.remove(key))
        return frequent

    def insert(self, key: Hashable, size: int) -> list[Hashable]:
        """Make a key that is not resident so; the keys whose buffers must go."""
        if size > self.limit:
            return []
        in_mfu_ghost = key in self.mfu_ghost
        known = in_mfu_ghost or key in self.mru_ghost
        if known:
            self._adapt(key, size, in_mfu_ghost)
        evicted = self._make_room(size, in_mfu_ghost)
        (self.mfu if known else self.mru).push(key, size)
        self._trim_ghosts()
        return evicted

    def _adapt(self, key: Hashable, size: int, in_mfu_ghost: bool) -> None:
        recent, frequent = self.mru_ghost.total, self.mfu_ghost.total
        if in_mfu_ghost:
            self.target = max(0, self.target - size * max(1, recent // max(1, frequent)))
            self.mfu_ghost.remove(key)
        else:
            self.target = min(self.limit, self.target + size * max(1, frequent // max(1, recent)))
            self.mru_ghost.remove(key)

    def _make_room(self, size: int, in_mfu_ghost: bool) -> list[Hashable]:
        evicted: list[Hashable] = []
        while self.mru.total + self.mfu.total + size > self.limit:
            over = self.mru.total > self.target or (in_mfu_ghost and self.mru.total == self.target)
            from_mru = bool(self.mru.entries) and (over or not self.mfu.entries)
            key, length = (self.mru if from_mru else self.mfu).pop()
            (self.mru_ghost if from_mru else self.mfu_ghost).push(key, length)
            evicted.append(key)
        return evicted

    def _trim_ghosts(self) -> None:
        """Remember no more than ``limit`` bytes of recent, and twice ``limit`` of all."""
        while self.mru_ghost.entries and self.mru.total + self.mru_ghost.total > self.limit:
            self.mru_ghost.pop()
        lists = (self.mru, self.mfu, self.mru_ghost, self.mfu_ghost)
        while self.mfu_ghost.entries and sum(each.total for each in lists) > 2 * self.limit:
            self.mfu_ghost.pop()


@dataclass(slots=True)
class Stats:
    """Counts since the cache was made."""

    hits: int = 0
    misses: int = 0
    evictions: int = 0
    mru_hits: int = 0
    mfu_hits: int = 0


class Arc:
    """A thread-safe cache of buffers, of at most ``limit`` bytes."""

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        self.policy = Policy(limit)
        self.stats = Stats()
        self._buffers: dict[Hashable, bytes] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> bytes | None:
        """The buffer under ``key``, if it is here."""
        with self._lock:
            buffer = self._buffers.get(key)
            if buffer is None:
                self.stats.misses += 1
                return None
            self.stats.hits += 1
            if self.policy.touch(key):
                self.stats.mfu_hits += 1
            else:
                self.stats.mru_hits += 1
            return buffer

    def put(self, key: Hashable, buffer: bytes) -> None:
        """Keep ``buffer`` under ``key``, unless it is larger than the cache; others may have to go."""
        with self._lock:
            if key in self._buffers or len(buffer) > self.policy.limit:
                return
            for gone in self.policy.insert(key, len(buffer)):
                del self._buffers[gone]
                self.stats.evictions += 1
            self._buffers[key] = buffer

    @property
    def size(self) -> int:
        """Bytes of the buffers that are here."""
        return self.policy.mru.total + self.policy.mfu.total
