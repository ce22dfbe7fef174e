"""A processor's view of translation: its TLB, and memory as its table walker sees it.

The model is as unkind as the architecture permits: an entry that was written is not seen by the walker
before a ``dsb``, an invalidation does nothing before one, and a translation that was once made stays until it
is invalidated or pushed out. Software that gets the right answers here has the barriers it needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from unikiln.mmu.aarch64 import descriptor as bits
from unikiln.mmu.aarch64.fault import Fault, FaultKind
from unikiln.mmu.aarch64.regime import Regime
from unikiln.mmu.aarch64.walk import refusal, walk
from unikiln.mmu.memory import Mask, Words
from unikiln.mmu.request import Access, Request
from unikiln.mmu.tlb import Tlb, TlbEntry
from unikiln.mmu.translation import Translation
from unikiln.mmu.watch import WatchedMemory


class Processor:
    """Translates through ``tlb``; answers ``Barriers``, and is the ``Memory`` of its walker."""

    def __init__(self, memory: WatchedMemory, regime: Regime, tlb: Tlb | None = None) -> None:
        self.memory = memory
        self.regime = regime
        self.tlb = tlb or Tlb()
        self._unseen: dict[int, int] = {}
        self._invalidations: list[Callable[[], None]] = []
        memory.watchers.append(self._written)

    # -- the walker's memory

    def load(self, pa: int) -> int:
        """The word at ``pa`` as the walker sees it: without what was written since the last ``dsb``.

        :raises MmuError: there is no memory
        """
        value = self.memory.load(pa)
        return self._unseen.get(pa >> 3, value)

    def gather(self, addresses: Words) -> tuple[Words, Mask]:
        """As :meth:`load`, for many."""
        values, present = self.memory.gather(addresses)
        for at, pa in enumerate(addresses.tolist()):
            if pa >> 3 in self._unseen:
                values[at] = self._unseen[pa >> 3]
        return values, present

    def _written(self, index: int, old: int, new: int) -> None:
        self._unseen.setdefault(index, old)

    # -- translation

    def translate(self, va: int, request: Request) -> Translation | Fault:
        """What the processor does with an access; the walk's own changes to entries are made."""
        held = self.tlb.lookup(va, self.regime.asid)
        if len({(entry.pa + va - entry.va, entry.effective) for entry in held}) > 1:
            return Fault(FaultKind.TLB_CONFLICT, 0, va, request)
        if held and not self._must_walk(held[0], request):
            return self._from_tlb(held[0], va, request)
        result = walk(self, self.regime, va, request)
        if isinstance(result, Translation) and result.entries:
            self._fill(result)
        return result

    def _must_walk(self, entry: TlbEntry, request: Request) -> bool:
        """A store that is to make a clean entry dirty goes to the table."""
        leaf = entry.translation.updated
        clean = leaf & bits.DBM and leaf & bits.AP_READ_ONLY
        return bool(clean) and request.access is Access.WRITE and self.regime.hardware_dirty_state

    def _from_tlb(self, entry: TlbEntry, va: int, request: Request) -> Translation | Fault:
        made = entry.translation
        refused = refusal(self.regime, entry.effective, va, request, made.entries)
        if refused:
            return refused
        return replace(made, va=va, pa=entry.pa + va - entry.va, changes=())

    def _fill(self, made: Translation) -> None:
        for change in made.changes:
            self.memory.compare_and_swap(change.pa >> 3, made.leaf.value, change.value)
            self._unseen.pop(change.pa >> 3, None)  # the walker's own update it sees at once
        layout = self.regime.parameters(bool(made.va >> 55 & 1)).layout
        assert layout is not None
        size = made.size
        if made.effective & bits.CONTIGUOUS:
            size *= layout.run_length(made.level)
        offset = made.va & size - 1
        asid = self.regime.asid if made.effective & bits.NG else None
        base = (made.pa - (made.va & made.size - 1)) & -size
        self.tlb.fill(TlbEntry(made.va - offset, size, base, asid, made.effective, made))

    # -- barriers

    def dsb(self) -> None:
        """``dsb ish``: what was written is seen, what was to be invalidated is gone."""
        self._unseen.clear()
        for invalidate in self._invalidations:
            invalidate()
        self._invalidations.clear()

    def isb(self) -> None:
        """``isb``: the model fetches nothing ahead, so there is nothing to throw away."""

    def tlbi(self, va: int, size: int) -> None:
        """``tlbi rvaae1is``."""
        self._invalidations.append(partial(self.tlb.invalidate, va, size))

    def tlbi_asid(self, asid: int) -> None:
        """``tlbi aside1is``."""
        self._invalidations.append(partial(self.tlb.invalidate_asid, asid))

    def tlbi_all(self) -> None:
        """``tlbi vmalle1is``."""
        self._invalidations.append(self.tlb.invalidate_all)
