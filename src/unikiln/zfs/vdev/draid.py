"""dRAID: groups of columns scattered over all disks by permutations, with spare space among them
(vdev_draid.c).

Which disk a column is on comes from a table of permutations that a seed, one for each number of disks, gives.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from unikiln.base.size import round_up
from unikiln.errors import CorruptError
from unikiln.zfs.vdev.attempt import Attempt, Vdev, Verdict
from unikiln.zfs.vdev.draid_seeds import FIRST, SEEDS
from unikiln.zfs.vdev.stripes import Column, Row, Stripes

_MASK = (1 << 64) - 1
_SEED = 0xD7A1D5EED
_ROW_HEIGHT = 16 << 20
"""Bytes of each disk that a permutation's row takes."""
_FEW_DISKS, _FEW_ROWS, _MANY_ROWS = 31, 256, 512


def _random(first: int, second: int) -> Iterator[int]:
    """Numbers from a seed of two words (xoroshiro128++, Blackman and Vigna)."""
    while True:
        total = (first + second) & _MASK
        yield (_turn(total, 17) + first) & _MASK
        second ^= first
        first = _turn(first, 49) ^ second ^ (second << 21) & _MASK
        second = _turn(second, 28)


def _turn(word: int, count: int) -> int:
    return (word << count) & _MASK | word >> (64 - count)


@lru_cache(maxsize=16)
def permutations(disks: int) -> tuple[bytes, ...]:
    """The rows of the table for so many disks: each a shuffle of the one before it.

    :raises CorruptError: there is no table for so many
    """
    if not FIRST <= disks < FIRST + len(SEEDS):
        raise CorruptError(f"a dRAID of {disks} disks")
    numbers = _random(_SEED, SEEDS[disks - FIRST])
    row, rows = bytearray(range(disks)), []
    for _ in range(_FEW_ROWS if disks <= _FEW_DISKS else _MANY_ROWS):
        for last in range(disks - 1, 0, -1):
            other = next(numbers) % (last + 1)
            row[last], row[other] = row[other], row[last]
        rows.append(bytes(row))
    return tuple(rows)


@dataclass(frozen=True)
class Layout:
    """How a dRAID is laid out: disks in all; data, parity and spares; ``groups`` to a permutation."""

    disks: int
    ndata: int
    nparity: int
    spares: int
    groups: int

    def __post_init__(self) -> None:
        width = self.ndata + self.nparity
        if not (
            1 <= self.nparity <= 3 and self.ndata > 0 and self.groups > 0 and 0 <= self.spares < self.disks
        ):
            raise CorruptError(f"a dRAID of {self}")
        if width > self.active or width * self.groups % self.active:
            raise CorruptError(f"a dRAID whose groups do not fit its disks: {self}")

    @property
    def active(self) -> int:
        """Disks that a row has data on."""
        return self.disks - self.spares

    @property
    def width(self) -> int:
        """Columns in a group."""
        return self.ndata + self.nparity

    @property
    def group_size(self) -> int:
        """Bytes of addresses in a group."""
        return self.width * _ROW_HEIGHT

    @property
    def slice_size(self) -> int:
        """Bytes of a disk that one permutation covers."""
        return self.group_size * self.groups // self.active

    def disk(self, permutation: int, index: int) -> int:
        """Which disk is the ``index``-th of a permutation."""
        table = permutations(self.disks)
        row, shift = divmod(permutation % (len(table) * self.disks), self.disks)
        return (table[row][index] + shift) % self.disks


@dataclass(frozen=True)
class Draid:
    """A dRAID vdev; ``children`` are its disks."""

    name: str
    children: Sequence[Vdev]
    layout: Layout
    ashift: int
    is_plain = False

    def asize(self, size: int, birth: int) -> int:
        """Bytes that a block of ``size`` takes: whole rows of a group."""
        rows = -(-size // (self.layout.ndata << self.ashift))
        return rows * self.layout.width << self.ashift

    def rows(self, offset: int, size: int) -> list[Row]:
        """Where a block lies: in one group, or at the end of one and the start of the next."""
        layout, rows, at = self.layout, [], 0
        size = round_up(size, 1 << self.ashift)
        while at < size:
            end = (offset // layout.group_size + 1) * layout.group_size
            room = (end - offset) // layout.width * layout.ndata
            length = min(size - at, room)
            if length <= 0:
                raise CorruptError(f"{self.name}: a block at {offset:#x} that no group has room for")
            rows.append(self._row(offset, length, at))
            at, offset = at + length, end
        return rows

    def _row(self, offset: int, size: int, at: int) -> Row:
        layout, sector = self.layout, 1 << self.ashift
        permutation, start, place = self._physical(offset)
        full, rest = divmod(size >> self.ashift, layout.ndata)
        big = rest + layout.nparity if rest else 0
        columns: list[Column] = []
        for index in range(layout.width):
            turn, position = divmod(start + index, layout.active)
            length = (full + (index < big)) * sector
            child = layout.disk(permutation, position)
            columns.append(Column(child, place + turn * _ROW_HEIGHT, length, at))
            at += length if index >= layout.nparity else 0
        return Row(tuple(columns[: layout.nparity]), tuple(columns[layout.nparity :]))

    def _physical(self, offset: int) -> tuple[int, int, int]:
        """The permutation, the group's first position in it, and the offset on a disk."""
        layout = self.layout
        permutation, group = divmod(offset // layout.group_size, layout.groups)
        height = _ROW_HEIGHT >> self.ashift
        within = (offset >> self.ashift) % (height * layout.width)
        rows = layout.width * layout.groups // layout.active
        row, start = divmod(group * layout.width, layout.active)
        sector = height * (permutation * rows + row) + within // layout.width
        return permutation, start, sector << self.ashift

    def _stripes(self, offset: int, size: int, birth: int) -> Stripes:
        return Stripes(self.name, self.children, self.rows(offset, size), size, birth)

    def attempts(self, offset: int, size: int, birth: int) -> Iterator[Attempt]:
        """See :class:`Stripes`."""
        return self._stripes(offset, size, birth).attempts()

    def problems(self, offset: int, size: int, birth: int, verdict: Verdict) -> Iterator[str]:
        """See :class:`Stripes`."""
        return self._stripes(offset, size, birth).problems(verdict)


class DistributedSpare:
    """Spare space of a dRAID as a disk: each slice of it is on another one (``vdev_draid_spare_get_child``).

    ``draid`` is set when the vdev that it is of is made, of which this may be a child.
    """

    is_plain = False

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.draid: Draid | None = None
        self._entered = threading.local()

    def _child(self, offset: int) -> Vdev | None:
        if self.draid is None or self.number >= self.draid.layout.spares or offset < 0:
            return None
        layout = self.draid.layout
        position = layout.disks - 1 - self.number
        return self.draid.children[layout.disk(offset // layout.slice_size, position)]

    def attempts(self, offset: int, size: int, birth: int) -> Iterator[Attempt]:
        """Those of the disk that holds this slice; none if that leads back here."""
        child = self._child(offset)
        if child is None or getattr(self._entered, "now", False):
            return
        self._entered.now = True
        try:
            found = list(child.attempts(offset, size, birth))
        finally:
            self._entered.now = False
        yield from found

    def problems(self, offset: int, size: int, birth: int, verdict: Verdict) -> Iterator[str]:
        """None of its own: a dRAID holds only columns, which whoever reads them judges."""
        return iter(())
