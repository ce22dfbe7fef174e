"""The checker, and the processor model that shows what each thing it finds would do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unikiln.mmu import Access, PageTable, Request, Translation
from unikiln.mmu.aarch64.descriptor import AF, AP_READ_ONLY, CONTIGUOUS, DBM, NG, OUTPUT_ADDRESS, user_page
from unikiln.mmu.aarch64.fault import Fault, FaultKind
from unikiln.mmu.aarch64.layout import USER_48
from unikiln.mmu.aarch64.processor import Processor
from unikiln.mmu.aarch64.regime import Regime
from unikiln.mmu.aarch64.registers import encode_tcr
from unikiln.mmu.aarch64.walk import walk
from unikiln.mmu.check import BREAK_BEFORE_MAKE, MISSING_DSB, MISSING_INVALIDATION, Checker
from unikiln.mmu.tlb import Tlb
from unikiln.mmu.watch import WatchedMemory

FRAMES = 256
VA = 0x4_0000_0000
ENTRY = user_page(0x7000, writable=True, executable=False, dirty=False)
OTHER = user_page(0x9000, writable=True, executable=False, dirty=False)
PLAIN = ENTRY & ~OUTPUT_ADDRESS & ~3
READ, WRITE = Request(Access.READ), Request(Access.WRITE)


class World:
    """One table, a processor that uses it, and the checker that watches."""

    def __init__(self, *, tcr: int | None = None) -> None:
        self.memory = WatchedMemory(np.zeros(FRAMES * 512, dtype=np.uint64))
        free = iter(range(0x10000, FRAMES * 4096, 4096))
        self.table = PageTable(self.memory, lambda: next(free), (USER_48,))
        (_, root), *_ = self.table.tables
        tcr = encode_tcr(t0sz=16, t1sz=16) if tcr is None else tcr
        self.regime = Regime(tcr | 1 << 23, root | 7 << 48, 0, mair=0xFF << 32)
        self.processor = Processor(self.memory, self.regime)
        self.checker = Checker(self.memory, self.table.tables)

    def dsb(self) -> None:
        self.processor.dsb()
        self.checker.dsb()

    def isb(self) -> None:
        self.processor.isb()
        self.checker.isb()

    def tlbi(self, va: int, size: int) -> None:
        self.processor.tlbi(va, size)
        self.checker.tlbi(va, size)

    def tlbi_all(self) -> None:
        self.processor.tlbi_all()
        self.checker.tlbi_all()

    def flush(self, va: int = 0, size: int = 1 << 48) -> None:
        self.dsb()
        self.tlbi(va, size)
        self.dsb()

    def put(self, entry: int, va: int = VA) -> int:
        """Map, see it, and use it, so that the TLB holds it."""
        index = self.table.map_page(va, entry)
        self.dsb()
        self.checker.resume()
        self.processor.translate(va, READ)
        return index

    def leads(self, va: int = VA, request: Request = READ) -> int | FaultKind:
        result = self.processor.translate(va, request)
        return result.pa if isinstance(result, Translation) else result.kind

    def kinds(self) -> list[str]:
        self.checker.resume()
        return [finding.kind for finding in self.checker.findings]


def test_a_valid_entry_is_not_seen_before_a_dsb() -> None:
    world = World()
    world.table.map_page(VA, ENTRY)
    assert world.leads() is FaultKind.TRANSLATION
    world.dsb()
    assert world.leads() == 0x7000
    assert world.kinds() == []


def test_a_missing_dsb_is_found_with_its_place() -> None:
    world = World()
    world.put(ENTRY)
    world.table.map_page(VA + 4096, OTHER)
    assert world.leads(VA + 4096) is FaultKind.TRANSLATION
    assert world.kinds() == [MISSING_DSB]
    finding = world.checker.findings[0]
    assert (finding.va, finding.level, finding.before, finding.after) == (VA + 4096, 3, 0, OTHER)
    assert "test_check.py" in finding.written
    assert "test_a_missing_dsb" in finding.written
    assert "test_a_missing_dsb" in finding.found
    assert f"{VA + 4096:#x}" in str(finding)


@pytest.mark.parametrize(
    ("after", "reason", "request_", "stale", "right"),
    [
        (0, "removed", READ, 0x7000, FaultKind.TRANSLATION),
        (ENTRY & ~AF, "access flag was cleared", READ, 0x7000, FaultKind.ACCESS_FLAG),
        (ENTRY | AP_READ_ONLY, "permissions", WRITE, 0x7000, FaultKind.PERMISSION),
    ],
)
def test_a_missing_invalidation(
    after: int, reason: str, request_: Request, stale: int, right: FaultKind
) -> None:
    """The processor goes on with what its TLB holds; the checker says so."""
    world = World()
    index = world.put(ENTRY)
    world.memory.store(index, after)
    world.dsb()
    assert world.leads(request=request_) == stale
    assert world.kinds() == [MISSING_INVALIDATION]
    assert reason in world.checker.findings[0].reason
    world.flush()
    assert world.leads(request=request_) is right


@pytest.mark.parametrize("after", [0, ENTRY & ~AF, ENTRY | AP_READ_ONLY])
def test_with_the_invalidation_nothing_is_found(after: int) -> None:
    world = World()
    index = world.put(ENTRY)
    world.memory.store(index, after)
    world.flush(VA, 4096)
    assert world.kinds() == []


def test_an_invalidation_before_the_dsb_does_not_count() -> None:
    """Between write and ``dsb`` the walker still reads the old entry, and fills the TLB with it again."""
    world = World()
    index = world.put(ENTRY)
    world.memory.store(index, 0)
    world.tlbi(VA, 4096)
    world.dsb()
    assert world.kinds() == [MISSING_INVALIDATION]
    assert "the tlbi came before a dsb" in world.checker.findings[0].reason


def test_an_invalidation_without_a_dsb_after_it_is_not_done() -> None:
    world = World()
    index = world.put(ENTRY)
    world.memory.store(index, 0)
    world.dsb()
    world.tlbi(VA, 4096)
    assert world.leads() == 0x7000
    assert world.kinds() == [MISSING_INVALIDATION]


def test_an_invalidation_of_another_address_does_not_help() -> None:
    world = World()
    index = world.put(ENTRY)
    world.memory.store(index, 0)
    world.flush(VA + 4096, 4096)
    assert world.kinds() == [MISSING_INVALIDATION]


def test_what_no_tlb_can_hold_needs_no_invalidation() -> None:
    """Entries that are invalid or have AF = 0 are never cached."""
    world = World()
    index = world.put(ENTRY & ~AF)
    assert len(world.processor.tlb) == 0
    world.memory.store(index, 0)
    world.memory.store(index, OTHER)
    world.dsb()
    assert world.leads() == 0x9000
    assert world.kinds() == []


@pytest.mark.parametrize(
    ("after", "what"),
    [
        (OTHER, "output address"),
        (ENTRY | CONTIGUOUS, "contiguous bit"),
        (ENTRY & ~(7 << 2), "attributes"),
        (ENTRY & ~NG, "attributes"),
    ],
)
def test_break_before_make(after: int, what: str) -> None:
    world = World()
    index = world.put(ENTRY)
    world.memory.store(index, after)
    assert [each.kind for each in world.checker.findings] == [BREAK_BEFORE_MAKE]
    assert what in world.checker.findings[0].reason


@pytest.mark.parametrize("flush", [True, False])
def test_breaking_without_invalidating_is_no_break(flush: bool) -> None:
    world = World()
    index = world.put(ENTRY)
    world.memory.store(index, 0)
    if flush:
        world.flush(VA, 4096)
    world.memory.store(index, OTHER)
    world.dsb()
    assert world.kinds() == ([] if flush else [BREAK_BEFORE_MAKE])
    assert world.leads() == (0x9000 if flush else 0x7000)


def test_a_table_in_place_of_a_block_needs_it_too() -> None:
    world = World()
    world.table.map(1 << 30, 0, 1 << 21, PLAIN)
    world.dsb()
    index, level, _ = world.table.find(1 << 30)
    assert level == 2
    world.memory.store(index, 0xFE000 | 3)
    assert [each.kind for each in world.checker.findings] == [BREAK_BEFORE_MAKE]
    assert "size" in world.checker.findings[0].reason


def test_a_table_that_goes_needs_all_of_its_range_invalidated() -> None:
    world = World()
    world.put(ENTRY)
    (_, root), *_ = world.table.tables
    at = (root >> 3) + (VA >> 39 & 511)
    world.memory.store(at, 0)
    world.flush(VA, 4096)
    assert world.kinds() == [MISSING_INVALIDATION]
    assert "table was taken out" in world.checker.findings[0].reason


def test_overlapping_entries_are_a_conflict() -> None:
    """The contiguous bit set over a page that the TLB holds, with another address: two entries answer."""
    world = World()
    world.put(OTHER, VA + 4096)
    for page in range(16):
        index = world.table.map_page(VA + page * 4096, PLAIN | 3 | CONTIGUOUS | 0x100000 + page * 4096)
    world.dsb()
    assert index
    assert world.leads(VA) == 0x100000
    assert world.leads(VA + 4096) is FaultKind.TLB_CONFLICT
    assert world.leads(VA + 8192) == 0x102000


def test_one_entry_holds_a_contiguous_run() -> None:
    world = World()
    world.table.map(VA, 0x100000, 16 << 12, PLAIN, contiguous=True)
    world.dsb()
    assert world.leads(VA + 0x3004) == 0x103004
    assert len(world.processor.tlb) == 1
    (index, _, _) = world.table.find(VA)
    world.memory.store(index, 0)
    world.dsb()
    assert world.leads(VA) == 0x100000
    assert len(world.processor.tlb) == 1


def test_hardware_sets_dirty_through_the_table_though_the_tlb_has_the_page() -> None:
    world = World(tcr=encode_tcr(t0sz=16, t1sz=16, ha=True, hd=True))
    clean = ENTRY & ~AF | AP_READ_ONLY | DBM
    index = world.put(clean)
    assert world.memory.word[index] == clean | AF
    assert world.leads(request=WRITE) == 0x7000
    assert world.memory.word[index] == clean & ~AP_READ_ONLY | AF


def test_address_spaces_do_not_share_what_is_not_global() -> None:
    world = World()
    index = world.put(ENTRY)
    world.memory.store(index, 0)
    world.dsb()
    world.processor.regime = Regime(world.regime.tcr, world.regime.ttbr0 ^ 1 << 48, 0, mair=world.regime.mair)
    assert world.leads() is FaultKind.TRANSLATION
    world.processor.regime = world.regime
    assert world.leads() == 0x7000
    world.processor.tlbi_asid(world.regime.asid)
    world.dsb()
    assert world.leads() is FaultKind.TRANSLATION


PAGE = st.integers(0, 1100)
CHANGES = st.lists(
    st.tuples(st.sampled_from(["map", "unmap", "protect", "nothing"]), PAGE, st.integers(1, 600), PAGE),
    max_size=6,
)


@given(CHANGES, st.booleans(), st.lists(PAGE, max_size=12), st.sampled_from([1, 4, 64]))
def test_with_its_barriers_a_table_is_never_misread(
    changes: list[tuple[str, int, int, int]], contiguous: bool, touched: list[int], capacity: int
) -> None:
    """After any changes the processor, with whatever its TLB held, translates as a walk of memory does."""
    world = World()
    world.table.barriers = world
    world.processor.tlb = Tlb(capacity)
    for kind, first, count, frame in changes:
        for page in touched:
            world.processor.translate(page << 12, READ)
        _change(world, kind, first, count, frame, contiguous)
        assert world.kinds() == []
        for page in touched:
            _agrees(world, page << 12)


def _change(world: World, kind: str, first: int, count: int, frame: int, contiguous: bool) -> None:
    va, size = first << 12, count << 12
    if kind == "map":
        if not list(world.table.leaves(va & -(1 << 21), va + size)):
            world.table.map(va, (first % 512 + frame // 512 * 512) << 12, size, PLAIN, contiguous=contiguous)
    elif kind == "unmap":
        world.table.unmap(va, size)
    elif kind == "protect":
        world.table.protect(va, size, PLAIN | (AP_READ_ONLY if frame % 2 else NG))


def _agrees(world: World, va: int) -> None:
    for request in (READ, WRITE):
        held, real = world.processor.translate(va, request), walk(world.memory, world.regime, va, request)
        if isinstance(real, Fault):
            assert isinstance(held, Fault)
            assert held.kind is real.kind
        else:
            assert isinstance(held, Translation)
            assert held.pa == real.pa
