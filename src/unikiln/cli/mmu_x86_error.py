"""``unikiln mmu x86-error``: explain the error code of an x86-64 page fault."""

from __future__ import annotations

from typing import Annotated

import typer

from unikiln.cli.common import JsonOption
from unikiln.cli.fields import print_fields
from unikiln.cli.number import as_typed, parse_number


def x86_error(
    code: Annotated[str, typer.Argument(metavar="CODE", help="The error code, such as 0x7.")],
    cr2: Annotated[
        str | None, typer.Option("--cr2", metavar="ADDRESS", help="CR2 of the same page fault.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Explain the error code of an x86-64 page fault: a sentence, and every flag with its meaning.

    CODE and ADDRESS are hexadecimal (0x7), or decimal; _ may stand between digits.
    """
    from unikiln.mmu.field import Field
    from unikiln.mmu.x86.error_code import PageFaultCode

    with as_typed():
        decoded = PageFaultCode.decode(parse_number(code, what="the error code", bits=32))
    fields = decoded.fields()
    if cr2 is not None:
        fields.append(Field("CR2", "63:0", parse_number(cr2, what="CR2"), "the address that faulted"))
    print_fields(str(decoded), fields, register="page-fault error code", value=decoded.value, json=json)
