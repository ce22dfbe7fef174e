"""The translation of an address, as the manual specifies it (Arm ARM D8.2, J1 AArch64.S1Walk, S1Translate).

One stage, the EL1&0 regime. It models what one access does to an empty TLB; `unikiln.mmu.tlb` adds the TLB,
and `unikiln.mmu.leaf` is the quick walk for those who want the leaf alone.
"""

from __future__ import annotations

from dataclasses import replace

from unikiln.errors import MmuError
from unikiln.mmu.aarch64 import descriptor as bits
from unikiln.mmu.aarch64.fault import Fault, FaultKind
from unikiln.mmu.aarch64.permission import mair_field, permits
from unikiln.mmu.aarch64.regime import Parameters, Regime
from unikiln.mmu.aarch64.registers import SCTLR_A, is_device
from unikiln.mmu.layout import Layout
from unikiln.mmu.memory import Memory
from unikiln.mmu.request import Access, Request
from unikiln.mmu.translation import Attributes, Translation, Visited

_TAG = 0xFF << 56


def walk(memory: Memory, regime: Regime, va: int, request: Request) -> Translation | Fault:
    """Translate ``va`` for ``request``, with nothing cached. Memory is only read: see ``changes``."""
    if _misaligned(va, request) and (request.atomic or regime.sctlr & SCTLR_A):
        return Fault(FaultKind.ALIGNMENT, 0, va, request)
    upper = bool(va >> 55 & 1)
    if not regime.enabled:
        return _flat(regime, va, request)
    parameters = regime.parameters(upper)
    address = _untagged(va, parameters, request)
    layout = parameters.layout
    if layout is None or _shut(parameters, regime, request) or not layout.covers(address):
        return Fault(FaultKind.TRANSLATION, 0, va, request)
    if parameters.root >> parameters.oa_bits:
        return Fault(FaultKind.ADDRESS_SIZE, 0, va, request)
    return _Walk(memory, regime, parameters, layout, va, request).run(address)


def refusal(
    regime: Regime, effective: int, va: int, request: Request, entries: tuple[Visited, ...]
) -> Fault | None:
    """The fault if a leaf with its access flag set, the last of ``entries``, does not grant ``request``.

    ``effective``: the leaf as :class:`~unikiln.mmu.translation.Translation` has it.
    """
    kind = _refused(regime, effective, va, request)
    if kind is None:
        return None
    read = replace(request, access=Access.READ)
    read_allowed = request.modifies and _refused(regime, effective, va, read) is None
    return Fault(kind, entries[-1].level, va, request, entries, read_allowed=read_allowed)


def _refused(regime: Regime, effective: int, va: int, request: Request) -> FaultKind | None:
    needs_normal = request.zeroes or _misaligned(va, request)
    if needs_normal and is_device(mair_field(effective, regime.mair)):
        return FaultKind.ALIGNMENT
    if not permits(effective, regime.sctlr, request, epan=regime.config.pan > 2):
        return FaultKind.PERMISSION
    return None


def _misaligned(va: int, request: Request) -> bool:
    data = request.access is not Access.EXECUTE and not request.at and not request.cache_maintenance
    return data and bool(va & request.size - 1)


def _shut(parameters: Parameters, regime: Regime, request: Request) -> bool:
    """Whether TCR_EL1 disables walks of this half, for everyone (EPDn) or for EL0 (E0PDn)."""
    half = parameters.half
    return half.epd or (half.e0pd and regime.config.e0pd and not request.as_privileged)


def _untagged(va: int, parameters: Parameters, request: Request) -> int:
    """``va`` with the top byte that TBI ignores made a copy of bit 55; TBID keeps it for instructions."""
    if not _ignores_tag(parameters, request):
        return va
    return va | _TAG if va >> 55 & 1 else va & ~_TAG


def _ignores_tag(parameters: Parameters, request: Request) -> bool:
    half = parameters.half
    return half.tbi and not (half.tbid and request.access is Access.EXECUTE)


