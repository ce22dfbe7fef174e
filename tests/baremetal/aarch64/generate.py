"""Random cases for a guest: nothing, one thing or two things wrong, and what the model expects of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from tests.baremetal.aarch64.deviation import qemu_expectation
from tests.baremetal.aarch64.draft import Draft
from tests.baremetal.aarch64.expect import Expectation, UnjudgeableError, expect
from tests.baremetal.aarch64.guest import WINDOW_BYTES, Guest, IdRegisters, content
from tests.baremetal.aarch64.mutation import MUTATIONS
from tests.baremetal.aarch64.operation import OPERATIONS, Operation
from tests.baremetal.aarch64.record import Case

_HOW_MANY_WRONG = (0, 1, 2)
_HOW_OFTEN = (30, 50, 20)
_OFTEN = {"ldr": 4, "str": 4, "fetch": 6}
"""Operations that are chosen more often than once."""


@dataclass(frozen=True, slots=True)
class Question:
    """A case, what the model expects of it, and what QEMU does by the ``rows`` of its deviations."""

    case: Case
    model: Expectation
    qemu: Expectation
    rows: tuple[str, ...]


def operations(ids: IdRegisters) -> list[Operation]:
    """Those that the processor has, the frequent ones several times."""
    has = {"": True, "lse": ids.has_atomics, "dpb": ids.has_persistence, "pan2": ids.config.pan > 1}
    return [
        operation
        for operation in OPERATIONS.values()
        if has[operation.needs]
        for _ in range(_OFTEN.get(operation.name, 1))
    ]


def questions(
    guest: Guest, ids: IdRegisters, seed: int, count: int, choice: Sequence[Operation] = ()
) -> Iterator[Question]:
    """``count`` of them, the same for the same ``seed``; with operations of ``choice``, or all there are."""
    random = Random(f"{guest.cpu} {seed}")
    choice = choice or operations(ids)
    mutations, weights = zip(*MUTATIONS, strict=True)
    while count:
        draft = Draft(random, ids.config, guest, random.choice(choice))
        (wrong,) = random.choices(_HOW_MANY_WRONG, _HOW_OFTEN)
        chosen = random.choices(mutations, weights, k=wrong)
        story = tuple(mutation.__name__ for mutation in chosen if mutation(draft))
        case = _with_operands(draft, story, guest)
        try:
            model = expect(case, guest, ids)
            qemu, rows = qemu_expectation(case, model, guest, ids)
        except UnjudgeableError:
            continue
        yield Question(case, model, qemu, tuple(rows))
        count -= 1


def _with_operands(draft: Draft, story: tuple[str, ...], guest: Guest) -> Case:
    random, window = draft.random, guest.symbols["window"]
    x1, x2 = random.getrandbits(64), random.getrandbits(64)
    if draft.operation.name == "cas" and window <= draft.pa < window + WINDOW_BYTES and draft.chance(0.6):
        x2 = int.from_bytes(content(draft.pa, 8), "little")
    return draft.case(story, x1, x2)
