"""Finds changes to AArch64 translation tables that lack a barrier, an invalidation, or break-before-make.

The checker watches every change of an entry and every barrier, and keeps what some processor may still
hold in its TLB (until ``dsb``, ``tlbi`` of the address, ``dsb``) or not see yet (until ``dsb``; Arm ARM
D8.16). Whoever runs the tables tells it when a processor goes on: at :meth:`Checker.resume`, nothing may be
outstanding.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from unikiln.mmu.layout import Layout, Step, Tables
from unikiln.mmu.watch import WatchedMemory

MISSING_DSB = "missing dsb"
MISSING_INVALIDATION = "missing invalidation"
BREAK_BEFORE_MAKE = "break-before-make"

_HERE = str(Path(__file__).parent)
_DEPTH = 3
"""Calls that are told of a place in the code."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A change that a processor may not notice, or may notice by halves.

    ``va``: first address that the entry maps; ``written``: where in the code it was changed, ``found``: where
    what is missing was missed; both name functions, innermost first.
    """

    kind: str
    reason: str
    va: int
    level: int
    before: int
    after: int
    written: str
    found: str

    def __str__(self) -> str:
        return (
            f"{self.kind}: {self.reason}, at {self.va:#x} (level {self.level}): {self.before:#x} became "
            f"{self.after:#x} in {self.written}; found in {self.found}"
        )


class _Change(NamedTuple):
    """An entry that became another."""

    reason: str
    va: int
    size: int
    level: int
    before: int
    after: int
    written: str


@dataclass(slots=True)
class _Stale:
    """A change whose old value some TLB may hold.

    ``seen``: a ``dsb`` followed, so walkers read the new value; ``leaving``: then a ``tlbi`` was issued;
    ``early``: one was issued before.
    ``whole``: a table went, so all of the range has to be invalidated, not an address in it.
    """

    change: _Change
    whole: bool
    seen: bool = False
    leaving: bool = False
    early: bool = False

    @property
    def lacks(self) -> str:
        """What did not follow the change."""
        if self.leaving:
            return "no dsb followed the tlbi"
        return "the tlbi came before a dsb" if self.early else "no tlbi followed"


class _Table(NamedTuple):
    layout: Layout
    depth: int
    va: int

    @property
    def step(self) -> Step:
        return self.layout.steps[self.depth]


class Checker:
    """Watches the tables below the roots of ``tables`` in ``memory``; answers ``Barriers``.

    :ivar findings: what was found, in order, each change once
    """

    def __init__(self, memory: WatchedMemory, tables: Tables) -> None:
        self.findings: list[Finding] = []
        self._memory = memory
        self._tables: dict[int, _Table] = {}
        self._page_sizes = {layout.page_size for layout, _ in tables}
        self._stale: dict[int, list[_Stale]] = {}
        self._unseen: dict[int, _Change] = {}
        for layout, root in tables:
            step = layout.steps[0]
            self._note_table(root, _Table(layout, 0, layout.first_va & -(step.mask + 1 << step.shift)))
        memory.watchers.append(self._written)

    # -- barriers

    def dsb(self) -> None:
        """Entries written before are seen; invalidations issued before are done."""
        self._unseen.clear()
        for index, changes in list(self._stale.items()):
            left = [stale for stale in changes if not stale.leaving]
            for stale in left:
                stale.seen = True
            self._keep(index, left)

    def isb(self) -> None:
        """Nothing hangs on it here: a processor that goes on is synchronised by its exception return."""

    def tlbi(self, va: int, size: int) -> None:
        """Translations of a range are to go, at the next ``dsb``."""
        for changes in self._stale.values():
            for stale in changes:
                if _covers(va, size, stale):
                    stale.leaving, stale.early = stale.seen, not stale.seen

    def tlbi_all(self) -> None:
        """All translations are to go, at the next ``dsb``."""
        self.tlbi(0, 1 << 64)

    def resume(self) -> None:
        """A processor goes on: whatever is outstanding now is a finding."""
        if not self._unseen and not self._stale:
            return
        for change in self._unseen.values():
            self._find(MISSING_DSB, change)
        for changes in self._stale.values():
            for stale in changes:
                reason = f"{stale.change.reason} and {stale.lacks}"
                self._find(MISSING_INVALIDATION, stale.change._replace(reason=reason))
        self._unseen.clear()
        self._stale.clear()

    # -- changes

    def _written(self, index: int, before: int, after: int) -> None:
        base, table = self._table_of(index)
        if table is None:
            return
        step = table.step
        va = table.va + ((index << 3) - base >> 3 << step.shift)
        change = _Change("", va, 1 << step.shift, step.level, before, after, _place())
        self._compare_with_older(index, table, change)
        if _held(table, before) or _is_table(table, before):
            self._replaced(index, table, change)
        self._note_visibility(index, table, change)
        if _is_table(table, after):
            self._note_table(table.layout.output_address(after), _Table(table.layout, table.depth + 1, va))

    def _replaced(self, index: int, table: _Table, change: _Change) -> None:
        """An entry that a TLB may hold became another."""
        broken = _why_break(table, change.before, change.after)
        if broken:
            self._find(
                BREAK_BEFORE_MAKE, change._replace(reason=f"{broken} changed while the entry was valid")
            )
        reason = _why_invalidate(table, change.before, change.after)
        if reason:
            stale = _Stale(change._replace(reason=reason), whole=_is_table(table, change.before))
            self._stale.setdefault(index, []).append(stale)

    def _compare_with_older(self, index: int, table: _Table, change: _Change) -> None:
        """An older value that is not invalidated yet must not meet one that contradicts it."""
        left = []
        for stale in self._stale.get(index, ()):
            older = stale.change.before
            broken = _why_break(table, older, change.after)
            if broken:
                reason = f"{broken} changed and the old entry was not invalidated before the new one was made"
                self._find(BREAK_BEFORE_MAKE, change._replace(reason=reason, before=older))
            elif _why_invalidate(table, older, change.after):
                left.append(stale)
        self._keep(index, left)

    def _note_visibility(self, index: int, table: _Table, change: _Change) -> None:
        """A walker that goes on must see what was made valid; it may fault once more on the rest."""
        if _held(table, change.after) or _is_table(table, change.after):
            if not _held(table, change.before):
                reason = "the entry was made valid and no dsb followed"
                self._unseen[index] = change._replace(reason=reason)
        else:
            self._unseen.pop(index, None)

    def _keep(self, index: int, left: list[_Stale]) -> None:
        if left:
            self._stale[index] = left
        else:
            self._stale.pop(index, None)

    # -- what is known

    def _table_of(self, index: int) -> tuple[int, _Table | None]:
        """The table that the word lies in, and its address."""
        for page in self._page_sizes:
            table = self._tables.get(index << 3 & -page)
            if table is not None:
                return index << 3 & -page, table
        return 0, None

    def _note_table(self, pa: int, table: _Table) -> None:
        """Watch the table at ``pa``, and those that it points to already."""
        self._tables[pa] = table
        if table.depth + 1 == len(table.layout.steps):
            return
        for number in range(table.step.mask + 1):
            entry = self._memory.load(pa + number * 8)
            if _is_table(table, entry):
                below = _Table(table.layout, table.depth + 1, table.va + (number << table.step.shift))
                self._note_table(table.layout.output_address(entry), below)

    def _find(self, kind: str, change: _Change) -> None:
        self.findings.append(
            Finding(
                kind, change.reason, change.va & (1 << 64) - 1, change.level, change.before, change.after,
                change.written, _place(),
            )
        )  # fmt: skip


def _covers(va: int, size: int, stale: _Stale) -> bool:
    change = stale.change
    if stale.whole:
        return va <= change.va and change.va + change.size <= va + size
    return va < change.va + change.size and change.va < va + size


def _is_table(table: _Table, entry: int) -> bool:
    return entry & table.step.table_mask == table.step.table_value


def _held(table: _Table, entry: int) -> bool:
    """Whether a TLB may hold the leaf: it is one, and its access flag is set."""
    return entry & table.step.leaf_mask == table.step.leaf_value and bool(entry & table.layout.accessed)


def _why_invalidate(table: _Table, before: int, after: int) -> str:
    """What a TLB that holds ``before`` has wrong; empty if nothing that matters."""
    layout = table.layout
    if _is_table(table, before):
        return "" if before == after else "a table was taken out"
    if not _held(table, after):
        still = after & table.step.leaf_mask == table.step.leaf_value
        return "the access flag was cleared" if still else "the entry was removed"
    different = before ^ after
    if different & ~layout.in_place:
        return "the mapping was changed"
    rights = layout.attributes & layout.in_place & ~layout.will_write
    return "permissions were changed" if different & rights else ""


def _why_break(table: _Table, before: int, after: int) -> str:
    """What must not change from one valid entry to another; empty if nothing did (Arm ARM D8.16.1)."""
    layout = table.layout
    if not (_held(table, after) or _is_table(table, after)):
        return ""
    if _is_table(table, before) or _is_table(table, after):
        return "" if before == after else "the size"
    different = before ^ after
    if different & layout.address_bits((1 << 52) - 1):
        return "the output address"
    if different & layout.contiguous:
        return "the contiguous bit"
    return "attributes" if different & layout.attributes & ~layout.in_place else ""


def _place() -> str:
    """Where the code is, outside of this package: file:line of a few calls, innermost first."""
    frame, names = sys._getframe(1), list[str]()
    while frame is not None and len(names) < _DEPTH:
        code = frame.f_code
        if not code.co_filename.startswith(_HERE):
            names.append(f"{Path(code.co_filename).name}:{frame.f_lineno} {code.co_name}")
        if frame.f_back is None:
            break
        frame = frame.f_back
    return " < ".join(names)
