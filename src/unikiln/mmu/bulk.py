"""Many entries or many addresses at once, by NumPy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from unikiln.mmu.layout import Inherited, Layout, Step, Tables
from unikiln.mmu.memory import Levels, Mask, Memory, Words

_CHUNK = 1 << 15
"""Entries worked on at a time: they and what is computed of them stay in the processor's cache."""


class Walked(NamedTuple):
    """What :func:`walk_many` found, an element an address.

    ``entry``: the leaf with what the tables above restrict, 0 where the walk found none; ``level``: where it
    ended; ``at``: physical address of the last entry read; ``pa``: where the address leads, 0 if nowhere.
    """

    entry: Words
    level: Levels
    at: Words
    pa: Words

    @property
    def mapped(self) -> Mask:
        """Where there is a translation."""
        found: Mask = self.entry != 0
        return found


def test_and_clear_accessed(entries: Words, layout: Layout) -> Mask:
    """Clear the access flag in ``entries``, in place; where it was set."""
    return _test_and_clear(entries, layout.accessed)


def test_and_clear_dirty(entries: Words, layout: Layout) -> Mask:
    """Make ``entries`` clean, in place; where they were dirty.

    An entry that AArch64 hardware made dirty (DBM, writable) becomes read-only again: its clean state.
    """
    found = _test_and_clear(entries, layout.dirty)
    by_hardware = layout.dirty_by_hardware(entries)
    entries[by_hardware] |= np.uint64(layout.read_only[1])
    return found | by_hardware


test_and_clear_accessed.__test__ = False  # type: ignore[attr-defined]  # pytest takes the name for a test
test_and_clear_dirty.__test__ = False  # type: ignore[attr-defined]


def _test_and_clear(entries: Words, flag: int) -> Mask:
    found = np.empty(len(entries), dtype=np.bool_)
    bit, keep = np.uint64(flag), np.uint64(~flag & (1 << 64) - 1)
    scratch = np.empty(min(_CHUNK, len(entries)), dtype=np.uint64)
    for start in range(0, len(entries), _CHUNK):
        part = entries[start : start + _CHUNK]
        flags = np.bitwise_and(part, bit, out=scratch[: len(part)])
        np.not_equal(flags, 0, out=found[start : start + _CHUNK])
        np.bitwise_and(part, keep, out=part)
    return found


def walk_many(memory: Memory, tables: Tables, vas: Words) -> Walked:
    """Walk for every address, permissions apart; a hole, or a table outside memory, gives no entry."""
    count = len(vas)
    result = Walked(
        entry=np.zeros(count, np.uint64),
        level=np.zeros(count, np.int8),
        at=np.zeros(count, np.uint64),
        pa=np.zeros(count, np.uint64),
    )
    for layout, root in tables:
        first, last = np.uint64(layout.first_va), np.uint64(layout.last_va)
        chosen = np.flatnonzero((vas >= first) & (vas <= last))
        if len(chosen):
            _walk_half(memory, layout, root, vas, chosen, result)
    return result


def _walk_half(
    memory: Memory, layout: Layout, root: int, vas: Words, chosen: npt.NDArray[np.intp], result: Walked
) -> None:
    table = np.full(len(chosen), root, dtype=np.uint64)
    gets, loses = np.zeros(len(chosen), np.uint64), np.zeros(len(chosen), np.uint64)
    for step in layout.steps:
        va = vas[chosen]
        at = table + ((va >> np.uint64(step.shift) & np.uint64(step.mask)) << np.uint64(3))
        entries, _ = memory.gather(at)
        result.level[chosen], result.at[chosen] = step.level, at
        leaf, down = is_leaf(entries, step), is_table(entries, step)
        entry = entries[leaf]
        result.entry[chosen[leaf]] = (entry | gets[leaf]) & ~loses[leaf]
        offset = np.uint64(layout.size(step.level) - 1)
        result.pa[chosen[leaf]] = layout.output_addresses(entry) & ~offset | va[leaf] & offset
        chosen, entries = chosen[down], entries[down]
        gets, loses = inherit(layout.inherited, entries, gets[down], loses[down])
        table = layout.output_addresses(entries)
        if not len(chosen):
            break


def is_table(entries: Words, step: Step) -> Mask:
    """Which of the entries at this level point to a table."""
    found: Mask = (entries & np.uint64(step.table_mask)) == np.uint64(step.table_value)
    return found


def is_leaf(entries: Words, step: Step) -> Mask:
    """Which of the entries at this level are leaves."""
    found: Mask = (entries & np.uint64(step.leaf_mask)) == np.uint64(step.leaf_value)
    return found


def inherit(rules: tuple[Inherited, ...], entries: Words, gets: Words, loses: Words) -> tuple[Words, Words]:
    """What leaves below table ``entries`` get and lose; these themselves inherit ``gets`` and ``loses``."""
    for rule in rules:
        applies = (entries & np.uint64(rule.mask)) == np.uint64(rule.value)
        gets = gets | np.where(applies, np.uint64(rule.gets), np.uint64(0))
        loses = loses | np.where(applies, np.uint64(rule.loses), np.uint64(0))
    return gets, loses
