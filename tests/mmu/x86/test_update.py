"""Accessed and dirty flags reach memory, and only if nothing changed meanwhile."""

from __future__ import annotations

from tests.mmu.x86.paths import PAGE, ROOT, USER_RW, VA, path, place
from unikiln.mmu import Access, Request, TableMemory, Translation
from unikiln.mmu.x86 import entry as bits
from unikiln.mmu.x86.fault import Fault
from unikiln.mmu.x86.regime import Regime
from unikiln.mmu.x86.update import access, apply_changes
from unikiln.mmu.x86.walk import walk

WRITE = Request(Access.WRITE)
REGIME = Regime(ROOT)


def entry(memory: TableMemory, level: int) -> int:
    return memory.load(place(VA, level))


def test_an_access_leaves_its_flags() -> None:
    memory = path()
    assert isinstance(access(memory, REGIME, VA, Request()), Translation)
    assert [entry(memory, level) & (bits.A | bits.D) for level in (4, 3, 2, 1)] == [bits.A] * 4
    assert isinstance(access(memory, REGIME, VA, WRITE), Translation)
    assert entry(memory, 1) == PAGE | USER_RW | bits.A | bits.D
    assert walk(memory, REGIME, VA, WRITE).changes == ()


def test_a_fault_leaves_its_flags_too() -> None:
    memory = path(flags={1: 0})
    assert isinstance(access(memory, REGIME, VA, WRITE), Fault)
    assert [entry(memory, level) & bits.A for level in (4, 3, 2, 1)] == [bits.A] * 3 + [0]


def test_an_entry_that_changed_meanwhile_is_left_alone() -> None:
    memory = path()
    result = walk(memory, REGIME, VA, WRITE)
    memory.store(place(VA, 1) >> 3, 0)
    assert not apply_changes(memory, result)
    assert entry(memory, 1) == 0


def test_an_access_begins_again_if_an_entry_changed_meanwhile() -> None:
    class Raced(TableMemory):
        """Another processor moves the page while the leaf is about to be marked."""

        moved = False

        def compare_and_swap(self, index: int, expected: int, new: int) -> bool:
            if index == place(VA, 1) >> 3 and not self.moved:
                self.moved = True
                self.store(index, PAGE + 0x5000 | USER_RW)
            return super().compare_and_swap(index, expected, new)

    memory = Raced(path().words)
    result = access(memory, REGIME, VA, WRITE)
    assert isinstance(result, Translation) and result.pa == PAGE + 0x5000 + VA % 4096
    assert entry(memory, 1) == PAGE + 0x5000 | USER_RW | bits.A | bits.D
