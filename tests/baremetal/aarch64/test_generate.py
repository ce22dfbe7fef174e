"""Cases are what they are meant to be, without asking QEMU."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import pytest

from tests.baremetal.aarch64.deviation import DOINGS, READINGS
from tests.baremetal.aarch64.draft import Draft
from tests.baremetal.aarch64.expect import UnjudgeableError, branch_target, expect
from tests.baremetal.aarch64.generate import Question, operations, questions
from tests.baremetal.aarch64.guest import Guest, IdRegisters, content, svc_immediate
from tests.baremetal.aarch64.mutation import MUTATIONS, mmu_off
from tests.baremetal.aarch64.operation import OPERATIONS
from tests.baremetal.aarch64.record import MAX_ENTRIES, Case
from tests.baremetal.aarch64.show import summary
from unikiln.mmu.aarch64.regime import Regime

PLACES = {
    "arena": 0x4300_0000,
    "window": 0x4468_0000,
    "fixed_tables": 0x4040_0000,
    "el1_vectors": 0x4020_6000,
    **{f"stub_{name}": 0x4020_6800 + 8 * at for at, name in enumerate(OPERATIONS)},
}
GUEST = Guest(Path("judge.elf"), PLACES, "max")
OLD = IdRegisters(0x1124, 0, 0, 0, 0x11120, 0, 0x8444C004, 4)
NEW = IdRegisters(
    0x2100032310201126, 0x110112010312122, 0x1221011112011011, 0, 0x1221111110212120, 1, 0xB444C004, 4
)


def some(ids: IdRegisters, count: int, seed: int = 1) -> list[Question]:
    return list(questions(GUEST, ids, seed, count))


def test_the_same_seed_gives_the_same_cases() -> None:
    assert some(NEW, 50) == some(NEW, 50)
    assert some(NEW, 50) != some(NEW, 50, seed=2)


def test_an_old_processor_is_not_asked_for_what_it_lacks() -> None:
    names = {operation.name for operation in operations(OLD)}
    assert not names & {"ldadd", "swp", "cas", "dc_cvap", "at_s1e1rp"}
    assert names < {operation.name for operation in operations(NEW)}
    assert all(question.case.regime.config.granules == {12, 16} for question in some(OLD, 50))


@pytest.mark.parametrize("ids", [OLD, NEW], ids=["old", "new"])
def test_all_kinds_of_outcomes_come_up(ids: IdRegisters) -> None:
    outcomes = Counter(question.model.outcome.split()[1] for question in some(ids, 1500))
    assert outcomes["completed"] > 300
    assert {"translation", "address", "access", "permission", "alignment", "external"} < outcomes.keys()


def test_every_mutation_and_every_operation_is_used() -> None:
    asked = some(NEW, 2000)
    assert {name for question in asked for name in question.case.story} == {
        mutation.__name__ for mutation, _ in MUTATIONS
    }
    assert {question.case.operation for question in asked} == OPERATIONS.keys()


def test_a_draft_without_a_fault_of_permission_reaches_its_target() -> None:
    random = Random(3)
    for _ in range(300):
        draft = Draft(random, NEW.config, GUEST, OPERATIONS["ldrb"])
        outcome = expect(draft.case((), 1, 2), GUEST, NEW).outcome
        assert "translation" not in outcome
        assert "address size" not in outcome
        assert "walk" not in outcome
        assert len(draft.path) <= MAX_ENTRIES


def test_tables_stay_in_the_arena() -> None:
    arena = range(PLACES["arena"], PLACES["arena"] + (16 << 20))
    assert all(pa in arena for question in some(NEW, 300) for pa, _ in question.case.entries)


def test_the_stub_is_found_in_the_half_that_is_not_tested() -> None:
    for question in some(NEW, 300):
        case = question.case
        upper = bool(GUEST.stub(case) >> 55)
        assert upper == (case.regime.enabled and not case.va >> 55 & 1)


def test_without_an_mmu_the_stub_is_at_its_physical_address() -> None:
    draft = Draft(Random(1), NEW.config, GUEST, OPERATIONS["ldr"])
    assert mmu_off(draft)
    assert GUEST.stub(draft.case((), 0, 0)) == PLACES["stub_ldr"]


def test_reaching_anything_else_is_refused() -> None:
    elsewhere = Case(Regime(0, 0, sctlr=0), "str", True, PLACES["el1_vectors"])
    with pytest.raises(UnjudgeableError):
        expect(elsewhere, GUEST, NEW)


def test_a_store_is_expected_where_it_goes() -> None:
    pa = PLACES["window"] + 0x128
    case = Case(Regime(0, 0, sctlr=0), "strh", True, pa, x1=0xABCD, probe=pa)
    result = expect(case, GUEST, NEW).result
    assert result.changed == 1
    assert result.at_probe[1].to_bytes(8, "little") == b"\xcd\xab" + content(pa + 2, 6)


def test_a_fetch_arrives_at_the_svc_of_its_place() -> None:
    pa = PLACES["window"] + 0x2468
    result = expect(Case(Regime(0, 0, sctlr=0), "fetch", False, pa), GUEST, NEW).result
    assert (result.vector, result.esr, result.elr) == (8, 0x5600_0000 | svc_immediate(pa), pa + 4)


def test_content_differs_from_place_to_place() -> None:
    words = content(PLACES["window"], 256 << 10)
    assert len({words[at : at + 4] for at in range(0, len(words), 4)}) == len(words) // 4
    assert content(PLACES["window"] + 5, 6) == words[5:11]


@pytest.mark.parametrize(
    ("tcr", "va", "target"),
    [
        (0, 0x1200_0000_0000_1000, 0x1200_0000_0000_1000),
        (1 << 37, 0x1200_0000_0000_1000, 0x1000),
        (1 << 38, 0x1280_0000_0000_1000, 0xFF80_0000_0000_1000),
        (1 << 37 | 1 << 51, 0x1200_0000_0000_1000, 0x1200_0000_0000_1000),
    ],
    ids=["no TBI", "TBI0", "TBI1", "TBID0"],
)
def test_a_branch_drops_the_tag(tcr: int, va: int, target: int) -> None:
    assert branch_target(Case(Regime(tcr, 0), "fetch", True, va)) == target


def test_deviations_are_told_with_their_reason() -> None:
    text = summary("max", some(NEW, 300))
    assert all(row.reason in text for row in (*READINGS, *DOINGS))
    assert "300 cases" in text
