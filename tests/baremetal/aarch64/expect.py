"""What the model says that the processor will do with a case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tests.baremetal.aarch64.guest import (
    ARENA_BYTES,
    RAM_END,
    WINDOW_BYTES,
    Guest,
    IdRegisters,
    content,
    svc_immediate,
)
from tests.baremetal.aarch64.operation import OPERATIONS, Operation
from tests.baremetal.aarch64.record import Case, Result, swapped
from unikiln.errors import MmuError
from unikiln.mmu.aarch64.fault import Fault
from unikiln.mmu.aarch64.registers import SCTLR_EE
from unikiln.mmu.aarch64.report import abort_syndrome, address_translated, fault_syndrome
from unikiln.mmu.aarch64.walk import walk
from unikiln.mmu.memory import Mask, Words
from unikiln.mmu.request import Access, Request
from unikiln.mmu.translation import Translation, Visited

BLOCK = 512
"""What the judge watches, and puts back: the aligned block around the probe."""

SCTLR_E0E = 1 << 24
VECTOR_SAME, VECTOR_LOWER = 4, 8
SVC = 0x5600_0000
EXTERNAL_ABORT = 0b010000
RESERVED_SH = 1


class UnjudgeableError(Exception):
    """The case would reach memory that is not for it: devices, or the judge itself."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """The result, the name of what happens, and where the last entry is that the walk reads; 0 for none."""

    result: Result
    outcome: str
    leaf: int


class CaseMemory:
    """The guest's memory as the tables of a case leave it."""

    def __init__(self, case: Case, arena: int) -> None:
        self._arena = range(arena, arena + ARENA_BYTES)
        self._big_endian = case.regime.big_endian
        self._words = {pa: swapped(value, self._big_endian) for pa, value in case.entries}

    def load(self, pa: int) -> int:
        """The word at ``pa``.

        :raises MmuError: there is nothing
        :raises UnjudgeableError: there is something that is no table
        """
        if pa in self._words:
            return self._words[pa]
        if pa >= RAM_END:
            raise MmuError(f"nothing at {pa:#x}")
        if pa not in self._arena:
            raise UnjudgeableError
        return 0

    def gather(self, addresses: Words) -> tuple[Words, Mask]:
        """Not for a walk of one address."""
        raise NotImplementedError

    def apply(self, changes: Sequence[Visited]) -> None:
        """Write what a walk wrote."""
        for change in changes:
            self._words[change.pa] = swapped(change.value, self._big_endian)

    def entries(self, case: Case) -> tuple[int, ...]:
        """The entries of ``case`` as they now are."""
        return tuple(swapped(self._words[pa], self._big_endian) for pa, _ in case.entries)


def expect(case: Case, guest: Guest, ids: IdRegisters, operation: Operation | None = None) -> Expectation:
    """What happens, with ``operation`` at the place of the case's own if it is given.

    :raises UnjudgeableError: what that would be cannot be judged here
    """
    return _Expecting(case, guest, ids, operation or OPERATIONS[case.operation]).expectation()


