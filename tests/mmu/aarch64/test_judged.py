"""QEMU's MMU judges the model: random cases, put to real instructions on two of its processors.

``UNIKILN_MMU_SEED`` and ``UNIKILN_MMU_CASES`` choose other cases, and how many for each processor.
"""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from tests.baremetal.aarch64.generate import Question, operations, questions
from tests.baremetal.aarch64.guest import Guest, IdRegisters
from tests.baremetal.aarch64.record import Result
from tests.baremetal.aarch64.show import difference, summary
from unikiln.mmu.aarch64.config import PRESETS

SEED = int(os.environ.get("UNIKILN_MMU_SEED", "20250713"))
CASES = int(os.environ.get("UNIKILN_MMU_CASES", "12000"))
ENOUGH = 10_000
"""With as many cases as this, every kind of fault at every level has come up."""
CPUS = ("cortex-a57", "max")

Judge = tuple[Guest, IdRegisters]

pytestmark = pytest.mark.judge("aarch64-linux-gnu-gcc", "qemu-system-aarch64")


@pytest.fixture(scope="module", params=CPUS)
def judge(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Judge:
    """A guest for one processor, and what that says of itself."""
    cpu: str = request.param
    guest = Guest.build(tmp_path_factory.mktemp(cpu), cpu)
    ids, _ = guest.run([])
    return guest, ids


def put(guest: Guest, asked: list[Question]) -> list[tuple[Question, Result]]:
    """Those of the questions that QEMU answers otherwise than expected."""
    _, results = guest.run([question.case for question in asked])
    return [
        (question, got) for question, got in zip(asked, results, strict=True) if got != question.qemu.result
    ]


def test_the_preset_is_what_the_processor_says(judge: Judge) -> None:
    guest, ids = judge
    assert ids.config == PRESETS[guest.cpu]


def test_the_model_does_what_the_processor_does(judge: Judge) -> None:
    guest, ids = judge
    asked = list(questions(guest, ids, SEED, CASES))
    print(summary(guest.cpu, asked))
    wrong = put(guest, asked)
    shown = "\n\n".join(difference(question, got) for question, got in wrong[:5])
    assert not wrong, f"seed {SEED}: {len(wrong)} of {len(asked)} cases differ\n\n{shown}"
    if len(asked) >= ENOUGH:
        assert not _outcomes_that_can_be(guest.cpu) - {_unfamiliar(question) for question in asked}


def _unfamiliar(question: Question) -> str:
    """The outcome, whatever kind of operation had it."""
    return question.model.outcome.partition(" ")[2]


def _outcomes_that_can_be(cpu: str) -> set[str]:
    first, first_block = (-1, 0) if cpu == "max" else (0, 1)
    tables = {
        f"{kind} level {level}"
        for kind in ("translation", "address size", "external on walk")
        for level in range(first, 4)
    }
    leaves = {
        f"{kind} level {level}" for kind in ("access flag", "permission") for level in range(first_block, 4)
    }
    return tables | leaves | {"completed", "alignment", "external abort"}


@pytest.mark.parametrize("judge", ["max"], indirect=True)
def test_an_atomic_reads_before_it_writes(judge: Judge) -> None:
    guest, ids = judge
    atomics = [operation for operation in operations(ids) if operation.modifies]
    alone = replace(guest, processors=1)
    wrong = put(alone, list(questions(alone, ids, SEED, 2000, atomics)))
    assert not wrong, "\n\n".join(difference(question, got) for question, got in wrong[:5])


def test_a_wrong_model_is_found_out(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    guest, ids = judge
    monkeypatch.setattr("unikiln.mmu.aarch64.walk.permits", lambda *_, **__: True)
    wrong = put(guest, list(questions(guest, ids, SEED, 500)))
    assert "completed" in {_unfamiliar(question) for question, _ in wrong}
    text = "\n".join(difference(question, got) for question, got in wrong)
    assert "permission fault" in text
    assert "ttbr0" in text
