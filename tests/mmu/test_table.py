from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.mmu.conftest import make_table
from unikiln.errors import MmuError
from unikiln.mmu import Layout, PageTable
from unikiln.mmu.aarch64.descriptor import AF, AP_READ_ONLY, CONTIGUOUS, NG, OUTPUT_ADDRESS, user_page
from unikiln.mmu.aarch64.layout import KERNEL_48, USER_48, layout

PAGES = st.sets(st.integers(0, (1 << 36) - 1) | st.integers(0, 4096), max_size=30)
PLAIN = user_page(0, writable=True, executable=False, dirty=False) & ~OUTPUT_ADDRESS & ~3
GRANULES = [layout(12, 48), layout(14, 47), layout(16, 42), layout(12, 52, ds=True)]


def _entry(number: int) -> int:
    return user_page(number << 12, writable=False, executable=False, dirty=False)


def _pages(table: PageTable) -> dict[int, int]:
    """What a naive reading gives: the physical page of every page, one ``find`` each."""
    found = {}
    for va, _, level, entry in table.leaves():
        tables, _ = table.half(va)
        base = tables.output_address(entry) & -tables.size(level)
        for offset in range(0, tables.size(level), tables.page_size):
            found[va + offset] = base + offset
    return found


@given(PAGES, st.integers(0, (1 << 36) - 1), st.integers(0, (1 << 36) - 1))
def test_leaves_are_what_was_mapped(pages: set[int], low: int, high: int) -> None:
    table = make_table(USER_48, KERNEL_48)
    for number in pages:
        table.map_page(number << 12, _entry(number))
    found = [(va >> 12, entry) for va, _, _, entry in table.leaves()]
    assert found == [(number, _entry(number)) for number in sorted(pages)]
    part = [va >> 12 for va, *_ in table.leaves(low << 12, high << 12)]
    assert part == [number for number in sorted(pages) if low <= number < high]


@given(PAGES)
def test_unmapping_takes_what_was_there_and_leaves_the_rest(pages: set[int]) -> None:
    table = make_table(USER_48, KERNEL_48)
    for number in pages:
        table.map_page(number << 12, _entry(number))
    for number in list(pages)[::2]:
        assert table.unmap(number << 12, 4096) == 1
        assert table.unmap(number << 12, 4096) == 0
    left = {va >> 12 for va, *_ in table.leaves()}
    assert left == set(list(pages)[1::2])


def test_pages_and_blocks_do_not_replace_each_other(table: PageTable) -> None:
    table.map_page(0x1000, _entry(1))
    with pytest.raises(MmuError, match="something is mapped"):
        table.map(0, 0, 1 << 21, PLAIN)
    table.map(1 << 21, 1 << 21, 1 << 21, PLAIN)
    with pytest.raises(MmuError, match="block already maps"):
        table.map_page(1 << 21, _entry(1))


@pytest.mark.parametrize(
    ("va", "pa", "size", "levels"),
    [
        (0x1000, 0x5000, 0x3000, [3, 3, 3]),
        (0, 0, 1 << 21, [2]),
        (0, 1 << 12, 1 << 21, [3] * 512),
        (0, 0, 1 << 30, [1]),
        ((1 << 21) - 4096, (1 << 30) - 4096, (1 << 21) + 8192, [3, 2, 3]),
        ((1 << 30) - (1 << 21), (1 << 31) - (1 << 21), (1 << 30) + (2 << 21), [2, 1, 2]),
    ],
)
def test_the_largest_leaves_are_used(
    table: PageTable, va: int, pa: int, size: int, levels: list[int]
) -> None:
    table.map(va, pa, size, PLAIN)
    assert [level for _, _, level, _ in table.leaves()] == levels
    pages = _pages(table) if size < 1 << 30 else {va: pa}
    assert pages[va] == pa
    assert len(pages) in (size >> 12, 1)
    for at, entry in ((0, 0), (size - 1, size - 1)):
        _, level, value = table.find(va + at)
        base = USER_48.output_address(value) & -USER_48.size(level)
        assert base + (va + at & USER_48.size(level) - 1) == pa + entry


