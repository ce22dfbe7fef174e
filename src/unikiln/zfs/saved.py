"""Bytes that a pool does not use because blocks are shared: deduplicated, or cloned.

Datasets count such blocks as often as they have them, so as much may be written beyond the pool's size
(``spa_update_dspace``, spa_misc.c; ``ddt_stat_t``, sys/ddt.h; ``brt_vdev_phys_t``, sys/brt_impl.h).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

from unikiln.zfs.objset import ObjectSet
from unikiln.zfs.zap import Zap

_CLONED = b"com.fudosecurity:brt:vdev:"
_DEDUPLICATED = b"DDT-statistics"
_BRT = struct.Struct("<7Q")
_STAT_WORDS, _SIZE, _REFERENCED = 8, 3, 7
"""Words of a row of the histogram: among them bytes allocated, and bytes as often as they are referred to."""


def saved_bytes(mos: ObjectSet, directory: Mapping[bytes, int]) -> int:
    """What sharing saves in all; ``directory`` is the object directory."""
    return sum(_cloned(mos, directory)) + sum(_deduplicated(mos, directory))


def _cloned(mos: ObjectSet, directory: Mapping[bytes, int]) -> Iterator[int]:
    for name, number in directory.items():
        if name.startswith(_CLONED) and number:
            bonus = mos.dnode(number).bonus
            yield _BRT.unpack_from(bonus)[-1] if len(bonus) >= _BRT.size else 0


def _deduplicated(mos: ObjectSet, directory: Mapping[bytes, int]) -> Iterator[int]:
    listed = directory.get(_DEDUPLICATED)
    for entry in Zap(mos.object(listed)).entries() if listed else ():
        yield sum(entry.values[_REFERENCED::_STAT_WORDS]) - sum(entry.values[_SIZE::_STAT_WORDS])
