"""RAID-Z: a block in columns over all disks, with one to three of parity (vdev_raidz.c).

A RAID-Z that a disk was added to keeps its old blocks in their old, narrower rows, which flow on over more
disks: the txg that wrote a block tells its logical width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from unikiln.base.size import round_up
from unikiln.errors import CorruptError
from unikiln.zfs.format import label
from unikiln.zfs.vdev.attempt import Attempt, Vdev, Verdict
from unikiln.zfs.vdev.stripes import Column, Row, Stripes

_SWAP = 1 << 20
"""Single parity changes places with the first data column in every second MiB."""


@dataclass(frozen=True)
class Raidz:
    """``expansions`` are the txgs since which there is one more disk; sizes in bytes.

    While a disk is being added (``is_expanding``), what lies below ``reflowed`` is in its new place already;
    ``in_scratch``: that part is still in the boot area.
    """

    name: str
    children: Sequence[Vdev]
    nparity: int
    ashift: int
    expansions: Sequence[int] = ()
    is_expanding: bool = False
    reflowed: int = 0
    in_scratch: bool = False
    is_plain = False

    def __post_init__(self) -> None:
        if not 1 <= self.nparity <= 3 or len(self.children) - len(self.expansions) <= self.nparity:
            raise CorruptError(f"{self.name}: parity {self.nparity} on {len(self.children)} devices")

    def logical_width(self, birth: int) -> int:
        """Disks that a block written in ``birth`` was laid out for (``vdev_raidz_get_logical_width``)."""
        later = sum(1 for txg in self.expansions if txg > birth)
        return len(self.children) - self.is_expanding - later

    def asize(self, size: int, birth: int) -> int:
        """Bytes that a block of ``size`` takes, with parity and padding (``vdev_raidz_psize_to_asize``)."""
        sectors = -(-size >> self.ashift)
        data = self.logical_width(birth) - self.nparity
        total = sectors + self.nparity * -(-sectors // data)
        return round_up(total, self.nparity + 1) << self.ashift

    def rows(self, offset: int, size: int, birth: int) -> list[Row]:
        """Where a block lies."""
        size = round_up(size, 1 << self.ashift)
        width = self.logical_width(birth)
        return [self._row(offset, size)] if width == len(self.children) else self._flowed(offset, size, width)

    def _row(self, offset: int, size: int) -> Row:
        width, sector = len(self.children), 1 << self.ashift
        start, sectors = offset >> self.ashift, size >> self.ashift
        full, rest = divmod(sectors, width - self.nparity)
        big = rest + self.nparity if rest else 0
        columns: list[Column] = []
        at = 0
        for index in range(width if full else big):
            turn, child = divmod(start % width + index, width)
            length = (full + (index < big)) * sector
            columns.append(
                Column(child, (start // width + turn) * sector, length, 0 if index < self.nparity else at)
            )
            at += length if index >= self.nparity else 0
        return self._split(columns, offset)

    def _split(self, columns: list[Column], offset: int) -> Row:
        if self.nparity == 1 and offset & _SWAP:
            parity, first = columns[0], columns[1]
            columns[0] = first._replace(at=0)
            columns[1] = parity._replace(at=first.at)
        return Row(tuple(columns[: self.nparity]), tuple(columns[self.nparity :]))

    def _flowed(self, offset: int, size: int, width: int) -> list[Row]:
        """Rows of single sectors, of a block laid out for ``width`` disks (``..._map_alloc_expanded``)."""
        sectors = size >> self.ashift
        full, rest = divmod(sectors, width - self.nparity)
        big = rest + self.nparity if rest else 0
        total = sectors + self.nparity * (full + bool(rest))
        count = -(-total // width)
        return [self._flowed_row(offset, row, count, width, min(total, width), big) for row in range(count)]

    def _flowed_row(self, offset: int, row: int, count: int, width: int, columns: int, big: int) -> Row:
        sector = 1 << self.ashift
        first = (offset >> self.ashift) + row * width
        disks, shift = self._place(first + columns)
        made: list[Column] = []
        for index in range(columns):
            turn, child = divmod(first % disks + index, disks)
            size = 0 if row == count - 1 and big and index >= big else sector
            at = 0 if index < self.nparity else self._at(index - self.nparity, row, count, big)
            made.append(Column(child, (first // disks + turn) * sector - shift, size, at * sector))
        return self._split(made, offset)

    def _place(self, end: int) -> tuple[int, int]:
        """Disks that a row which ends before sector ``end`` is on, and how far before its offset it is."""
        if not self.is_expanding:
            return len(self.children), 0
        if end > self.reflowed >> self.ashift:
            return len(self.children) - 1, 0
        return len(self.children), label.BOOT_SIZE if self.in_scratch else 0

    def _at(self, index: int, row: int, count: int, big: int) -> int:
        """Which sector of the block is in row ``row`` of data column ``index``; columns are runs of them."""
        rest = big - self.nparity if big else 0
        if not rest or index < rest:
            return index * count + row
        return rest * count + (index - rest) * (count - 1) + row

    def _stripes(self, offset: int, size: int, birth: int) -> Stripes:
        return Stripes(self.name, self.children, self.rows(offset, size, birth), size, birth)

    def attempts(self, offset: int, size: int, birth: int) -> Iterator[Attempt]:
        """See :class:`Stripes`."""
        return self._stripes(offset, size, birth).attempts()

    def problems(self, offset: int, size: int, birth: int, verdict: Verdict) -> Iterator[str]:
        """See :class:`Stripes`."""
        return self._stripes(offset, size, birth).problems(verdict)
