"""Faults in words."""

from __future__ import annotations

import pytest

from tests.mmu.x86.paths import ROOT, USER_RW, VA, path
from unikiln.mmu import Access, Request
from unikiln.mmu.x86 import entry as bits
from unikiln.mmu.x86.regime import Regime
from unikiln.mmu.x86.walk import walk


@pytest.mark.parametrize(
    ("flags", "va", "text"),
    [
        ({2: 0}, VA, f"page fault 0x6, PDE, at {VA:#x}: not present"),
        ({4: USER_RW | bits.PS}, VA, f"page fault 0xf, PML4E, at {VA:#x}: a reserved bit is set"),
        ({3: bits.P | bits.US}, VA, f"page fault 0x7, PTE, at {VA:#x}: the page is read-only"),
        ({3: bits.P | bits.RW}, VA, f"page fault 0x7, PTE, at {VA:#x}: the page is for supervisor mode"),
        ({}, 1 << 62, f"general protection, at {1 << 62:#x}: the address is not canonical"),
    ],
)
def test_a_fault_says_what_where_and_why(flags: dict[int, int], va: int, text: str) -> None:
    assert str(walk(path(flags=flags), Regime(ROOT), va, Request(Access.WRITE))) == text
