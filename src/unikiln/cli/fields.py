"""How verbs print a decoded register or entry: a sentence, then a line a field; or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from unikiln.cli.listing import aligned
from unikiln.cli.output import print_json

if TYPE_CHECKING:
    from unikiln.mmu.field import Field

_LEFT = frozenset({0, 2})


def print_fields(summary: str, fields: Sequence[Field], *, register: str, value: int, json: bool) -> None:
    """Print what ``value`` of ``register`` means."""
    if json:
        print_json(
            {
                "register": register,
                "value": value,
                "summary": summary,
                "fields": [field._asdict() for field in fields],
            }
        )
        return
    print(f"{summary}\n")
    for line in aligned([_row(field) for field in fields], _LEFT):
        print(line)


def _row(field: Field) -> tuple[str, ...]:
    shown = f"{field.value:#x}" if ":" in field.bits else str(field.value)
    return field.name, field.bits, shown, field.meaning
