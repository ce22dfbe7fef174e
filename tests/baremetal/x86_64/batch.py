"""A batch: random cases put to the model and to QEMU, and where the two differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np

from tests.baremetal.x86_64 import guest
from tests.baremetal.x86_64.cases import ROOTS, Case, Generator, encode
from tests.baremetal.x86_64.deviations import DEVIATIONS, Deviation
from tests.baremetal.x86_64.expect import Step, put
from tests.baremetal.x86_64.guest import ARENA, CASE, RESULTS, Judged, Outcome
from unikiln.mmu.translation import Translation
from unikiln.mmu.x86.config import Config


class Processor(NamedTuple):
    """One of QEMU's, as its command line names it, and what it has; ``la57``: the tables have 5 levels."""

    cpu: str
    config: Config
    la57: bool = False


class Verdict(NamedTuple):
    """What came of a batch.

    ``differences``: the first case of each kind of difference, for people; ``met``: cases by what the manual
    says of them; ``deviations``: cases by name of QEMU's deviation; ``words``: words of memory that end up
    other than the model has them.
    """

    config: Config
    differences: list[str]
    met: Counter[str]
    deviations: Counter[str]
    words: int


def judge(
    program: Path,
    folder: Path,
    processor: Processor,
    seed: int,
    count: int,
    known_deviations: Sequence[Deviation] = DEVIATIONS,
) -> Verdict:
    """Draw ``count`` cases by ``seed`` and put them to both."""
    generator = Generator(Random(seed), processor.config, la57=processor.la57)
    cases = [generator.draw() for _ in range(count)]
    memory = guest.initial_memory(program, ROOTS, la57=processor.la57)
    before = memory.words[ARENA].copy()
    steps = [put(memory, case, known_deviations) for case in cases]
    records = np.array([encode(case, step.operand) for case, step in zip(cases, steps, strict=True)], CASE)
    judged = guest.run(program, folder, processor.cpu, records, before, la57=processor.la57)
    return Verdict(
        judged.config,
        list(_differences(cases, steps, judged)),
        Counter(_name(step) for step in steps),
        Counter(name for step in steps for name in step.deviations),
        int(np.count_nonzero(memory.words[ARENA] != judged.arena)),
    )


def _differences(cases: list[Case], steps: list[Step], judged: Judged) -> Iterator[str]:
    seen = set()
    for case, step, record in zip(cases, steps, judged.cases, strict=True):
        vector, error, cr2, value = (int(record[name]) for name in RESULTS)
        outcome = Outcome(vector, error, cr2, value, tuple(record["after"].tolist()))
        if step.outcome.value is None:
            outcome = outcome._replace(value=None)
        kind = (_name(step), *(ours != theirs for ours, theirs in zip(step.outcome, outcome, strict=True)))
        if outcome != step.outcome and kind not in seen:
            seen.add(kind)
            yield _report(case, step, outcome)


def _name(step: Step) -> str:
    """What the manual says of the case, in a word or two."""
    result = step.result
    if isinstance(result, Translation):
        return f"level {result.level}"
    return (result.denial or result.kind).name


def _report(case: Case, step: Step, outcome: Outcome) -> str:
    entries = "".join(f"\n    {pa:#x}: {value:#018x}" for pa, value in case.entries.items())
    return (
        f"{case.kind.name} {'user' if case.user else 'supervisor'} AC={case.ac:d} at {case.va:#x}{entries}\n"
        f"  {case.regime}\n  the manual: {step.result}\n  known deviations: {step.deviations}\n"
        f"  expected {_hex(step.outcome)}\n  QEMU     {_hex(outcome)}"
    )


def _hex(outcome: Outcome) -> str:
    after = " ".join(f"{value:#x}" for value in outcome.after)
    value = "any" if outcome.value is None else f"{outcome.value:#x}"
    fault = f"vector {outcome.vector}, error {outcome.error:#x}, CR2 {outcome.cr2:#x}"
    return f"{fault}, value {value}, entries {after}"
