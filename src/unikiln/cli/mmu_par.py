"""``unikiln mmu par``: explain the result of an address translation instruction."""

from __future__ import annotations

from typing import Annotated

import typer

from unikiln.cli.common import JsonOption
from unikiln.cli.fields import print_fields
from unikiln.cli.number import parse_number


def par(
    value: Annotated[str, typer.Argument(metavar="VALUE", help="PAR_EL1, such as 0xff00000040201b80.")],
    json: JsonOption = False,
) -> None:
    """Explain PAR_EL1, the result of an AT instruction: where the address leads, or why nowhere.

    VALUE is hexadecimal (0xff00000040201b80), or decimal; _ may stand between digits.
    """
    from unikiln.mmu.aarch64.par import Par

    result = Par(parse_number(value, what="PAR_EL1"))
    print_fields(result.sentence, result.fields(), register="PAR_EL1", value=result.value, json=json)
