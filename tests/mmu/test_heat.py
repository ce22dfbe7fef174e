"""Counting what is accessed and dirty over time, and cutting it into regions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.mmu.conftest import make_table
from unikiln.mmu.aarch64 import descriptor as bits
from unikiln.mmu.aarch64.layout import KERNEL_48, USER_48
from unikiln.mmu.aarch64.regime import Regime
from unikiln.mmu.aarch64.registers import encode_tcr
from unikiln.mmu.heat import ACCESSED, DIRTY, ENTRIES, NEWLY_ACCESSED, NEWLY_DIRTY, Sampler
from unikiln.mmu.space import Space
from unikiln.mmu.table import PageTable

PAGE = 4096
NOT_ACCESSED = ~bits.AF & (1 << 64) - 1


class Guest:
    """Tables that a test changes between samples."""

    def __init__(self) -> None:
        self.table: PageTable = make_table(USER_48, KERNEL_48)
        (_, lower), (_, upper) = self.table.tables
        self.space = Space(self.table.memory, Regime(encode_tcr(t0sz=16, t1sz=16), lower, upper))

    def map(self, va: int, *, accessed: bool = True, dirty: bool = False) -> None:
        """Map a page of EL0."""
        entry = bits.user_page(0x10_0000, writable=True, executable=False, dirty=dirty)
        self.table.map_page(va, entry if accessed else entry & NOT_ACCESSED)

    def map_block(self, va: int) -> None:
        """Map 2 MiB of EL1."""
        self.table.map(va, 0x20_0000, 2 << 20, bits.AF | bits.UXN | bits.PXN)


@pytest.fixture
def guest() -> Guest:
    return Guest()


def test_what_is_new_is_what_was_not_so_before(guest: Guest) -> None:
    sampler = Sampler()
    for page in range(8):
        guest.map(page * PAGE, accessed=page < 4, dirty=page < 2)
    first = sampler.add(guest.space, 0.0)
    assert list(first.total.values()) == [8, 4, 2, 0, 0]
    guest.map(4 * PAGE)  # accessed now
    guest.map(2 * PAGE, dirty=True)  # dirty now
    guest.map(0, accessed=False)  # cleared: nothing new
    guest.map(8 * PAGE, dirty=True)  # not mapped before
    guest.map(9 * PAGE, accessed=False)
    second = sampler.add(guest.space, 1.0)
    assert list(second.total.values()) == [10, 5, 3, 2, 2]
    guest.map(0)  # set again after it was cleared
    third = sampler.add(guest.space, 2.0)
    assert list(third.total.values()) == [10, 6, 3, 1, 0]
    fourth = sampler.add(guest.space, 3.0)
    assert fourth.total["newly_accessed"] == fourth.total["newly_dirty"] == 0


def test_regions_are_exact_and_cut_at_holes(guest: Guest) -> None:
    sampler = Sampler()
    for va in (0x1000, 0x2000, 0x10_0000, 0x8000_0000):
        guest.map(va)
    guest.map_block(0xFFFF_0000_0000_0000)
    guest.map_block(0xFFFF_0000_0020_0000)
    sampler.add(guest.space, 0.0)
    heat = sampler.heat(4)
    assert [(region.first, region.last) for region in heat.regions] == [
        (0x1000, 0x2FFF),
        (0x10_0000, 0x10_0FFF),
        (0x8000_0000, 0x8000_0FFF),
        (0xFFFF_0000_0000_0000, 0xFFFF_0000_003F_FFFF),
    ]
    assert heat.counts[:, 0, ENTRIES].tolist() == [2, 1, 1, 2]
    few = sampler.heat(2)
    assert [region.first for region in few.regions] == [0x1000, 0xFFFF_0000_0000_0000]
    assert len(sampler.heat(1).regions) == 1
    assert len(sampler.heat(100).regions) == 6


def test_more_rows_go_where_more_is_touched(guest: Guest) -> None:
    sampler = Sampler()
    for page in range(256):
        guest.map(page * PAGE, accessed=False)
        guest.map((1 << 30) + page * PAGE)
    sampler.add(guest.space, 0.0)
    for page in range(64, 96):
        guest.map(page * PAGE, dirty=True)
    sampler.add(guest.space, 1.0)
    heat = sampler.heat(10)
    assert len(heat.regions) == 10
    sizes = {region: (region.last - region.first + 1) // PAGE for region in heat.regions}
    touched = heat.counts[:, :, NEWLY_ACCESSED].sum(axis=1)
    hot = [size for region, size in sizes.items() if 64 * PAGE <= region.first < 96 * PAGE]
    assert max(hot) <= 8
    assert sizes[heat.regions[-1]] == 256
    assert touched.sum() == 32


def test_only_a_part(guest: Guest) -> None:
    for va in (0x1000, 0x10_0000):
        guest.map(va)
    guest.map_block(0xFFFF_0000_0000_0000)
    counts = {
        "all": Sampler(),
        "user": Sampler(user=True),
        "kernel": Sampler(user=False),
        "low": Sampler(end=0x10_0000),
    }
    found = {name: sampler.add(guest.space, 0.0).total["entries"] for name, sampler in counts.items()}
    assert found == {"all": 3, "user": 2, "kernel": 1, "low": 1}


def test_nothing_is_mapped_and_then_something(guest: Guest) -> None:
    sampler = Sampler()
    assert sampler.add(guest.space, 0.0).total["entries"] == 0
    assert sampler.heat(5).regions == []
    guest.map(0x1000)
    assert sampler.add(guest.space, 1.0).total["newly_accessed"] == 1
    assert len(sampler.heat(5).regions) == 1


def test_many_pages_fall_into_few_buckets() -> None:
    guest = Guest()
    guest.table = make_table(USER_48, KERNEL_48, size=8 << 20)
    (_, lower), (_, upper) = guest.table.tables
    guest.space = Space(guest.table.memory, Regime(encode_tcr(t0sz=16, t1sz=16), lower, upper))
    entry = bits.user_page(0x10_0000, writable=True, executable=False, dirty=False)
    for page in range(20_000):
        guest.table.map_page(page * PAGE, entry)
    sampler = Sampler()
    sample = sampler.add(guest.space, 0.0)
    assert 2048 <= len(sample.bucket) <= 4097
    assert sample.total["entries"] == 20_000


Changes = dict[int, tuple[bool, bool]]


@given(
    st.lists(
        st.dictionaries(st.integers(0, 40), st.tuples(st.booleans(), st.booleans())), min_size=1, max_size=4
    )
)
def test_counts_are_those_of_a_loop(rounds: list[Changes]) -> None:
    guest, sampler = Guest(), Sampler()
    state: Changes = {}
    for number, changes in enumerate(rounds):
        before = dict(state)
        state |= changes
        for page, (accessed, dirty) in changes.items():
            guest.map((page // 4 << 26) + page % 4 * PAGE, accessed=accessed, dirty=dirty)
        total = sampler.add(guest.space, float(number)).total
        assert total["entries"] == len(state)
        assert total["accessed"] == sum(accessed for accessed, _ in state.values())
        new = [page for page, (accessed, _) in state.items() if accessed and not before.get(page, (0, 0))[0]]
        assert total["newly_accessed"] == (len(new) if number else 0)
        new = [page for page, (_, dirty) in state.items() if dirty and not before.get(page, (0, 0))[1]]
        assert total["newly_dirty"] == (len(new) if number else 0)
    for rows in (1, 3, 50):
        heat = sampler.heat(rows)
        assert len(heat.regions) <= rows
        assert all(a.last < b.first for a, b in zip(heat.regions, heat.regions[1:], strict=False))
        for index, sample in enumerate(sampler.samples):
            assert heat.counts[:, index].sum(axis=0).tolist() == list(sample.total.values())


def test_columns_have_their_places(guest: Guest) -> None:
    guest.map(0x1000, dirty=True)
    (row,) = Sampler().add(guest.space, 0.0).counts.tolist()
    assert [row[column] for column in (ENTRIES, ACCESSED, DIRTY, NEWLY_ACCESSED, NEWLY_DIRTY)] == [
        1,
        1,
        1,
        0,
        0,
    ]
