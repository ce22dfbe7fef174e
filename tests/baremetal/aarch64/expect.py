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
from tests.baremetal.aarch64.operation import OPERATIONS
from tests.baremetal.aarch64.record import Case, Result, swapped
from unikiln.errors import MmuError
from unikiln.mmu.aarch64.fault import Fault, FaultKind
from unikiln.mmu.aarch64.permission import mair_field
from unikiln.mmu.aarch64.regime import Regime
from unikiln.mmu.aarch64.registers import SCTLR_EE, Tcr, is_device
from unikiln.mmu.aarch64.walk import walk
from unikiln.mmu.memory import Mask, Words
from unikiln.mmu.request import Access
from unikiln.mmu.translation import Translation, Visited

BLOCK = 512
"""What the judge watches, and puts back: the aligned block around the probe."""

SCTLR_E0E = 1 << 24
VECTOR_SAME, VECTOR_LOWER = 4, 8
SVC = 0x5600_0000
INSTRUCTION_ABORT, DATA_ABORT = 0x8200_0000, 0x9200_0000
SAME_LEVEL = 1 << 26
"""Added to the syndrome of an abort that EL1 itself caused."""
CM, WNR = 1 << 8, 1 << 6
EXTERNAL_ABORT = 0b010000
PAR_RES1, PAR_NS = 1 << 11, 1 << 9


class UnjudgeableError(Exception):
    """The case would reach memory that is not for it: devices, or the judge itself."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """The result, and the name of what happens."""

    result: Result
    outcome: str


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


class Expecting:
    """One case before the model; ``pc`` is where its stub is."""

    def __init__(self, case: Case, guest: Guest, ids: IdRegisters) -> None:
        self._case, self._ids = case, ids
        self._operation = OPERATIONS[case.operation]
        self._pc = branch_target(case) if self._operation.access is Access.EXECUTE else guest.stub(case)
        self._memory = CaseMemory(case, guest.symbols["arena"])
        window = guest.symbols["window"]
        self._window = range(window, window + WINDOW_BYTES)

    def expectation(self) -> Expectation:
        """What happens.

        :raises UnjudgeableError: what that would be cannot be judged here
        """
        case, operation = self._case, self._operation
        for number, request in enumerate(operation.requests(privileged=case.privileged, pan=case.pan)):
            outcome = walk(self._memory, case.regime, case.va, request)
            self._memory.apply(outcome.changes)
            if isinstance(outcome, Fault):
                return self._fault(outcome, number)
        assert isinstance(outcome, Translation)
        if operation.at:
            return self._completed(
                "AT completed", replace(self._base(), par=translated(outcome, case.regime))
            )
        if operation.cache_maintenance:
            return self._completed("cache completed", self._base())
        return self._reached(outcome.pa)

    def _base(self) -> Result:
        """The result if nothing happened at all."""
        case = self._case
        at_probe = _words(content(case.probe & ~15, 16)) if case.probe else (0, 0)
        vector = VECTOR_SAME if case.privileged else VECTOR_LOWER
        return Result(vector, 0, 0, 0, 0, case.x1, case.x2, 0, at_probe, self._memory.entries(case))

    def _completed(self, outcome: str, result: Result) -> Expectation:
        elr = self._pc + 4 * (self._operation.instructions + 1)
        return Expectation(replace(result, esr=SVC, elr=elr), outcome)

    def _fault(self, fault: Fault, number: int) -> Expectation:
        level = f" level {fault.level}" if fault.kind.has_level else ""
        outcome = f"{self._family} {fault.kind.name.lower().replace('_', ' ')}{level}"
        if self._operation.at and fault.kind is not FaultKind.EXTERNAL_ON_WALK:
            return self._completed(outcome, replace(self._base(), par=untranslated(fault)))
        aborted = self._abort(fault.status_code, wnr=self._writes(fault), number=number)
        return Expectation(aborted, outcome)

    def _writes(self, fault: Fault) -> bool:
        """WnR: an atomic that reads as well reports a read, if a read would have faulted likewise."""
        if fault.request.access is not Access.WRITE:
            return False
        if not self._operation.modifies:
            return True
        as_read = walk(
            self._memory, self._case.regime, self._case.va, replace(fault.request, access=Access.READ)
        )
        return not isinstance(as_read, Fault) or as_read.status_code != fault.status_code

    @property
    def _family(self) -> str:
        if self._operation.at:
            return "AT"
        if self._operation.access is Access.EXECUTE:
            return "instruction"
        return "cache" if self._operation.cache_maintenance else "data"

    def _abort(self, status: int, *, wnr: bool, number: int = 0) -> Result:
        """An abort by the stub's instruction ``number``."""
        operation, case = self._operation, self._case
        fetch = operation.access is Access.EXECUTE
        by_address = operation.at or operation.cache_maintenance
        flags = 0 if fetch else (WNR if wnr or by_address else 0) | (CM if by_address else 0)
        esr = (INSTRUCTION_ABORT if fetch else DATA_ABORT) | (SAME_LEVEL if case.privileged else 0)
        elr = self._pc + 4 * number
        return replace(self._base(), esr=esr | flags | status, elr=elr, far=elr if fetch else case.va)

    def _reached(self, pa: int) -> Expectation:
        operation = self._operation
        length = operation.size * operation.count
        if pa >= RAM_END and operation.count == 1 and not operation.atomic and operation.name != "dc_zva":
            aborted = self._abort(EXTERNAL_ABORT, wnr=operation.access is Access.WRITE)
            return Expectation(aborted, f"{self._family} external abort")
        if pa not in self._window or pa + length - 1 not in self._window:
            raise UnjudgeableError
        if operation.access is Access.EXECUTE:
            arrived = replace(self._base(), esr=SVC | svc_immediate(pa), elr=self._pc + 4)
            return Expectation(arrived, "instruction completed")
        return self._accessed(pa, length)

    def _accessed(self, pa: int, length: int) -> Expectation:
        case, operation = self._case, self._operation
        if operation.name == "dc_zva":
            size = self._ids.zeroed_bytes
            return self._completed("data completed", self._stored(self._base(), pa & -size, bytes(size)))
        order = _byte_order(case)
        raw, size = content(pa, length), operation.size
        elements = [int.from_bytes(raw[at : at + size], order) for at in range(0, length, size)]
        new, x1, x2 = operation.effect(elements, case.x1, case.x2)
        result = replace(self._base(), x1=x1, x2=x2)
        if new is not None:
            mask = (1 << 8 * size) - 1
            data = b"".join((element & mask).to_bytes(size, order) for element in new)
            result = self._stored(result, pa, data)
        return self._completed("data completed", result)

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


def translated(found: Translation, regime: Regime) -> int:
    """PAR_EL1 after a translation."""
    attr, shareability = 0, 0b10
    if regime.enabled:
        upper = bool(found.va >> 55 & 1)
        tables, leaf = regime.parameters(upper).layout, found.leaf.value
        attr = mair_field(leaf, regime.mair)
        in_tcr = tables is not None and tables.page_shift < 16 and bool(tables.high_address)
        shareability = Tcr(regime.tcr).shareability(upper) if in_tcr else leaf >> 8 & 3
    if is_device(attr) or attr == 0x44:
        shareability = 0b10
    return attr << 56 | found.pa & ~0xFFF | PAR_RES1 | PAR_NS | shareability << 7


def untranslated(fault: Fault) -> int:
    """PAR_EL1 after a fault."""
    return PAR_RES1 | fault.status_code << 1 | 1


def _words(data: bytes) -> tuple[int, int]:
    return int.from_bytes(data[:8], "little"), int.from_bytes(data[8:16], "little")
