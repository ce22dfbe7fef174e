"""Blocks that are spread over columns with parity: how they are put together, and back together.

The maps of RAID-Z and dRAID say where each column lies; this reads them. When the checksum fails, every
set of devices that parity can replace is tried, the small ones first (``vdev_raidz_combrec``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations, islice
from typing import NamedTuple

import numpy as np

from unikiln.errors import CorruptError
from unikiln.zfs.codec import raidz
from unikiln.zfs.codec.raidz import Bytes
from unikiln.zfs.vdev.attempt import Attempt, Vdev, Verdict

_ATTEMPTS_MAX = 4096
"""So many sets of devices are tried for one block."""


class Column(NamedTuple):
    """``size`` bytes at ``offset`` of child ``child``; data of the block from byte ``at``."""

    child: int
    offset: int
    size: int
    at: int = 0


class Row(NamedTuple):
    """Columns that share their parity: that first; then the data, the last of them shorter or empty."""

    parity: tuple[Column, ...]
    data: tuple[Column, ...]


@dataclass
class Stripes:
    """A block in rows; a column is read once, when it is first needed: parity only to replace data."""

    name: str
    children: Sequence[Vdev]
    rows: Sequence[Row]
    size: int
    birth: int
    _found: dict[Column, list[bytes]] = field(default_factory=dict)

    @cached_property
    def _columns(self) -> set[Column]:
        return {column for row in self.rows for column in (*row.parity, *row.data)}

    def _content(self, column: Column) -> list[bytes]:
        """What the devices say that a column holds: nothing, or different things while one is replaced."""
        found = self._found.get(column)
        if found is None:
            found = self._found[column] = self._read_column(column)
        return found

    def _read_column(self, column: Column) -> list[bytes]:
        if not column.size:
            return [b""]
        found: list[bytes] = []
        for attempt in self.children[column.child].attempts(column.offset, column.size, self.birth):
            try:
                data = attempt.read()
            except CorruptError:
                continue
            if data not in found:
                found.append(data)
        return found

    @cached_property
    def _readable(self) -> list[int]:
        """The children that can be read wherever this block needs them."""
        used = {column.child for column in self._columns if column.size}
        bad = {column.child for column in self._columns if not self._content(column)}
        return sorted(used - bad)

    def attempts(self) -> Iterator[Attempt]:
        """As it is, then without each set of devices; each with either side of what is being replaced."""
        yield self._without((), 0)
        choices = range(max(len(self._content(column)) for column in self._columns) or 1)
        ways = (
            (chosen, choice)
            for count in range(len(self.rows[0].parity) + 1)
            for chosen in combinations(self._readable, count)
            for choice in choices
        )
        for chosen, choice in islice(ways, 1, _ATTEMPTS_MAX):
            yield self._without(chosen, choice)

    def _without(self, chosen: tuple[int, ...], choice: int) -> Attempt:
        names = tuple(self.children[child].name for child in chosen)
        return Attempt(self.name, lambda: self._assemble(chosen, choice), names, is_copy=False)

    def _assemble(self, distrusted: Sequence[int], choice: int) -> bytes:
        out = np.zeros(max(self._whole, self.size), dtype=np.uint8)
        for row in self.rows:
            for column, data in zip(row.data, self._data_of(row, distrusted, choice), strict=True):
                out[column.at : column.at + column.size] = data[: column.size]
        return out[: self.size].tobytes()

    @property
    def _whole(self) -> int:
        """Bytes in the data columns: the block, and what fills its last sector."""
        return max((column.at + column.size for row in self.rows for column in row.data), default=0)

    def _data_of(self, row: Row, distrusted: Sequence[int], choice: int) -> list[Bytes]:
        length = row.parity[0].size
        data = [self._padded(column, length, distrusted, choice) for column in row.data]
        if all(column is not None for column in data):
            return [column for column in data if column is not None]
        parity = [self._padded(column, length, distrusted, choice) for column in row.parity]
        found = raidz.reconstruct(data, parity)
        if found is None:
            raise CorruptError(f"{self.name}: more columns of a block are missing than parity can replace")
        return found

    def _padded(self, column: Column, length: int, distrusted: Sequence[int], choice: int) -> Bytes | None:
        found = self._content(column)
        if not found or (column.child in distrusted and column.size):
            return None
        whole = np.zeros(length, dtype=np.uint8)
        whole[: column.size] = np.frombuffer(found[min(choice, len(found) - 1)], dtype=np.uint8)
        return whole

    def problems(self, verdict: Verdict) -> Iterator[str]:
        """The columns, parity too, that are not what the block makes them."""
        for attempt in self.attempts():
            try:
                good = attempt.read()
            except CorruptError:
                continue
            if verdict(good):
                yield from self._wrong_columns(good)
                return
        yield f"on {self.name} cannot be reconstructed"

    def _wrong_columns(self, good: bytes) -> Iterator[str]:
        whole = np.frombuffer(good.ljust(self._whole, b"\0"), dtype=np.uint8)
        wrong: dict[int, str] = {}
        for row in self.rows:
            length = row.parity[0].size
            data = [np.zeros(length, dtype=np.uint8) for _ in row.data]
            for target, column in zip(data, row.data, strict=True):
                target[: column.size] = whole[column.at : column.at + column.size]
            expected = [raidz.parity_of(data, number) for number in range(len(row.parity))]
            for column, values in zip((*row.parity, *row.data), (*expected, *data), strict=True):
                if any(found != values[: column.size].tobytes() for found in self._content(column)):
                    wrong[column.child] = "parity" if column in row.parity else "data"
        for child, what in sorted(wrong.items()):
            yield f"on {self.children[child].name}: its {what} is wrong"
