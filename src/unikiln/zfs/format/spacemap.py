"""Space maps: a log of allocations and frees of one metaslab (sys/space_map.h).

Entries are 64-bit words: a debug entry names the txg, a one-word entry is a run of up to 2^15
units at a 47-bit offset, a two-word entry (version 2) is longer, and names its vdev.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from unikiln.errors import CorruptError
from unikiln.zfs.format.words import Words

ALLOC, FREE = 0, 1
_DEBUG, _TWO_WORD = 2, 3
RUN_MAX = 1 << 15
"""Units that a one-word entry can cover."""


@dataclass(slots=True)
class SpaceMapHeader(Words):
    """``space_map_phys_t``: the bonus of a space map object; ``length`` in bytes, ``alloc`` signed."""

    SIZE: ClassVar[int] = 24

    object: int = 0
    length: int = 0
    alloc: int = 0


class Entry(NamedTuple):
    """``ALLOC`` or ``FREE`` of ``length`` bytes at ``offset`` of the vdev."""

    kind: int
    offset: int
    length: int


def encode(runs: Iterable[tuple[int, int]], start: int, shift: int, txg: int) -> bytes:
    """One-word allocation entries for ``runs`` of (offset, length), bytes from the vdev's start.

    ``start`` is the metaslab's offset and ``1 << shift`` its unit; a debug entry with ``txg`` comes first.
    """
    words = [_DEBUG << 62 | ALLOC << 60 | 1 << 50 | txg]
    for offset, length in runs:
        unit, left = offset - start >> shift, length >> shift
        while left:
            run = min(left, RUN_MAX)
            words.append(unit << 16 | ALLOC << 15 | run - 1)
            unit, left = unit + run, left - run
    return np.array(words, dtype="<u8").tobytes()


def decode(data: bytes, start: int, shift: int) -> Iterator[Entry]:
    """The entries of a space map, in the order they were logged.

    :raises CorruptError: a two-word entry that is cut off
    """
    words: npt.NDArray[np.uint64] = np.frombuffer(data, dtype="<u8")
    position, values = 0, words.tolist()
    while position < len(values):
        word = values[position]
        position += 1
        prefix = word >> 62
        if prefix == _TWO_WORD:
            if position == len(values):
                raise CorruptError("a space map ends within a two-word entry")
            second = values[position]
            position += 1
            run = (word >> 24 & (1 << 36) - 1) + 1
            kind, offset = second >> 63, second & (1 << 63) - 1
        elif prefix == _DEBUG:
            continue
        else:
            kind, offset, run = word >> 15 & 1, word >> 16, (word & RUN_MAX - 1) + 1
        yield Entry(kind, start + (offset << shift), run << shift)