@pytest.mark.parametrize("tables", GRANULES)
def test_contiguous_runs_are_whole_and_aligned(tables: Layout) -> None:
    """Every marked run is aligned in both addresses, and all of it is marked (Arm ARM D8.7.1)."""
    table = make_table(tables, size=64 << 20)
    page, length = tables.page_size, tables.run_length(tables.last_level)
    run = page * length
    va, pa = 8 * run - 3 * page, 16 * run - 3 * page
    attributes = PLAIN & ~(3 << 8) if tables.va_bits > 48 else PLAIN
    table.map(va, pa, 2 * run + 5 * page, attributes, contiguous=True)
    marked = [at for at, _, _, entry in table.leaves() if entry & CONTIGUOUS]
    assert marked == list(range(8 * run, 10 * run, page))
    table.unmap(9 * run + page, page)
    marked = [at for at, _, _, entry in table.leaves() if entry & CONTIGUOUS]
    assert marked == list(range(8 * run, 9 * run, page))
    assert len(list(table.leaves())) == 2 * length + 5 - 1


@pytest.mark.parametrize("tables", GRANULES)
def test_unmapping_inside_a_block_splits_it(tables: Layout) -> None:
    table = make_table(tables, size=64 << 20)
    level, block = next((s.level, 1 << s.shift) for s in reversed(tables.steps[:-1]) if s.leaf_mask)
    attributes = PLAIN & ~(3 << 8) if tables.va_bits > 48 else PLAIN
    table.map(block, 2 * block, block, attributes)
    assert [each[2] for each in table.leaves()] == [level]
    assert table.unmap(block + 7 * tables.page_size, tables.page_size) == 1
    pages = _pages(table)
    gone = block + 7 * tables.page_size
    assert pages == {va: va + block for va in range(block, 2 * block, tables.page_size) if va != gone}
    kept = {entry & ~tables.address_bits((1 << 52) - 1) for _, _, _, entry in table.leaves()}
    assert kept == {attributes | 3}


def test_protect_changes_attributes_and_nothing_else(table: PageTable) -> None:
    table.map(0, 0, 4 << 21, PLAIN)
    index, _, _ = table.find(3 << 21)
    table.memory.store(index, table.memory.word[index] & ~AF)
    before = _pages(table)
    table.protect((1 << 21) + 0x3000, 2 << 21, PLAIN | AP_READ_ONLY)
    assert _pages(table) == before
    for va in range(0, 4 << 21, 0x1000):
        inside = (1 << 21) + 0x3000 <= va < (3 << 21) + 0x3000
        _, _, entry = table.find(va)
        assert bool(entry & AP_READ_ONLY) == inside
        assert bool(entry & AF) == (va < 3 << 21)


