"""Where QEMU 10 does otherwise than the architecture: a row for each, with what QEMU does there instead.

A row tells exactly which cases it is about, and exactly what QEMU does with those: where a row applies, QEMU
must deviate in that way. So a row that is too wide, or that a later QEMU makes needless, fails the test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from tests.baremetal.aarch64.expect import SVC, Expectation, expect
from tests.baremetal.aarch64.guest import Guest, IdRegisters
from tests.baremetal.aarch64.operation import OPERATIONS, Operation
from tests.baremetal.aarch64.record import Case
from unikiln.mmu.aarch64 import descriptor as bits
from unikiln.mmu.aarch64.registers import SCTLR_WXN, Tcr
from unikiln.mmu.request import Access

WNR = 1 << 6
_IPS, _IPS_48 = 7 << 32, 5 << 32
_STATUS, _ALIGNMENT = 0x3F, 0b100001


@dataclass(frozen=True, slots=True)
class View:
    """A case on a processor, as it is and as QEMU reads it."""

    real: Case
    case: Case
    operation: Operation
    guest: Guest
    ids: IdRegisters

    @property
    def upper(self) -> bool:
        """Which half the address is in."""
        return bool(self.case.va >> 55 & 1)

    def expectation(self) -> Expectation:
        """What is expected of the case as read, with the entries that are really there."""
        found = expect(self.case, self.guest, self.ids, self.operation)
        triples = zip(self.real.entries, self.case.entries, found.result.entries, strict=True)
        entries = tuple(after ^ before ^ truth for (_, truth), (_, before), after in triples)
        return replace(found, result=replace(found.result, entries=entries))


class Reading(NamedTuple):
    """QEMU takes a case for another one; ``seen`` gives None for a case that the row is not about."""

    name: str
    reason: str
    seen: Callable[[View], View | None]


class Doing(NamedTuple):
    """QEMU does something else; ``instead`` gives None for a case that the row is not about."""

    name: str
    reason: str
    instead: Callable[[View, Expectation], Expectation | None]


def _without_high_bits(view: View) -> View | None:
    regime = view.case.regime
    parameters = regime.parameters(view.upper)
    tables = parameters.layout
    if tables is None or not tables.high_address or parameters.oa_bits > 48:
        return None
    high = sum(mask for mask, _ in tables.high_address)
    entries = tuple((pa, value & ~high) for pa, value in view.case.entries)
    if Tcr(regime.tcr).ds and tables.page_shift < 16:
        name = "ttbr1" if view.upper else "ttbr0"
        regime = replace(regime, **{name: getattr(regime, name) & ~0x3C})
    return replace(view, case=replace(view.case, entries=entries, regime=regime))


def _without_dbm(view: View) -> View | None:
    if view.operation.access is not Access.EXECUTE or not view.case.regime.hardware_dirty_state:
        return None
    at = expect(view.case, view.guest, view.ids).leaf
    entries = tuple((pa, value & ~bits.DBM if pa == at else value) for pa, value in view.case.entries)
    return replace(view, case=replace(view.case, entries=entries))


def _without_wxn(view: View) -> View | None:
    case = view.case
    fetch = view.operation.access is Access.EXECUTE and case.privileged and case.pan
    if not fetch or not case.regime.sctlr & SCTLR_WXN:
        return None
    read = expect(case, view.guest, view.ids, OPERATIONS["ldrb"])
    if not read.outcome.startswith("data permission"):
        return None
    regime = replace(case.regime, sctlr=case.regime.sctlr & ~SCTLR_WXN)
    return replace(view, case=replace(case, regime=regime))


def _without_offset(view: View) -> View | None:
    regime, entries = view.case.regime, view.case.entries
    parameters = regime.parameters(view.upper)
    tables, size = parameters.layout, parameters.oa_bits
    if tables is None or not regime.enabled or size >= 48 or parameters.root >> size:
        return None
    if any(tables.output_address(value) >> size for _, value in entries):
        return None
    return replace(view, case=replace(view.case, regime=replace(regime, tcr=regime.tcr & ~_IPS | _IPS_48)))


def _with_hpd(view: View) -> View | None:
    regime = view.case.regime
    if regime.config.hpds or not regime.parameters(view.upper).half.hpd:
        return None
    regime = replace(regime, config=replace(regime.config, hpds=True))
    return replace(view, case=replace(view.case, regime=regime))


def _as_store(view: View) -> View | None:
    return replace(view, operation=replace(view.operation, zeroes=False)) if view.operation.zeroes else None


def _as_load_of_line(view: View) -> View | None:
    if view.operation.name != "dc_cvap":
        return None
    case = replace(view.case, va=view.case.va & -view.ids.line_bytes)
    return replace(view, case=case, operation=replace(view.operation, cache_maintenance=False))


def _does_nothing(view: View, expected: Expectation) -> Expectation | None:
    if not view.operation.cache_maintenance:
        return None
    entries = tuple(value for _, value in view.real.entries)
    elr = view.guest.stub(view.real) + 8
    done = replace(expected.result, esr=SVC, elr=elr, far=0, entries=entries)
    return replace(expected, result=done, outcome="cache completed")


def _makes_dirty(view: View, expected: Expectation) -> Expectation | None:
    writes = view.operation.at and view.operation.access is Access.WRITE
    if not writes or not view.case.regime.hardware_dirty_state or expected.outcome != "AT completed":
        return None
    return _with_leaf(view, expected, lambda leaf: leaf & ~bits.AP_READ_ONLY if leaf & bits.DBM else leaf)


def _alignment_first(view: View, expected: Expectation) -> Expectation | None:
    misaligned = view.case.va & view.operation.size - 1
    if view.case.regime.enabled or expected.outcome != "data address size level 0" or not misaligned:
        return None
    return _with_syndrome(expected, expected.result.esr & ~_STATUS | _ALIGNMENT)


def _exclusive_writes(view: View, expected: Expectation) -> Expectation | None:
    if not view.ids.has_lse2 or not view.operation.atomic or expected.outcome != "data alignment":
        return None
    return _with_syndrome(expected, expected.result.esr | WNR)


def _atomic_writes(view: View, expected: Expectation) -> Expectation | None:
    aborted = expected.result.esr != SVC
    if view.guest.processors == 1 or not view.operation.modifies or not aborted:
        return None
    return _with_syndrome(expected, expected.result.esr | WNR)


def _half_an_atomic(view: View, expected: Expectation) -> Expectation | None:
    reads_first = view.guest.processors == 1 and view.operation.modifies
    refused_to_write = expected.outcome.startswith("data permission") and expected.result.esr & WNR
    if not reads_first or not refused_to_write:
        return None
    load = replace(view, operation=OPERATIONS["ldrb"]).expectation()
    if load.outcome == "data external abort":
        return load
    return replace(expected, result=replace(expected.result, entries=load.result.entries))


def _with_leaf(view: View, expected: Expectation, change: Callable[[int], int]) -> Expectation:
    """``expected`` with another value of the last entry that the walk reads."""
    entries = zip(view.real.entries, expected.result.entries, strict=True)
    changed = tuple(change(value) if pa == expected.leaf else value for (pa, _), value in entries)
    return replace(expected, result=replace(expected.result, entries=changed))


def _with_syndrome(expected: Expectation, esr: int) -> Expectation:
    return replace(expected, result=replace(expected.result, esr=esr))


READINGS = (
    Reading(
        "bits 51:48 unseen",
        "where the output size is 48 bits or less, QEMU does not see address bits 51:48, which the "
        "processor has and which make an address size fault there (AArch64.LeafBase, AArch64.OAOutOfRange)",
        _without_high_bits,
    ),
    Reading(
        "fetch from clean",
        "with TCR_EL1.HD, DBM = 1 makes a leaf writable for every access (AArch64.S1ApplyOutputPerms), so "
        "that WXN, and the PXN that EL0's writes imply, apply to it; QEMU minds DBM for stores alone",
        _without_dbm,
    ),
    Reading(
        "WXN under PAN",
        "PAN does not take part in a fetch, so what EL1 may write without PAN it may not execute with WXN; "
        "QEMU takes away first what PAN forbids, then executes what is left unwritable",
        _without_wxn,
    ),
    Reading(
        "HPD for everyone",
        "TCR_EL1.HPDn means nothing to a processor without FEAT_HPDS; QEMU heeds it all the same",
        _with_hpd,
    ),
    Reading(
        "offset unchecked",
        "the output address is checked with the offset into the block (AArch64.StageOA), which may alone be "
        "too large for IPS; QEMU checks the address in the entry",
        _without_offset,
    ),
    Reading(
        "DC ZVA as store",
        "DC ZVA to Device memory is an alignment fault (AArch64.S1HasAlignmentFault); QEMU stores the zeroes",
        _as_store,
    ),
    Reading(
        "DC CVAP as load",
        "QEMU probes the start of the line as for a load, and reports that: CM = 0, WnR = 0",
        _as_load_of_line,
    ),
)
DOINGS = (
    Doing(
        "maintenance skipped",
        "QEMU has no caches: DC and IC by address do nothing, not even translate",
        _does_nothing,
    ),
    Doing(
        "AT makes dirty",
        "AT leaves the dirty state alone (AArch64.S1Translate); QEMU clears AP[2] as for a store",
        _makes_dirty,
    ),
    Doing(
        "alignment first",
        "with the MMU off, QEMU finds an address misaligned before it finds it too large; the manual has it "
        "the other way round (AArch64.S1DisabledOutput)",
        _alignment_first,
    ),
    Doing(
        "exclusives write",
        "with FEAT_LSE2, QEMU reports WnR = 1 for every exclusive or atomic that is misaligned",
        _exclusive_writes,
    ),
    Doing(
        "atomics write",
        "an atomic reads first, and faults as a read if the read alone would fault so (AArch64.NoFault, "
        "S1CheckPermissions); with several processors QEMU makes it one access, a write",
        _atomic_writes,
    ),
    Doing(
        "half an atomic",
        "with one processor QEMU makes an atomic a load, which sets AF, and may find nothing there, and then "
        "a store, which may fault; a processor may choose whether to set AF where the permission is missing",
        _half_an_atomic,
    ),
)


def qemu_expectation(
    case: Case, expected: Expectation, guest: Guest, ids: IdRegisters
) -> tuple[Expectation, list[str]]:
    """What QEMU does with ``case``, of which the model expects ``expected``; and the rows that matter to it.

    :raises UnjudgeableError: QEMU would reach memory that is not for the case
    """
    view = View(case, case, OPERATIONS[case.operation], guest, ids)
    rows: list[str] = []
    for reading in READINGS:
        seen = reading.seen(view)
        if seen is not None:
            found = seen.expectation()
            rows += [reading.name] if found.result != expected.result else []
            view, expected = seen, found
    for doing in DOINGS:
        done = doing.instead(view, expected)
        if done is not None and done.result != expected.result:
            rows.append(doing.name)
            expected = done
    return expected, rows
