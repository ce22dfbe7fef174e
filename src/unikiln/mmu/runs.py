"""Mappings as people think of them: neighbouring leaves with the same attributes are one run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from unikiln.mmu.layout import Layout
from unikiln.mmu.leaves import Leaves, leaves
from unikiln.mmu.memory import Mask, Memory, Words


class Run(NamedTuple):
    """``size`` bytes from ``va``, mapped by ``leaves`` leaves of one level with equal attributes.

    ``pa``: where the first leads; ``contiguous``: all others follow it there. ``effective``: attribute bits,
    with what tables restrict. ``accessed`` and ``dirty`` count leaves.
    """

    va: int
    size: int
    pa: int
    contiguous: bool
    level: int
    effective: int
    leaves: int
    accessed: int
    dirty: int


def mappings(
    memory: Memory,
    layout: Layout,
    root: int,
    start: int = 0,
    end: int = 1 << 64,
    *,
    by_address: bool = False,
) -> Iterator[Run]:
    """The runs in ``start`` .. ``end``, in order; ``by_address``: a jump of the physical address ends one.

    :raises MmuError: there is no end of tables
    """
    last: Run | None = None
    for group in leaves(memory, layout, root, start, end):
        for run in _runs(layout, group, by_address):
            joined = last and _join(last, run, by_address)
            if last and not joined:
                yield last
            last = joined or run
    if last:
        yield last


def _runs(layout: Layout, group: Leaves, by_address: bool) -> Iterator[Run]:
    at = layout.step_index(group.level)
    kept = _table(layout.attributes_at(step.level) | layout.contiguous for step in layout.steps)
    key = group.effective & kept[at]
    sizes = layout.sizes(group.level)
    pa = layout.output_addresses(group.entry) & ~(sizes - np.uint64(1))
    apart = (key[1:] != key[:-1]) | (group.level[1:] != group.level[:-1])
    apart |= group.va[1:] - sizes[:-1] != group.va[:-1]
    jumps = pa[1:] - sizes[:-1] != pa[:-1]
    if by_address:
        apart |= jumps
    begins = np.concatenate(([0], np.flatnonzero(apart) + 1))
    counts = np.diff(np.append(begins, len(key)))
    jumped = np.add.reduceat(np.concatenate(([False], jumps & ~apart)).astype(np.int64), begins)
    yield from map(
        Run,
        group.va[begins].tolist(),
        (counts.astype(np.uint64) * sizes[begins]).tolist(),
        pa[begins].tolist(),
        (jumped == 0).tolist(),
        group.level[begins].tolist(),
        key[begins].tolist(),
        counts.tolist(),
        _count((group.entry & np.uint64(layout.accessed)) != 0, begins),
        _count(_dirty(layout, group.entry), begins),
    )


def _table(values: Iterable[int]) -> Words:
    return np.array(list(values), dtype=np.uint64)


def _dirty(layout: Layout, entries: Words) -> Mask:
    by_software: Mask = (entries & np.uint64(layout.dirty)) != 0
    return by_software | layout.dirty_by_hardware(entries)


def _count(where: Mask, begins: np.ndarray[tuple[int], np.dtype[np.intp]]) -> list[int]:
    counts: list[int] = np.add.reduceat(where.astype(np.int64), begins).tolist()
    return counts


def _join(before: Run, after: Run, by_address: bool) -> Run | None:
    """Both as one, where a group of leaves ended in the middle of a run."""
    alike = before.level == after.level and before.effective == after.effective
    follows = before.pa + before.size == after.pa and before.contiguous and after.contiguous
    if not alike or before.va + before.size != after.va or (by_address and not follows):
        return None
    return Run(
        before.va,
        before.size + after.size,
        before.pa,
        follows,
        before.level,
        before.effective,
        before.leaves + after.leaves,
        before.accessed + after.accessed,
        before.dirty + after.dirty,
    )
