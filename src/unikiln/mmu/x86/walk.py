"""The translation of an address by IA-32e paging, as the manual specifies it (Intel SDM vol. 3, 4.5 to 4.9).

It models one access with nothing cached. An implicit supervisor-mode access, as to the GDT or an LDT, is one
with ``privileged=True, ac=False``, whatever EFLAGS.AC is (4.6.1). Linear-address masking, HLAT and shadow
stacks are not modelled.
"""

from __future__ import annotations

from unikiln.errors import MmuError
from unikiln.mmu.layout import Layout
from unikiln.mmu.memory import Memory
from unikiln.mmu.request import Access, Request
from unikiln.mmu.translation import Translation, Visited
from unikiln.mmu.x86 import entry as bits
from unikiln.mmu.x86 import error_code
from unikiln.mmu.x86.fault import Fault, FaultKind
from unikiln.mmu.x86.permission import Control, Denial, attributes, denial, key_denies, restricted
from unikiln.mmu.x86.regime import Regime


def walk(memory: Memory, regime: Regime, va: int, request: Request) -> Translation | Fault:
    """Translate ``va`` for ``request``. Memory is only read: ``changes`` has the entries with A and D set."""
    parameters = regime.parameters
    for layout in (parameters.lower, parameters.upper):
        if layout.covers(va):
            return _Walk(memory, layout, parameters.control, va, request).run(regime.root)
    return Fault(FaultKind.NON_CANONICAL, 0, va, request)


class _Walk:
    """One walk: what it read, and what it would write."""

    def __init__(self, memory: Memory, layout: Layout, control: Control, va: int, request: Request) -> None:
        self._memory, self._layout, self._control = memory, layout, control
        self._va, self._request = va, request
        self._entries: list[Visited] = []
        self._changes: dict[int, Visited] = {}

    def run(self, table: int) -> Translation | Fault:
        """Walk from the table at this physical address."""
        for step in self._layout.steps:
            at = table + (self._va >> step.shift & step.mask) * 8
            try:
                value = self._load(at)
            except MmuError:
                return Fault(FaultKind.NO_MEMORY, step.level, self._va, self._request, *self._seen())
            self._entries.append(Visited(step.level, at, value))
            if value & step.table_mask != step.table_value:
                break
            self._mark(bits.A)
            table = self._layout.output_address(value)
        if value & step.leaf_mask == step.leaf_value:
            return self._leaf()
        if value & bits.P:
            return self._page_fault(FaultKind.RESERVED_BIT, error_code.P | error_code.RSVD)
        return self._page_fault(FaultKind.NOT_PRESENT, 0)

    def _load(self, pa: int) -> int:
        """The entry at ``pa``, as this walk itself left it if tables lead into themselves."""
        return self._changes[pa].value if pa in self._changes else self._memory.load(pa)

    def _mark(self, flags: int) -> None:
        """Set flags in the entry that was read last (4.8)."""
        level, pa, value = self._entries[-1]
        if flags & ~value:
            self._changes.pop(pa, None)
            self._changes[pa] = Visited(level, pa, value | flags)

    def _leaf(self) -> Translation | Fault:
        level, _, value = self._entries[-1]
        effective = restricted(value, (entry.value for entry in self._entries[:-1]))
        reason = denial(effective, self._control, self._request)
        if reason:
            key = error_code.PK if key_denies(effective, self._control, self._request) else 0
            return self._page_fault(FaultKind.PROTECTION, error_code.P | key, reason)
        self._mark(bits.A | bits.D if self._request.access is Access.WRITE else bits.A)
        size = self._layout.size(level)
        pa = self._layout.output_address(value) & -size | self._va & size - 1
        entries, changes = self._seen()
        return Translation(self._va, pa, size, entries, attributes(effective, level, self._control), changes)

    def _page_fault(self, kind: FaultKind, code: int, reason: Denial | None = None) -> Fault:
        request, control = self._request, self._control
        if request.access is Access.WRITE:
            code |= error_code.WR
        if not request.privileged:
            code |= error_code.US
        if request.access is Access.EXECUTE and (control.nxe or control.smep):
            code |= error_code.ID
        return Fault(kind, self._entries[-1].level, self._va, request, *self._seen(), code, reason)

    def _seen(self) -> tuple[tuple[Visited, ...], tuple[Visited, ...]]:
        return tuple(self._entries), tuple(self._changes.values())
