"""A case that went wrong, and what a batch was about, for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import fields

from tests.baremetal.aarch64.deviation import DOINGS, READINGS
from tests.baremetal.aarch64.generate import Question
from tests.baremetal.aarch64.record import Case, Result
from unikiln.mmu.aarch64.entry import Descriptor
from unikiln.mmu.aarch64.syndrome import Syndrome


def difference(question: Question, got: Result) -> str:
    """All there is to know about a case in which QEMU did not do what was expected."""
    expected = question.qemu.result
    differ = [each.name for each in fields(Result) if getattr(got, each.name) != getattr(expected, each.name)]
    lines = [
        f"{question.qemu.outcome} expected",
        f"  mutations {question.case.story}, deviations {question.rows}",
        *_case(question.case),
    ]
    for name in differ:
        lines.append(f"  {name}: expected {_value(name, expected)}")
        lines.append(f"  {'':{len(name)}}       got {_value(name, got)}")
    return "\n".join(lines)


def _case(case: Case) -> list[str]:
    regime = case.regime
    who = f"{'EL1' if case.privileged else 'EL0'}{' PAN' if case.pan else ''}"
    operands = f"va {case.va:#x}, x1 {case.x1:#x}, x2 {case.x2:#x}, probe {case.probe:#x}"
    registers = {name: getattr(regime, name) for name in ("sctlr", "tcr", "mair", "ttbr0", "ttbr1")}
    return [
        f"  {case.operation} at {who}, {operands}",
        "  " + ", ".join(f"{name} {value:#x}" for name, value in registers.items()),
        f"  {regime.parameters(bool(case.va >> 55 & 1)).half}",
        *(f"  {pa:#x}: {_entry(case, at, value)}" for at, (pa, value) in enumerate(case.entries)),
    ]


def _entry(case: Case, at: int, value: int) -> str:
    layout = case.regime.parameters(bool(case.va >> 55 & 1)).layout
    if layout is None or at >= len(layout.steps):
        return f"{value:#018x}"
    return str(Descriptor(value, layout.steps[at].level, layout))


def _value(name: str, result: Result) -> str:
    value = getattr(result, name)
    if name == "esr":
        return str(Syndrome.decode(value))
    return " ".join(map(hex, value)) if isinstance(value, tuple) else hex(value)


def summary(cpu: str, asked: Sequence[Question]) -> str:
    """How many cases had which outcome, and how many each deviation of QEMU's was about."""
    outcomes = Counter(question.model.outcome for question in asked)
    rows = Counter(name for question in asked for name in question.rows)
    lines = [f"{cpu}: {len(asked)} cases"]
    lines += [f"  {count:6} {outcome}" for outcome, count in sorted(outcomes.items())]
    lines += [f"  {rows[row.name]:6} deviate: {row.name}: {row.reason}" for row in (*READINGS, *DOINGS)]
    return "\n".join(lines)
