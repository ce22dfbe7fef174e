"""``unikiln mmu pte``: explain a page-table entry."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from unikiln.cli.common import JsonOption
from unikiln.cli.fields import print_fields
from unikiln.cli.number import as_typed, parse_number
from unikiln.errors import UsageError

if TYPE_CHECKING:
    from unikiln.mmu.field import Field


class Arch(StrEnum):
    """Whose tables."""

    aarch64 = "aarch64"
    x86_64 = "x86_64"


class Granule(StrEnum):
    """Translation granules of AArch64."""

    g4k = "4K"
    g16k = "16K"
    g64k = "64K"


_SHIFTS = {Granule.g4k: 12, Granule.g16k: 14, Granule.g64k: 16}
_PAGES = {Arch.aarch64: 3, Arch.x86_64: 1}


def pte(
    value: Annotated[str, typer.Argument(metavar="VALUE", help="The entry, such as 0x60000040201703.")],
    arch: Annotated[Arch, typer.Option("--arch", help="Whose entry it is.")] = Arch.aarch64,
    level: Annotated[
        int | None,
        typer.Option(
            "--level",
            metavar="N",
            help="Level of the entry: -1 to 3 on AArch64, 5 to 1 on x86-64; default: that of pages.",
        ),
    ] = None,
    granule: Annotated[
        Granule | None, typer.Option("--granule", help="Translation granule, AArch64 only; default 4K.")
    ] = None,
    lpa2: Annotated[
        bool,
        typer.Option("--lpa2", help="52-bit addresses: TCR_EL1.DS, or FEAT_LPA with 64K; AArch64 only."),
    ] = False,
    mair: Annotated[
        str | None,
        typer.Option("--mair", metavar="VALUE", help="MAIR_EL1, for the memory type; AArch64 only."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Explain a page-table entry: what it is and where it leads, and every field with its meaning.

    VALUE is hexadecimal (0x60000040201703), or decimal; _ may stand between digits.
    """
    entry = parse_number(value, what="the entry")
    at = _PAGES[arch] if level is None else level
    with as_typed():
        if arch is Arch.x86_64:
            _refuse_options_of_aarch64(granule=granule, lpa2=lpa2, mair=mair)
            summary, fields = _explain_x86(entry, at)
        else:
            shift = _SHIFTS[granule or Granule.g4k]
            attributes = None if mair is None else parse_number(mair, what="MAIR_EL1")
            summary, fields = _explain_aarch64(entry, at, shift, lpa2, attributes)
    print_fields(summary, fields, register=f"{arch.value} entry, level {at}", value=entry, json=json)


def _refuse_options_of_aarch64(**options: object) -> None:
    for name, given in options.items():
        if given:
            raise UsageError(f"--{name} is of AArch64", hint="leave it out with --arch x86_64")


def _explain_x86(value: int, level: int) -> tuple[str, list[Field]]:
    from unikiln.mmu.x86.describe import describe, summary

    return summary(value, level), describe(value, level)


def _explain_aarch64(
    value: int, level: int, granule: int, wide: bool, mair: int | None
) -> tuple[str, list[Field]]:
    from unikiln.mmu.aarch64.describe import describe, summary

    return (
        summary(value, level, granule=granule, wide=wide, mair=mair),
        describe(value, level, granule=granule, wide=wide, mair=mair),
    )
