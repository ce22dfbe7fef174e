"""The format of the tables of one range of virtual addresses, as data.

What finds leaves, maps, enumerates and scans works on this record and knows no architecture;
``aarch64/layout.py`` and ``x86/layout.py`` make it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from unikiln.mmu.memory import Levels, Mask, Words


class Step(NamedTuple):
    """One level of the walk.

    The index into the table is ``va >> shift & mask``. An entry points to a table if
    ``entry & table_mask == table_value``, and is a leaf if ``entry & leaf_mask == leaf_value``; a level
    without tables or without leaves has a mask of 0 and a value of 1, which no entry matches.
    """

    level: int
    shift: int
    mask: int
    table_mask: int
    table_value: int
    leaf_mask: int
    leaf_value: int


class Inherited(NamedTuple):
    """A restriction by a table entry: if ``entry & mask == value``, leaves below get and lose these bits."""

    mask: int
    value: int
    gets: int
    loses: int


@dataclass(frozen=True, slots=True)
class Layout:
    """How addresses ``first_va`` .. ``first_va + 2**va_bits`` are translated.

    :ivar steps: the levels, root first
    :ivar address_mask: address bits of an entry that stand in their own place
    :ivar high_address: (mask, left shift) of further address bits, for 52-bit addresses
    :ivar table_bits: what a new table entry has beside the address
    :ivar accessed: the access flag; :ivar dirty: the dirty state that software (x86: the walk) sets
    :ivar hardware_dirty: (mask, value) of an entry that hardware made dirty, None if it cannot
    :ivar read_only: (mask, value) of an entry that allows no store
    :ivar will_write: the bit of a read-only entry that stores make writable (DBM), 0 if there is none
    :ivar contiguous: the contiguous bit, 0 if there is none; :ivar runs: level -> entries of such a run
    :ivar attributes: the bits in which neighbours must agree to be one mapping
    :ivar moved: (bit of a block, bit of a page) of the one attribute whose place they do not share (x86: PAT)
    :ivar in_place: the bits that may change in a valid entry without break-before-make
    :ivar inherited: what table entries take away from the leaves below
    """

    arch: str
    first_va: int
    va_bits: int
    page_shift: int
    steps: tuple[Step, ...]
    address_mask: int
    high_address: tuple[tuple[int, int], ...]
    table_bits: int
    accessed: int
    dirty: int
    hardware_dirty: tuple[int, int] | None
    read_only: tuple[int, int]
    will_write: int
    contiguous: int
    runs: tuple[tuple[int, int], ...]
    attributes: int
    in_place: int
    inherited: tuple[Inherited, ...]
    moved: tuple[int, int] = (0, 0)

    @property
    def last_va(self) -> int:
        """The highest address of the range."""
        return self.first_va + (1 << self.va_bits) - 1

    @property
    def page_size(self) -> int:
        """Bytes of the smallest leaf, which is also the size of a table below the root."""
        return 1 << self.page_shift

    @property
    def last_level(self) -> int:
        """The level of pages."""
        return self.steps[-1].level

    def covers(self, va: int) -> bool:
        """Whether ``va`` lies in the range."""
        return self.first_va <= va <= self.last_va

    def step(self, level: int) -> Step:
        """The step at ``level``."""
        return self.steps[abs(level - self.steps[0].level)]

    def step_below(self, step: Step) -> Step:
        """The step after ``step``."""
        return self.steps[self.steps.index(step) + 1]

    def size(self, level: int) -> int:
        """Bytes that one entry at ``level`` maps."""
        return 1 << self.step(level).shift

    def output_address(self, entry: int) -> int:
        """The address in an entry, all bits that any level may use."""
        address = entry & self.address_mask
        for mask, shift in self.high_address:
            address |= (entry & mask) << shift
        return address

    def dirty_by_hardware(self, entries: Words) -> Mask:
        """Which of many leaves hardware made dirty; software's bit apart."""
        mask, value = self.hardware_dirty or (0, 1)
        found: Mask = (entries & np.uint64(mask)) == np.uint64(value)
        return found

    def output_addresses(self, entries: Words) -> Words:
        """:meth:`output_address` of many entries."""
        addresses = entries & np.uint64(self.address_mask)
        for mask, shift in self.high_address:
            addresses |= (entries & np.uint64(mask)) << np.uint64(shift)
        return addresses

    def address_bits(self, address: int) -> int:
        """The bits of an entry that hold ``address``."""
        entry = address & self.address_mask
        for mask, shift in self.high_address:
            entry |= address >> shift & mask
        return entry

    def entries_for(self, addresses: Words) -> Words:
        """:meth:`address_bits` of many addresses."""
        entries = addresses & np.uint64(self.address_mask)
        for mask, shift in self.high_address:
            entries |= addresses >> np.uint64(shift) & np.uint64(mask)
        return entries

    def attributes_at(self, level: int) -> int:
        """The attribute bits of a leaf at ``level``."""
        in_block, in_page = self.moved
        return self.attributes if level == self.last_level else self.attributes & ~in_page | in_block

    def attributes_for(self, level: int, attributes: int) -> int:
        """Attribute bits of a page as a leaf at ``level`` has them."""
        in_block, in_page = self.moved
        if level == self.last_level or not attributes & in_page:
            return attributes
        return attributes & ~in_page | in_block

    def step_index(self, levels: Levels) -> Levels:
        """The place in :attr:`steps` of many levels."""
        return np.abs(levels - self.steps[0].level)

    def sizes(self, levels: Levels) -> Words:
        """Bytes that entries at many levels map."""
        return np.array([1 << step.shift for step in self.steps], dtype=np.uint64)[self.step_index(levels)]

    def run_length(self, level: int) -> int:
        """Entries that one contiguous run at ``level`` has; 1 where there are none."""
        return dict(self.runs).get(level, 1)

    def is_dirty(self, entry: int) -> bool:
        """Whether a leaf is dirty, by whoever keeps that state."""
        if entry & self.dirty:
            return True
        return self.hardware_dirty is not None and entry & self.hardware_dirty[0] == self.hardware_dirty[1]


Tables = tuple[tuple[Layout, int], ...]
"""The ranges that a regime translates, each with the physical address of its root table."""
