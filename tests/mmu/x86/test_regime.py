"""Registers and what follows from them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from unikiln.errors import MmuError
from unikiln.mmu.x86 import registers as r
from unikiln.mmu.x86.config import HASWELL, MAX, NEHALEM
from unikiln.mmu.x86.regime import Regime


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Regime(0, cr0=r.CR0_PE), "CR0.PG"),
        (lambda: Regime(0, cr4=0), "CR4.PAE"),
        (lambda: Regime(0, efer=r.EFER_LME), "EFER.LMA"),
    ],
)
def test_other_paging_modes_are_refused(make: Callable[[], Regime], name: str) -> None:
    with pytest.raises(MmuError, match=f"{name} is 0") as error:
        make()
    assert error.value.hint


@pytest.mark.parametrize(
    ("bit", "name", "feature"),
    [
        (r.CR4_LA57, "CR4.LA57", "la57"),
        (r.CR4_PCIDE, "CR4.PCIDE", "pcid"),
        (r.CR4_SMEP, "CR4.SMEP", "smep"),
        (r.CR4_SMAP, "CR4.SMAP", "smap"),
        (r.CR4_PKE, "CR4.PKE", "pku"),
        (r.CR4_PKS, "CR4.PKS", "pks"),
    ],
)
def test_what_the_processor_lacks_is_refused(bit: int, name: str, feature: str) -> None:
    with pytest.raises(MmuError, match=f"{name} is 1, but the processor has no {feature}"):
        Regime(0, cr4=r.CR4_PAE | bit, config=NEHALEM)
    assert Regime(0, cr4=r.CR4_PAE | bit, config=MAX)


def test_cr3_has_the_root_and_the_pcid() -> None:
    cr3 = 1 << 63 | 0x1234_5000 | 0xABC
    assert Regime(cr3).root == 0x1234_5000
    assert Regime(cr3).pcid == 0
    assert Regime(cr3, cr4=r.CR4_PAE | r.CR4_PCIDE).pcid == 0xABC
    assert Regime(cr3 | 1 << 45, config=HASWELL).root == 0x1234_5000, "above MAXPHYADDR"


def test_both_halves_begin_at_the_same_table() -> None:
    (lower, root), (upper, again) = Regime(0x7000 | r.CR3_PCD).tables()
    assert root == again == 0x7000
    assert (lower.first_va, lower.last_va) == (0, (1 << 47) - 1)
    assert (upper.first_va, upper.last_va) == (0xFFFF_8000_0000_0000, (1 << 64) - 1)
    assert (lower, upper) == (Regime(0).layout(), Regime(0).layout(upper=True))


@pytest.mark.parametrize(("index", "name"), list(enumerate(["WB", "WT", "UC-", "UC"] * 2)))
def test_pat_after_reset(index: int, name: str) -> None:
    assert r.memory_type(r.PAT_DEFAULT, index) == name


def test_pat_values_without_a_meaning() -> None:
    assert [r.memory_type(value, 0) for value in range(8)] == [
        "UC", "WC", "reserved", "reserved", "WT", "WP", "WB", "UC-",
    ]  # fmt: skip