def _flat(regime: Regime, va: int, request: Request) -> Translation | Fault:
    """With the MMU off, addresses are physical; data is Device-nGnRnE."""
    address = va & ~_TAG if _ignores_tag(regime.parameters(bool(va >> 55 & 1)), request) else va
    if address >> regime.config.pa_bits:
        return Fault(FaultKind.ADDRESS_SIZE, 0, va, request)
    if request.zeroes or _misaligned(va, request):
        return Fault(FaultKind.ALIGNMENT, 0, va, request)
    kind = "Normal" if request.access is Access.EXECUTE else "Device-nGnRnE"
    return Translation(va, address, 1 << regime.config.pa_bits, (), Attributes("rwx", "rwx", kind))


class _Walk:
    """One walk: where it is, what it read, and what the tables so far take away from the leaf."""

    def __init__(
        self,
        memory: Memory,
        regime: Regime,
        parameters: Parameters,
        layout: Layout,
        va: int,
        request: Request,
    ) -> None:
        self._memory, self._regime, self._oa_bits = memory, regime, parameters.oa_bits
        self._layout, self._va, self._request = layout, va, request
        self._table = parameters.root
        self._entries: list[Visited] = []
        self._gets = self._loses = 0

    def run(self, address: int) -> Translation | Fault:
        """Walk from the root; ``address`` is the input address without its tag."""
        for step in self._layout.steps:
            at = self._table + (address >> step.shift & step.mask) * 8
            try:
                value = self._load(at)
            except MmuError:
                return self._fault(FaultKind.EXTERNAL_ON_WALK, step.level)
            self._entries.append(Visited(step.level, at, value))
            if value & step.table_mask != step.table_value:
                break
            self._descend(value)
            if self._table >> self._oa_bits:
                return self._fault(FaultKind.ADDRESS_SIZE, step.level)
        if value & step.leaf_mask != step.leaf_value:
            return self._fault(FaultKind.TRANSLATION, step.level)
        return self._leaf(value, step.level, address)

    def _load(self, pa: int) -> int:
        value = self._memory.load(pa)
        return int.from_bytes(value.to_bytes(8, "little"), "big") if self._regime.big_endian else value

    def _descend(self, value: int) -> None:
        for rule in self._layout.inherited:
            if value & rule.mask == rule.value:
                self._gets |= rule.gets
                self._loses |= rule.loses
        self._table = self._layout.output_address(value)

    def _leaf(self, value: int, level: int, address: int) -> Translation | Fault:
        """The checks of a page or block, in the order of their priority (D8.15, "MMU fault priority")."""
        size = self._layout.size(level)
        pa = self._layout.output_address(value) & -size | address & size - 1
        if pa >> self._oa_bits:
            return self._fault(FaultKind.ADDRESS_SIZE, level)
        if not value & bits.AF and not self._regime.hardware_access_flag:
            return self._fault(FaultKind.ACCESS_FLAG, level)
        accessed = value | bits.AF
        dirty = accessed & ~bits.AP_READ_ONLY if self._may_become_dirty(value) else accessed
        effective = (dirty | self._gets) & ~self._loses
        entries = tuple(self._entries)
        refused = refusal(self._regime, effective, self._va, self._request, entries)
        if refused:
            return refused
        changes = self._changes(dirty if self._stores else accessed)
        attributes = self._regime.attributes(effective, bool(self._va >> 55 & 1))
        return Translation(self._va, pa, size, entries, attributes, changes, effective)

    def _may_become_dirty(self, value: int) -> bool:
        """Whether the first store makes the leaf writable; it counts as writable for every access."""
        return bool(value & bits.DBM) and self._regime.hardware_dirty_state

    @property
    def _stores(self) -> bool:
        """Whether the dirty state is to change: AT and cache maintenance leave it alone."""
        request = self._request
        return request.access is Access.WRITE and not request.at and not request.cache_maintenance

    def _changes(self, updated: int) -> tuple[Visited, ...]:
        """What hardware management of AF and dirty state writes (D8.5, FEAT_HAFDBS)."""
        leaf = self._entries[-1]
        return () if updated == leaf.value else (leaf._replace(value=updated),)

    def _fault(self, kind: FaultKind, level: int) -> Fault:
        return Fault(kind, level, self._va, self._request, tuple(self._entries))
