"""Every leaf of a range, by address, without visiting what is not mapped.

The tables of the last two levels, where nearly all entries are, are read together by NumPy; the few above
them one by one. What is in flight is bounded by :data:`_TABLES` tables, whatever the size of the range.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from unikiln.errors import MmuError
from unikiln.mmu.bulk import inherit, is_leaf, is_table
from unikiln.mmu.layout import Layout, Step
from unikiln.mmu.memory import Levels, Memory, Words

_TABLES = 1 << 21
"""Entries of the last level that are read at once."""
MOST_LOOPS = 16
"""Some kernels map their tables by one entry of the root that points to the root; the levels bound that."""
MOST_TABLES = 1 << 20
"""So many map 2 TiB in pages of 4 KiB; a range with more has tables that are shared without end."""


class Leaves(NamedTuple):
    """Leaves by address: what each maps first, where its entry stands, its level and value.

    ``effective`` is the value with what the tables above restrict.
    """

    va: Words
    at: Words
    level: Levels
    entry: Words
    effective: Words


class _Tables(NamedTuple):
    """Tables of one level: their addresses, what they map first, and what leaves below get and lose."""

    pa: Words
    va: Words
    gets: Words
    loses: Words


def leaves(memory: Memory, layout: Layout, root: int, start: int = 0, end: int = 1 << 64) -> Iterator[Leaves]:
    """The leaves that begin in ``start`` .. ``end``, in order, in groups of a bounded size.

    :raises MmuError: tables that contain themselves without end, or there are more than :data:`MOST_TABLES`
    """
    start, end = max(start, layout.first_va), min(end, layout.last_va + 1)
    if start < end:
        step, one = layout.steps[0], np.zeros(1, dtype=np.uint64)
        # A half of x86-64 begins in the middle of its root.
        base = layout.first_va & -(step.mask + 1 << step.shift)
        tables = _Tables(one + np.uint64(root), one + np.uint64(base), one, one)
        yield from _Walk(memory, layout, start, end - 1).below(tables, 0, ())


class _Walk:
    def __init__(self, memory: Memory, layout: Layout, first: int, last: int) -> None:
        self._memory, self._layout = memory, layout
        self._first, self._last = np.uint64(first), np.uint64(last)
        self._at_once = max(1, _TABLES >> layout.page_shift - 3)
        self._read_so_far = self._loops = 0

    def below(self, tables: _Tables, depth: int, above: tuple[int, ...]) -> Iterator[Leaves]:
        """The leaves of ``tables``, which stand ``depth`` steps below the root, and of all below them.

        ``above``: the tables on the way.
        """
        step = self._layout.steps[depth]
        found, down = self._read(tables, step)
        if len(down.pa):
            above = (*above, int(tables.pa[0]))
            self._refuse_loops(down.pa, above, step.level)
        # Above the last but one level, tables go one by one: so their leaves come in order.
        at_once = self._at_once if depth + 2 >= len(self._layout.steps) else 1
        for part in range(0, len(down.pa), at_once):
            group = _Tables(*(column[part : part + at_once] for column in down))
            before, mixed, found = _cut(found, group)
            yield from _some(before)
            yield from self._merged(mixed, self.below(group, depth + 1, above))
        yield from _some(found)

    def _refuse_loops(self, pointers: Words, above: tuple[int, ...], level: int) -> None:
        for table in above:
            self._loops += int(np.count_nonzero(pointers == np.uint64(table)))
            if self._loops > MOST_LOOPS:
                raise MmuError(f"the tables loop: an entry of level {level} points back to {table:#x}")
        self._read_so_far += len(pointers)
        if self._read_so_far > MOST_TABLES:
            raise MmuError(f"more than {MOST_TABLES} tables below the root: they are shared without end")

    def _merged(self, mixed: Leaves, lower: Iterator[Leaves]) -> Iterator[Leaves]:
        """``lower`` in order with the blocks that lie between its tables."""
        if not len(mixed.va):
            yield from lower
            return
        together = Leaves(*map(np.concatenate, zip(mixed, *lower, strict=True)))
        yield _part(together, np.argsort(together.va, kind="stable"))

    def _read(self, tables: _Tables, step: Step) -> tuple[Leaves, _Tables]:
        """The leaves among the entries of ``tables`` that lie in the range, and the tables below them."""
        count, size = step.mask + 1, np.uint64(step.shift)
        offsets = np.arange(count, dtype=np.uint64)
        vas = (tables.va[:, None] + (offsets << size)).ravel()
        ends = vas + np.uint64((1 << step.shift) - 1)
        wanted = np.flatnonzero((ends >= self._first) & (vas <= self._last))
        owner, vas = wanted // count, vas[wanted]
        at = tables.pa[owner] + (offsets[wanted % count] << np.uint64(3))
        entries, _ = self._memory.gather(at)
        gets, loses = tables.gets[owner], tables.loses[owner]
        leaf = is_leaf(entries, step) & (vas >= self._first)
        value = entries[leaf]
        level = np.full(len(value), step.level, np.int8)
        found = Leaves(vas[leaf], at[leaf], level, value, (value | gets[leaf]) & ~loses[leaf])
        down = is_table(entries, step)
        pointers = entries[down]
        passed = inherit(self._layout.inherited, pointers, gets[down], loses[down])
        return found, _Tables(self._layout.output_addresses(pointers), vas[down], *passed)


def _part(found: Leaves, where: slice | npt.NDArray[np.intp]) -> Leaves:
    return Leaves(
        found.va[where], found.at[where], found.level[where], found.entry[where], found.effective[where]
    )


def _cut(found: Leaves, group: _Tables) -> tuple[Leaves, Leaves, Leaves]:
    """The leaves before the first table of ``group``, those up to its last, and the rest."""
    first, last = np.searchsorted(found.va, group.va[[0, -1]]).tolist()
    return _part(found, slice(first)), _part(found, slice(first, last)), _part(found, slice(last, None))


def _some(found: Leaves) -> Iterator[Leaves]:
    if len(found.va):
        yield found