class Recorder:
    """Barriers that note their order, and what the memory held at each."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def dsb(self) -> None:
        self.events.append("dsb")

    def isb(self) -> None:
        self.events.append("isb")

    def tlbi(self, va: int, size: int) -> None:
        self.events.append(f"tlbi {va:#x} {size:#x}")

    def tlbi_all(self) -> None:
        self.events.append("tlbi all")


def test_what_needs_break_before_make_gets_it(table: PageTable) -> None:
    table.map(0, 0, 0x2000, PLAIN)
    table.barriers = recorder = Recorder()
    table.protect(0, 0x2000, PLAIN | AP_READ_ONLY)
    once = ["dsb", "tlbi 0x0 0x2000", "dsb", "isb"]
    assert recorder.events == once
    recorder.events.clear()
    table.protect(0, 0x2000, PLAIN & ~NG)
    assert recorder.events == once * 2


@pytest.mark.parametrize(
    ("va", "pa", "size", "message"),
    [
        (0x1001, 0, 0x1000, "no whole pages"),
        (0x1000, 0x10, 0x1000, "no whole pages"),
        (0, 0, 0, "no whole pages"),
        ((1 << 48) - 0x1000, 0, 0x2000, "reach past"),
        (1 << 50, 0, 0x1000, "canonical"),
        (0, 1 << 50, 0x1000, "does not fit"),
    ],
)
def test_what_cannot_be_mapped_is_an_error(
    table: PageTable, va: int, pa: int, size: int, message: str
) -> None:
    with pytest.raises(MmuError, match=message):
        table.map(va, pa, size, PLAIN)
    assert list(table.leaves()) == []


def _operations() -> st.SearchStrategy[list[tuple[str, int, int, int]]]:
    page = st.integers(0, 3000)
    kind = st.sampled_from(["map", "unmap", "protect"])
    return st.lists(st.tuples(kind, page, st.integers(1, 1200), page), max_size=8)


@given(_operations(), st.booleans())
def test_any_order_of_changes_agrees_with_a_dictionary(
    operations: list[tuple[str, int, int, int]], contiguous: bool
) -> None:
    table = make_table(USER_48, size=4 << 20)
    model: dict[int, tuple[int, bool]] = {}
    for kind, first, count, frame in operations:
        pages = range(first, first + count)
        if kind == "map":
            if any(page in model for page in pages):
                continue
            # Congruent modulo 2 MiB half of the time, so that blocks and runs occur.
            pa = frame if frame % 2 else first % 512 + frame // 512 * 512
            table.map(first << 12, pa << 12, count << 12, PLAIN, contiguous=contiguous)
            model |= {page: (pa + page - first, False) for page in pages}
        elif kind == "unmap":
            table.unmap(first << 12, count << 12)
            model = {page: what for page, what in model.items() if page not in pages}
        else:
            table.protect(first << 12, count << 12, PLAIN | AP_READ_ONLY)
            model |= {page: (model[page][0], True) for page in pages if page in model}
    assert dict(_explode(table)) == model


def _explode(table: PageTable) -> Iterator[tuple[int, tuple[int, bool]]]:
    for va, pa in _pages(table).items():
        _, _, entry = table.find(va)
        yield va >> 12, (pa >> 12, bool(entry & AP_READ_ONLY))


def test_a_million_pages_are_mapped_in_bulk() -> None:
    table = make_table(USER_48, size=16 << 20)
    table.map(1 << 30, 0x1000, 1 << 32, PLAIN)
    entries = np.concatenate(list(_entry_groups(table)))
    assert len(entries) == 1 << 20
    assert np.array_equal(
        USER_48.output_addresses(entries), np.arange(1, (1 << 20) + 1, dtype=np.uint64) << 12
    )


def _entry_groups(table: PageTable) -> Iterator[np.ndarray[tuple[int], np.dtype[np.uint64]]]:
    from unikiln.mmu.leaves import leaves

    (tables, root), *_ = table.tables
    for group in leaves(table.memory, tables, root):
        yield group.entry


def test_an_attribute_that_moves_in_blocks_is_moved() -> None:
    """x86-64: PAT is bit 7 of a page and bit 12 of a block, where bit 7 says that it is one."""
    from unikiln.mmu.x86 import entry as x86
    from unikiln.mmu.x86.layout import layout as x86_layout

    lower = x86_layout(48)
    table = make_table(lower, size=4 << 20)
    plain = x86.RW | x86.US | x86.A
    table.map(1 << 30, 1 << 30, 4 << 21, plain | x86.PAT)
    assert all(entry == va | plain | x86.PAT_LARGE | x86.PS | x86.P for va, _, _, entry in table.leaves())
    table.protect(1 << 30, 1 << 21, plain & ~x86.RW)
    _, level, entry = table.find(1 << 30)
    assert (level, entry) == (2, 1 << 30 | x86.US | x86.A | x86.PS | x86.P)
    table.unmap((1 << 30) + (2 << 21), 4096)
    _, level, entry = table.find((1 << 30) + (2 << 21) + 4096)
    assert (level, entry) == (1, (1 << 30) + (2 << 21) + 4096 | plain | x86.PAT | x86.P)
    assert {bool(run.effective & x86.PAT_LARGE) for run in table.mappings() if run.level == 2} == {
        True,
        False,
    }


def test_set_accessed_works_on_any_layout() -> None:
    from unikiln.mmu import set_accessed
    from unikiln.mmu.x86 import entry as x86
    from unikiln.mmu.x86.layout import layout as x86_layout

    for tables, old, new in (
        (layout(16, 42), PLAIN & ~AF, PLAIN | 1 << 55),
        (layout(12, 52, ds=True), PLAIN & ~AF & ~(3 << 8), PLAIN & ~(3 << 8) | 1 << 55),
        (x86_layout(48), x86.RW, x86.RW | x86.A | x86.D),
    ):
        table = make_table(tables, size=8 << 20)
        table.map(0, 0, tables.size(tables.steps[-2].level), old)
        (half, root), *_ = table.tables
        entry = set_accessed(table.memory, half, root, 0x1234, write=True)
        step = tables.steps[-2]
        assert entry == new | step.leaf_value
        assert table.find(0)[2] == entry
