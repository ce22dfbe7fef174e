"""An address space to look into, of either architecture: memory, and the registers that rule translation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from unikiln.errors import MmuError
from unikiln.mmu.aarch64 import fault as arm_fault
from unikiln.mmu.aarch64 import regime as arm
from unikiln.mmu.aarch64.descriptor import ATTR_INDX_SHIFT
from unikiln.mmu.aarch64.walk import walk as arm_walk
from unikiln.mmu.layout import Layout, Tables
from unikiln.mmu.leaves import Leaves, leaves
from unikiln.mmu.memory import Mask, Memory, Words
from unikiln.mmu.request import Request
from unikiln.mmu.runs import Run, mappings
from unikiln.mmu.translation import Attributes, Translation
from unikiln.mmu.x86 import fault as x86_fault
from unikiln.mmu.x86 import regime as x86
from unikiln.mmu.x86.walk import walk as x86_walk

Regime = arm.Regime | x86.Regime
NO_RIGHTS = "---"
Fault = arm_fault.Fault | x86_fault.Fault


class Mapping(NamedTuple):
    """A run of leaves with what they allow and are, and the layout of the range that it lies in."""

    run: Run
    attributes: Attributes
    layout: Layout

    @property
    def last(self) -> int:
        """The highest address mapped."""
        return self.run.va + self.run.size - 1

    @property
    def leaf_size(self) -> int:
        """Bytes that each leaf maps."""
        return self.layout.size(self.run.level)

    @property
    def is_user(self) -> bool:
        """Whether EL0 or ring 3 may do anything with it."""
        return self.attributes.user != NO_RIGHTS

    def allows(self, *rights: str) -> bool:
        """Whether one level of privilege, either, has all of ``rights``: letters of ``rwx``."""
        levels = (self.attributes.user, self.attributes.privileged)
        return any(all(right in level for right in rights) for level in levels)


@dataclass(frozen=True, slots=True)
class Space:
    """What ``regime`` makes of ``memory``; ``mair_known``: whether MAIR_EL1 is the guest's, or a guess."""

    memory: Memory
    regime: Regime
    mair_known: bool = True

    @property
    def arch(self) -> str:
        """The architecture, aarch64 or x86_64."""
        return "aarch64" if isinstance(self.regime, arm.Regime) else "x86_64"

    def tables(self) -> Tables:
        """The ranges that are translated, each with the address of its root table.

        :raises MmuError: nothing is translated, or the tables are big-endian
        """
        regime = self.regime
        if isinstance(regime, arm.Regime):
            if not regime.enabled:
                raise MmuError("SCTLR_EL1.M is 0: the MMU is off, and addresses are physical")
            if regime.big_endian:
                raise MmuError("SCTLR_EL1.EE is 1: big-endian tables can only be walked")
        tables = regime.tables()
        if not tables:
            raise MmuError("TCR_EL1 translates nothing: EPD0 and EPD1 are 1, or both sizes are out of range")
        return tables

    def layout_of(self, va: int) -> Layout | None:
        """The layout of the tables that translate ``va``, None if nothing can translate it."""
        regime = self.regime
        if isinstance(regime, arm.Regime):
            return regime.parameters(bool(va >> 55 & 1)).layout if regime.enabled else None
        return next((layout for layout, _ in regime.tables() if layout.covers(va)), None)

    def walk(self, va: int, request: Request) -> Translation | Fault:
        """Translate ``va``, as the architecture does it."""
        if isinstance(self.regime, arm.Regime):
            result = arm_walk(self.memory, self.regime, va, request)
            if self.mair_known or isinstance(result, arm_fault.Fault) or not result.entries:
                return result
            return replace(result, attributes=_without_type(result.attributes, result.leaf.value))
        return x86_walk(self.memory, self.regime, va, request)

    def attributes(self, layout: Layout, level: int, effective: int) -> Attributes:
        """What a leaf allows and is; ``effective``: with what the tables above it restrict."""
        found = _attributes(self.regime, bool(layout.first_va), level, effective)
        return found if self.mair_known else _without_type(found, effective)

    def user_may(self, layout: Layout, found: Leaves) -> Mask:
        """For each leaf, whether EL0 or ring 3 may do anything with it."""
        level = layout.last_level
        kept = found.effective & np.uint64(layout.attributes_at(level))
        values, at = np.unique(kept, return_inverse=True)
        may = [self.attributes(layout, level, value).user != NO_RIGHTS for value in values.tolist()]
        return np.array(may, dtype=np.bool_)[at]

    def mappings(self, start: int = 0, end: int = 1 << 64, *, by_address: bool = False) -> Iterator[Mapping]:
        """All that is mapped in ``start`` .. ``end``, in order; ``by_address``: physically contiguous each.

        :raises MmuError: a table lies outside the memory (after all that could be read), or they loop
        """
        with self._complete() as memory:
            for layout, root in self.tables():
                memory.load(root)
                for run in mappings(memory, layout, root, start, end, by_address=by_address):
                    yield Mapping(run, self.attributes(layout, run.level, run.effective), layout)

    def leaves(self, start: int = 0, end: int = 1 << 64) -> Iterator[tuple[Layout, Leaves]]:
        """All leaves that begin in ``start`` .. ``end``, in order, in groups.

        :raises MmuError: as :meth:`mappings` does
        """
        with self._complete() as memory:
            for layout, root in self.tables():
                memory.load(root)
                for group in leaves(memory, layout, root, start, end):
                    yield layout, group

    def find(self, pa: int) -> Iterator[tuple[int, Mapping]]:
        """Every virtual address that leads to ``pa``, with the mapping that the leaf there is by itself.

        :raises MmuError: as :meth:`mappings` does
        """
        for layout, group in self.leaves():
            sizes = layout.sizes(group.level)
            starts = layout.output_addresses(group.entry) & ~(sizes - np.uint64(1))
            hits = (starts <= np.uint64(pa)) & (np.uint64(pa) - starts < sizes)
            for index in np.flatnonzero(hits).tolist():
                yield self._alone(layout, group, index, int(starts[index]), pa)

    @contextmanager
    def _complete(self) -> Iterator[Memory]:
        """The memory; at the end of the block an error if something was asked of it that it does not have."""
        memory = _Noting(self.memory)
        yield memory
        if memory.absent is not None:
            raise MmuError(
                f"entries point to tables outside the memory, such as {memory.absent:#x}",
                hint="the dump is short, its base is wrong, or what is there is no table",
            )

    def _alone(self, layout: Layout, group: Leaves, index: int, start: int, pa: int) -> tuple[int, Mapping]:
        va, level, entry, effective = (
            int(column[index]) for column in (group.va, group.level, group.entry, group.effective)
        )
        accessed, dirty = bool(entry & layout.accessed), layout.is_dirty(entry)
        run = Run(va, layout.size(level), start, True, level, effective, 1, accessed, dirty)
        return va + pa - start, Mapping(run, self.attributes(layout, level, effective), layout)


@lru_cache(maxsize=4096)
def _attributes(regime: Regime, upper: bool, level: int, effective: int) -> Attributes:
    if isinstance(regime, arm.Regime):
        return regime.attributes(effective, upper)
    return regime.attributes(effective, upper, level)


def _without_type(attributes: Attributes, entry: int) -> Attributes:
    """With the index into MAIR_EL1 for the memory type, which also decides about shareability."""
    index = entry >> ATTR_INDX_SHIFT & 7
    return replace(attributes, memory_type=f"AttrIndx {index}", shareability="")


class _Noting:
    """Memory that notes the first address asked for that it does not have."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.absent: int | None = None

    def load(self, pa: int) -> int:
        return self._memory.load(pa)

    def gather(self, addresses: Words) -> tuple[Words, Mask]:
        values, present = self._memory.gather(addresses)
        if self.absent is None and not present.all():
            self.absent = int(addresses[~present][0])
        return values, present
