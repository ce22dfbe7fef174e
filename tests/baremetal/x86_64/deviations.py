"""Where QEMU does not do what the manual says (seen in 10.0.2, ``target/i386/tcg/system/excp_helper.c``).

Each deviation names the cases that it touches as narrowly as they are known, and says exactly what QEMU does
with them: a case that it touches is judged as sharply as any other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.baremetal.x86_64.cases import Case
from tests.baremetal.x86_64.guest import Kind, Outcome
from unikiln.mmu.memory import TableMemory
from unikiln.mmu.translation import Translation
from unikiln.mmu.x86 import entry as bits
from unikiln.mmu.x86 import error_code
from unikiln.mmu.x86.fault import Fault, FaultKind
from unikiln.mmu.x86.permission import Denial
from unikiln.mmu.x86.walk import walk

Result = Translation | Fault


def _same_walk(memory: TableMemory, case: Case, fault: Fault) -> Result:
    return fault


def _same_outcome(case: Case, outcome: Outcome) -> Outcome:
    return outcome


@dataclass(frozen=True, slots=True)
class Deviation:
    """One of them: ``walk`` is what QEMU's walk does instead, ``shows`` what it reports instead."""

    name: str
    reason: str
    applies: Callable[[Case, Fault], bool]
    walk: Callable[[TableMemory, Case, Fault], Result] = _same_walk
    shows: Callable[[Case, Outcome], Outcome] = _same_outcome


def _maps_1g(fault: Fault) -> bool:
    return fault.level == 3 and bool(fault.entries[-1].value & bits.PS)


def _is_unsupported_1g(case: Case, fault: Fault) -> bool:
    return fault.kind is FaultKind.RESERVED_BIT and _maps_1g(fault) and not case.regime.config.pages_1g


def _walk_with_1g(memory: TableMemory, case: Case, fault: Fault) -> Result:
    config = replace(case.regime.config, pages_1g=True)
    return walk(memory, replace(case.regime, config=config), case.va, case.request)


def _is_explicit_to_qemu(case: Case, fault: Fault) -> bool:
    return case.kind is Kind.SEGMENT and not case.user and case.ac and fault.denial is Denial.SMAP


def _walk_with_ac(memory: TableMemory, case: Case, fault: Fault) -> Result:
    return walk(memory, case.regime, case.va, replace(case.request, ac=True))


def _is_refused_1g(case: Case, fault: Fault) -> bool:
    """Also where bits 29:13 are not 0, but not where a bit is set that is reserved in every entry."""
    if fault.kind not in (FaultKind.PROTECTION, FaultKind.RESERVED_BIT) or not _maps_1g(fault):
        return False
    if fault.entries[-1].value & bits.A:
        return False
    regime = case.regime
    always = bits.reserved_bits(3, False, pa_bits=regime.config.pa_bits, nxe=regime.parameters.control.nxe)
    return not fault.entries[-1].value & always


def _accessed(memory: TableMemory, case: Case, fault: Fault) -> Fault:
    leaf = fault.entries[-1]
    others = tuple(change for change in fault.changes if change.pa != leaf.pa)
    return replace(fault, changes=(*others, leaf._replace(value=leaf.value | bits.A)))


DEVIATIONS = (
    Deviation(
        "1-GByte pages without CPUID",
        "PS in a PDPTE is never reserved, whether or not CPUID tells of 1-GByte pages (SDM 4.5 says it is)",
        _is_unsupported_1g,
        walk=_walk_with_1g,
    ),
    Deviation(
        "EFLAGS.AC for implicit accesses",
        "reads of descriptor tables from ring 0 get past SMAP if AC is 1; the manual: never (SDM 4.6.1)",
        _is_explicit_to_qemu,
        walk=_walk_with_ac,
    ),
    Deviation(
        "A in a refused 1-GByte page",
        "A is set in a PDPTE before PS is looked at, so also where the page then refuses the access; "
        "for other leaves it is not. The manual leaves A of a refusing leaf open (SDM 6.15, #PF)",
        _is_refused_1g,
        walk=_accessed,
    ),
    Deviation(
        "RSVD without P",
        "a reserved bit is reported with P = 0; the manual: never without P, as only present entries are "
        "checked (SDM 4.7)",
        lambda case, fault: fault.kind is FaultKind.RESERVED_BIT,
        shows=lambda case, outcome: outcome._replace(error=outcome.error & ~error_code.P),
    ),
    Deviation(
        "CR2 of #GP",
        "a non-canonical address is written to CR2, which page faults alone may change (SDM 2.5)",
        lambda case, fault: fault.kind is FaultKind.NON_CANONICAL,
        shows=lambda case, outcome: outcome._replace(cr2=case.va),
    ),
)
