"""``unikiln mmu esr``: explain a syndrome."""

from __future__ import annotations

from typing import Annotated

import typer

from unikiln.cli.common import JsonOption
from unikiln.cli.fields import print_fields
from unikiln.cli.number import parse_number


def esr(
    value: Annotated[str, typer.Argument(metavar="VALUE", help="ESR_EL1, such as 0x9600014b.")],
    far: Annotated[
        str | None, typer.Option("--far", metavar="ADDRESS", help="FAR_EL1 of the same exception.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Explain a syndrome, ESR_EL1: a sentence, and every field with its meaning.

    VALUE and ADDRESS are hexadecimal (0x9600014b), or decimal; _ may stand between digits.
    """
    from unikiln.mmu.aarch64.syndrome import Syndrome

    syndrome = Syndrome.decode(parse_number(value, what="ESR_EL1"))
    fields = syndrome.fields()
    if far is not None:
        fields.append(syndrome.far_field(parse_number(far, what="FAR_EL1")))
    print_fields(syndrome.sentence, fields, register="ESR_EL1", value=syndrome.value, json=json)
