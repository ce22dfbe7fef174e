from __future__ import annotations

from unikiln.mmu import Attributes, Translation, Visited
from unikiln.mmu.tlb import Tlb, TlbEntry

MADE = Translation(0, 0, 4096, (Visited(3, 0, 3),), Attributes("r--", "r--", "Normal WB"))


def _entry(page: int, asid: int | None = 1, pages: int = 1) -> TlbEntry:
    return TlbEntry(page << 12, pages << 12, page << 12, asid, 3, MADE)


def _answers(tlb: Tlb, page: int, asid: int = 1) -> int:
    return len(tlb.lookup(page << 12, asid))


def test_entries_answer_for_their_addresses_in_their_address_space() -> None:
    tlb = Tlb()
    tlb.fill(_entry(5))
    tlb.fill(_entry(6, asid=None))
    assert (_answers(tlb, 5), _answers(tlb, 5, asid=2)) == (1, 0)
    assert (_answers(tlb, 6), _answers(tlb, 6, asid=2)) == (1, 1)
    assert _answers(tlb, 7) == 0


def test_the_entry_used_longest_ago_makes_room() -> None:
    tlb = Tlb(capacity=2)
    tlb.fill(_entry(1))
    tlb.fill(_entry(2))
    assert _answers(tlb, 1)
    tlb.fill(_entry(3))
    assert (_answers(tlb, 1), _answers(tlb, 2), _answers(tlb, 3)) == (1, 0, 1)
    assert len(tlb) == 2


def test_invalidation_by_address_takes_whole_entries() -> None:
    tlb = Tlb()
    tlb.fill(_entry(16, pages=16))
    tlb.fill(_entry(40))
    tlb.invalidate(20 << 12, 4096)
    assert (_answers(tlb, 16), _answers(tlb, 40)) == (0, 1)


def test_invalidation_by_address_and_asid_spares_other_spaces() -> None:
    tlb = Tlb()
    for asid in (1, 2, None):
        tlb.fill(_entry(1 if asid else 2, asid))
    tlb.invalidate(0, 1 << 48, asid=1)
    assert (_answers(tlb, 1, 1), _answers(tlb, 1, 2), _answers(tlb, 2)) == (0, 1, 0)


def test_invalidation_by_asid_spares_what_is_global() -> None:
    tlb = Tlb()
    tlb.fill(_entry(1))
    tlb.fill(_entry(2, asid=None))
    tlb.invalidate_asid(1)
    assert (_answers(tlb, 1), _answers(tlb, 2)) == (0, 1)
    tlb.invalidate_all()
    assert len(tlb) == 0