class _Expecting:
    """One case before the model; ``pc`` is where it executes."""

    def __init__(self, case: Case, guest: Guest, ids: IdRegisters, operation: Operation) -> None:
        self._case, self._ids, self._operation = case, ids, operation
        fetch = self._operation.access is Access.EXECUTE
        self._pc = branch_target(case) if fetch else guest.stub(case)
        self._memory = CaseMemory(case, guest.symbols["arena"])
        window = guest.symbols["window"]
        self._window = range(window, window + WINDOW_BYTES)
        self._leaf = 0

    def expectation(self) -> Expectation:
        """What happens."""
        case, operation = self._case, self._operation
        result = self._base()
        for number, request in enumerate(operation.requests(privileged=case.privileged, pan=case.pan)):
            outcome = walk(self._memory, case.regime, case.va, request)
            self._memory.apply(outcome.changes)
            self._leaf = outcome.entries[-1].pa if outcome.entries else 0
            result = replace(result, entries=self._memory.entries(case))
            if isinstance(outcome, Fault):
                return self._fault(result, outcome, number)
            if number + 1 < operation.instructions:
                result = replace(result, x2=self._loaded(outcome.pa, request))
        assert isinstance(outcome, Translation)
        if not operation.accesses:
            return self._translated(result, outcome)
        return self._reached(result, outcome.pa, request)

    def _base(self) -> Result:
        """The result if nothing happened at all."""
        case = self._case
        at_probe = _words(content(case.probe & ~15, 16)) if case.probe else (0, 0)
        vector = VECTOR_SAME if case.privileged else VECTOR_LOWER
        return Result(vector, 0, 0, 0, 0, case.x1, case.x2, 0, at_probe, ())

    def _outcome(self, result: Result, outcome: str) -> Expectation:
        return Expectation(result, f"{self._family} {outcome}", self._leaf)

    @property
    def _family(self) -> str:
        if self._operation.at:
            return "AT"
        if self._operation.access is Access.EXECUTE:
            return "instruction"
        return "cache" if self._operation.cache_maintenance else "data"

    def _completed(self, result: Result, par: int | None = 0, outcome: str = "completed") -> Expectation:
        """The stub came to its SVC."""
        assert par is not None
        elr = self._pc + 4 * (self._operation.instructions + 1)
        return self._outcome(replace(result, esr=SVC, elr=elr, par=par), outcome)

    def _translated(self, result: Result, found: Translation) -> Expectation:
        if not self._operation.at:
            return self._completed(result)
        upper = bool(found.va >> 55 & 1)
        if self._case.regime.shareability(found.leaf.value if found.entries else 0, upper) == RESERVED_SH:
            raise UnjudgeableError  # it may mean any other
        return self._completed(result, address_translated(self._case.regime, found))

    def _fault(self, result: Result, fault: Fault, number: int) -> Expectation:
        level = f" level {fault.level}" if fault.kind.has_level else ""
        name = f"{fault.kind.name.lower().replace('_', ' ')}{level}"
        par = address_translated(self._case.regime, fault) if self._operation.at else None
        if par is not None:
            return self._completed(result, par, name)
        return self._aborted(result, fault_syndrome(fault), name, number)

    def _aborted(self, result: Result, esr: int, outcome: str, number: int = 0) -> Expectation:
        """The stub's instruction ``number`` took an abort."""
        elr = self._pc + 4 * number
        far = elr if self._operation.access is Access.EXECUTE else self._case.va
        return self._outcome(replace(result, esr=esr, elr=elr, far=far), outcome)

    def _reached(self, result: Result, pa: int, request: Request) -> Expectation:
        operation = self._operation
        length = operation.size * operation.count
        if pa >= RAM_END and operation.count == 1 and not operation.atomic and not operation.block:
            esr = abort_syndrome(request, EXTERNAL_ABORT, is_write=request.access is Access.WRITE)
            return self._aborted(result, esr, "external abort")
        if pa not in self._window or pa + length - 1 not in self._window:
            raise UnjudgeableError
        if operation.access is Access.EXECUTE:
            return self._outcome(replace(result, esr=SVC | svc_immediate(pa), elr=self._pc + 4), "completed")
        return self._completed(self._accessed(result, pa, length))

    def _accessed(self, result: Result, pa: int, length: int) -> Result:
        case, operation = self._case, self._operation
        if operation.block:
            size = self._ids.zeroed_bytes
            return self._stored(result, pa & -size, bytes(size))
        order = _byte_order(case)
        raw, size = content(pa, length), operation.size
        elements = [int.from_bytes(raw[at : at + size], order) for at in range(0, length, size)]
        new, x1, x2 = operation.effect(elements, case.x1, case.x2)
        result = replace(result, x1=x1, x2=x2)
        if new is None:
            return result
        mask = (1 << 8 * size) - 1
        return self._stored(result, pa, b"".join((element & mask).to_bytes(size, order) for element in new))

    def _loaded(self, pa: int, request: Request) -> int:
        if pa not in self._window:
            raise UnjudgeableError
        return int.from_bytes(content(pa, request.size), _byte_order(self._case))

    def _stored(self, result: Result, pa: int, data: bytes) -> Result:
        """``result`` with what the judge sees around the probe after ``data`` was stored at ``pa``."""
        start = self._case.probe & -BLOCK
        if not start <= pa <= pa + len(data) <= start + BLOCK:
            raise UnjudgeableError
        before = content(start, BLOCK)
        after = before[: pa - start] + data + before[pa - start + len(data) :]
        changed = sum(before[at : at + 4] != after[at : at + 4] for at in range(0, BLOCK, 4))
        probe = (self._case.probe & ~15) - start
        return replace(result, changed=changed, at_probe=_words(after[probe : probe + 16]))


def _byte_order(case: Case) -> Literal["little", "big"]:
    bit = SCTLR_EE if case.privileged else SCTLR_E0E
    return "big" if case.regime.sctlr & bit else "little"


def branch_target(case: Case) -> int:
    """Where a branch to the case's address goes: without its tag (Arm ARM, AArch64.BranchAddr)."""
    va = case.va
    half = case.regime.parameters(bool(va >> 55 & 1)).half
    if not half.tbi or half.tbid:
        return va
    return va | 0xFF << 56 if va >> 55 & 1 else va & ~(0xFF << 56)


def _words(data: bytes) -> tuple[int, int]:
    return int.from_bytes(data[:8], "little"), int.from_bytes(data[8:16], "little")
