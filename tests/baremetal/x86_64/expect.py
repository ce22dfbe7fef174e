"""What the model says of a case, with what QEMU is known to do otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tests.baremetal.x86_64.cases import Case
from tests.baremetal.x86_64.deviations import DEVIATIONS, Deviation, Result
from tests.baremetal.x86_64.guest import BREAKPOINT, CR2_BEFORE, LEVELS, Kind, Outcome, fetched, segment_limit
from unikiln.mmu.memory import TableMemory
from unikiln.mmu.translation import Translation
from unikiln.mmu.x86.fault import Fault
from unikiln.mmu.x86.update import apply_changes
from unikiln.mmu.x86.walk import walk


class Step(NamedTuple):
    """A case put to the model.

    ``result``: what the manual says; ``outcome``: what the judge shows, after QEMU's ``deviations``;
    ``operand``: what the access needs.
    """

    result: Result
    outcome: Outcome
    operand: int
    deviations: tuple[str, ...]


def put(memory: TableMemory, case: Case, known_deviations: Sequence[Deviation] = DEVIATIONS) -> Step:
    """Put the case to the model, in memory that changes as the judge's does."""
    for pa, entry in case.entries.items():
        memory.store(pa >> 3, entry)
    manual = result = walk(memory, case.regime, case.va, case.request)
    deviations = []
    for known in known_deviations:
        if isinstance(result, Fault) and known.applies(case, result):
            deviations.append(known)
            result = known.walk(memory, case, result)
    assert apply_changes(memory, result)
    value, operand = _access(memory, case, result)
    after = [memory.load(pa) for pa in case.entries] + [0] * (LEVELS - len(case.entries))
    vector, error, cr2 = _exception(result)
    outcome = Outcome(vector, error, cr2, value, tuple(after))
    for known in deviations:
        outcome = known.shows(case, outcome)
    return Step(manual, outcome, operand, tuple(known.name for known in deviations))


def _exception(result: Result) -> tuple[int, int, int]:
    """Vector, error code and CR2."""
    if isinstance(result, Translation):
        return BREAKPOINT, 0, CR2_BEFORE
    assert result.vector is not None, result
    return result.vector, result.error_code, CR2_BEFORE if result.cr2 is None else result.cr2


def _access(memory: TableMemory, case: Case, result: Result) -> tuple[int | None, int]:
    """The value that the access leaves in %rax, and the operand that it needs."""
    if isinstance(result, Fault):
        return 0, case.operand
    if not case.in_ram:
        return (None if case.kind is Kind.LOAD else 0), case.operand
    old = memory.load(result.pa)
    if case.kind in (Kind.STORE, Kind.EXCHANGE, Kind.ADD):
        memory.store(result.pa >> 3, case.operand)
    operand = case.operand - old & (1 << 64) - 1 if case.kind is Kind.ADD else case.operand
    values = {Kind.STORE: 0, Kind.FETCH: fetched(old), Kind.SEGMENT: segment_limit(old)}
    return values.get(case.kind, old), operand
