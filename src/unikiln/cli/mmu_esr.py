"""``unikiln mmu esr``: explain a syndrome."""

from __future__ import annotations

from typing import Annotated

import typer

from unikiln.cli.number import parse_number


def esr(
    value: Annotated[str, typer.Argument(metavar="VALUE", help="ESR_EL1, such as 0x9600014b.")],
) -> None:
    """Explain a syndrome (ESR_EL1)."""
    from unikiln.mmu.aarch64.syndrome import Syndrome

    print(Syndrome.decode(parse_number(value, what="ESR_EL1")))
