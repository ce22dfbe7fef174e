"""What a processor reports of a walk, and points of the walk that random cases rarely meet.

The numbers are those of the manual's pseudocode; test_judged.py asks a processor.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from unikiln.errors import MmuError
from unikiln.mmu import Access, Request, TableMemory, Translation
from unikiln.mmu.aarch64 import descriptor as bits
from unikiln.mmu.aarch64.fault import Fault, FaultKind
from unikiln.mmu.aarch64.regime import Regime
from unikiln.mmu.aarch64.registers import SCTLR_EPAN, SCTLR_M, SCTLR_WXN, encode_tcr
from unikiln.mmu.aarch64.report import abort_syndrome, address_translated, fault_syndrome
from unikiln.mmu.aarch64.walk import walk

TABLE = 0x1000
VA = 3 << 16
PA = 5 << 16
NORMAL, DEVICE = 0 << bits.ATTR_INDX_SHIFT, 1 << bits.ATTR_INDX_SHIFT
PAGE = PA | bits.LEAF | bits.AF | NORMAL | 3 << bits.SH_SHIFT
HD = 1 << 40 | 1 << 39
ONE_LEVEL = encode_tcr(t0sz=39, t1sz=39, granule0=16, granule1=16)
"""64 KiB pages and 25 bits of address: one table at level 3."""


def look(entry: int, access: Access, *, tcr: int = 0, sctlr: int = 0, **how: Any) -> Translation | Fault:  # noqa: ANN401
    regime = make_regime(tcr=tcr, sctlr=sctlr)
    words = np.zeros(0x1000, dtype=np.uint64)
    words[TABLE // 8 + 3] = entry
    return walk(TableMemory(words), regime, VA + 8, Request(access, **how))


def make_regime(*, tcr: int = 0, sctlr: int = 0) -> Regime:
    return Regime(ONE_LEVEL | tcr, TABLE, mair=0x00FF, sctlr=SCTLR_M | sctlr)


def syndrome(outcome: Translation | Fault) -> int:
    assert isinstance(outcome, Fault)
    return fault_syndrome(outcome)


@pytest.mark.parametrize(
    ("access", "how", "esr"),
    [
        (Access.READ, {}, 0x9200_0007),
        (Access.WRITE, {}, 0x9200_0047),
        (Access.EXECUTE, {}, 0x8200_0007),
        (Access.READ, {"privileged": True}, 0x9600_0007),
        (Access.WRITE, {"privileged": True, "unprivileged": True}, 0x9600_0047),
        (Access.EXECUTE, {"privileged": True}, 0x8600_0007),
        (Access.READ, {"cache_maintenance": True}, 0x9200_0147),
        (Access.WRITE, {"atomic": True}, 0x9200_0047),
        (Access.WRITE, {"atomic": True, "modifies": True}, 0x9200_0007),
    ],
    ids=["load", "store", "fetch", "load at EL1", "sttr", "fetch at EL1", "dc cvac", "stxr", "ldadd"],
)
def test_the_syndrome_of_a_translation_fault(access: Access, how: dict[str, bool], esr: int) -> None:
    assert syndrome(look(0, access, **how)) == esr


def test_an_atomic_is_a_write_where_only_writing_is_forbidden() -> None:
    atomic = {"atomic": True, "modifies": True, "privileged": True}
    assert syndrome(look(PAGE | bits.AP_READ_ONLY, Access.WRITE, **atomic)) == 0x9600_004F
    assert syndrome(look(PAGE, Access.WRITE, **(atomic | {"privileged": False}))) == 0x9200_000F


def test_at_from_el1_on_behalf_of_el0_faults_at_el1() -> None:
    """An AT takes an exception only if the walk meets an external abort, and EL1 executed it."""
    regime = Regime(ONE_LEVEL, 1 << 30)
    outcome = walk(TableMemory(np.zeros(8, dtype=np.uint64)), regime, VA, Request(at=True))
    assert isinstance(outcome, Fault)
    assert address_translated(regime, outcome) is None
    assert fault_syndrome(outcome) == 0x9600_0157


def test_an_external_abort_of_the_access_itself() -> None:
    assert abort_syndrome(Request(Access.WRITE), 0b010000, is_write=True) == 0x9200_0050
    assert abort_syndrome(Request(Access.EXECUTE), 0b010000, is_write=True) == 0x8200_0010


@pytest.mark.parametrize(
    ("entry", "par"),
    [
        (PAGE | bits.AP_EL0, 0xFF00_0000_0005_0B80),
        (PAGE & ~(3 << bits.SH_SHIFT) | bits.AP_EL0, 0xFF00_0000_0005_0A00),
        (PAGE | DEVICE | bits.AP_EL0, 0x0000_0000_0005_0B00),
        (PAGE & ~(2 << bits.SH_SHIFT) | bits.AP_EL0, 0xFF00_0000_0005_0B00),
        (PAGE, 0x81F),
        (PAGE & ~bits.AF, 0x817),
        (0, 0x80F),
    ],
    ids=["normal", "non-shareable", "device", "reserved SH", "permission", "access flag", "translation"],
)
def test_par_after_at_s1e0r(entry: int, par: int) -> None:
    assert address_translated(make_regime(), look(entry, Access.READ, at=True)) == par


def test_par_with_the_mmu_off_is_device_memory() -> None:
    regime = Regime(0, 0, sctlr=0)
    outcome = walk(TableMemory(np.zeros(8, dtype=np.uint64)), regime, 0x12345, Request(at=True))
    assert address_translated(regime, outcome) == 0x12000 | 0xB00


# -- a leaf that hardware may make dirty


def test_a_clean_leaf_counts_as_writable_for_every_access() -> None:
    """With WXN nobody executes it; at EL1 nobody executes what EL0 may write."""
    clean = PAGE | bits.DBM | bits.AP_READ_ONLY
    assert isinstance(look(clean, Access.EXECUTE, privileged=True), Translation)
    assert isinstance(look(clean, Access.EXECUTE, tcr=HD, privileged=True), Translation)
    for_el0 = clean | bits.AP_EL0
    assert isinstance(look(for_el0, Access.EXECUTE, privileged=True), Translation)
    assert isinstance(look(for_el0, Access.EXECUTE, tcr=HD, privileged=True), Fault)
    assert isinstance(look(for_el0, Access.EXECUTE, sctlr=SCTLR_WXN), Translation)
    assert isinstance(look(for_el0, Access.EXECUTE, tcr=HD, sctlr=SCTLR_WXN), Fault)


@pytest.mark.parametrize(
    ("access", "how", "dirty"),
    [
        (Access.WRITE, {}, True),
        (Access.READ, {}, False),
        (Access.WRITE, {"at": True}, False),
        (Access.WRITE, {"cache_maintenance": True}, False),
    ],
    ids=["store", "load", "at s1e1w", "dc ivac"],
)
def test_only_a_store_makes_it_dirty(access: Access, how: dict[str, bool], dirty: bool) -> None:
    clean = PAGE & ~bits.AF | bits.DBM | bits.AP_READ_ONLY
    outcome = look(clean, access, tcr=HD, privileged=True, **how)
    assert isinstance(outcome, Translation)
    assert outcome.updated == (clean | bits.AF) & ~(bits.AP_READ_ONLY if dirty else 0)


def test_what_a_table_forbids_no_dirty_state_allows() -> None:
    """A level-2 table with APTable[1], then a clean page."""
    words = np.zeros(0x1000, dtype=np.uint64)
    words[TABLE // 8] = 0x2000 | bits.LEAF | bits.AP_TABLE_READ_ONLY
    words[0x2000 // 8] = 0x3000 | bits.LEAF | bits.DBM | bits.AP_READ_ONLY
    regime = Regime(encode_tcr(t0sz=39, t1sz=39) | HD, TABLE, mair=0xFF)
    outcome = walk(TableMemory(words), regime, 0, Request(Access.WRITE, privileged=True))
    assert isinstance(outcome, Fault)
    assert (outcome.kind, outcome.changes) == (FaultKind.PERMISSION, ())


# -- the rest


def test_dc_zva_needs_normal_memory() -> None:
    zeroes = {"zeroes": True, "privileged": True}
    assert isinstance(look(PAGE, Access.WRITE, **zeroes), Translation)
    assert syndrome(look(PAGE | DEVICE, Access.WRITE, **zeroes)) == 0x9600_0061
    off = walk(
        TableMemory(np.zeros(8, dtype=np.uint64)),
        Regime(0, 0, sctlr=0),
        64,
        Request(Access.WRITE, zeroes=True),
    )
    assert isinstance(off, Fault)
    assert off.kind is FaultKind.ALIGNMENT


@pytest.mark.parametrize("how", [{"cache_maintenance": True}, {}], ids=["dc cvac", "load"])
def test_pan_is_not_for_cache_maintenance(how: dict[str, bool]) -> None:
    outcome = look(PAGE | bits.AP_EL0, Access.READ, privileged=True, pan=True, **how)
    assert isinstance(outcome, Translation) == bool(how)


def test_epan_is_for_what_el0_only_executes() -> None:
    assert isinstance(look(PAGE, Access.READ, privileged=True, pan=True), Translation)
    assert isinstance(look(PAGE, Access.READ, sctlr=SCTLR_EPAN, privileged=True, pan=True), Fault)
    not_executable = PAGE | bits.UXN
    assert isinstance(
        look(not_executable, Access.READ, sctlr=SCTLR_EPAN, privileged=True, pan=True), Translation
    )


def test_the_offset_into_a_block_counts_for_the_output_size() -> None:
    """A block of 512 GiB at 0, output addresses of 32 bits: its lowest 4 GiB can be reached."""
    words = np.zeros(0x1000, dtype=np.uint64)
    words[TABLE // 8] = bits.VALID | bits.AF
    regime = Regime(encode_tcr(t0sz=16, t1sz=16, ips=0, ds=True), TABLE, mair=0xFF)
    memory = TableMemory(words)
    assert isinstance(walk(memory, regime, 0xFFFF_FFFF, Request(privileged=True)), Translation)
    outcome = walk(memory, regime, 0x1_0000_0000, Request(privileged=True))
    assert isinstance(outcome, Fault)
    assert (outcome.kind, outcome.level) == (FaultKind.ADDRESS_SIZE, 0)


@pytest.mark.parametrize(
    ("tcr", "root"),
    [
        (encode_tcr(t0sz=16, t1sz=16, ips=5, ds=True), 0xF_0000_0000_1000),
        (encode_tcr(t0sz=16, t1sz=16, ips=5), 0x1000),
        (encode_tcr(t0sz=16, t1sz=16, ips=6, granule0=16), 0xF_0000_0000_1000),
        (encode_tcr(t0sz=16, t1sz=16, ips=5, granule0=16), 0x1000),
    ],
    ids=["DS", "48 bits", "64 KiB, 52 bits", "64 KiB, 48 bits"],
)
def test_high_bits_of_the_root_are_in_ttbr_5_to_2(tcr: int, root: int) -> None:
    assert Regime(tcr, 0x103C).parameters(upper=False).root == root


@pytest.mark.parametrize(
    ("access", "tcr", "reached"),
    [
        (Access.READ, 1 << 37, True),
        (Access.READ, 1 << 37 | 1 << 51, True),
        (Access.EXECUTE, 1 << 37, True),
        (Access.EXECUTE, 1 << 37 | 1 << 51, False),
        (Access.READ, 0, False),
    ],
    ids=["TBI0", "TBID0", "fetch, TBI0", "fetch, TBID0", "no TBI0"],
)
def test_a_tag_with_the_mmu_off(access: Access, tcr: int, reached: bool) -> None:
    memory = TableMemory(np.zeros(8, dtype=np.uint64))
    outcome = walk(memory, Regime(tcr, 0, sctlr=0), 0x12 << 56 | 0x40, Request(access))
    assert isinstance(outcome, Translation) == reached
    if isinstance(outcome, Translation):
        assert outcome.pa == 0x40


def test_memory_that_is_missing_is_an_error_of_the_memory() -> None:
    with pytest.raises(MmuError):
        TableMemory(np.zeros(8, dtype=np.uint64)).load(1 << 30)
