"""``unikiln mmu map``: all that is mapped, as runs of alike entries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from unikiln.base.size import format_size
from unikiln.cli.common import JsonOption
from unikiln.cli.mmu_attributes import attribute_record, shareability
from unikiln.cli.mmu_source import (
    RangeOption,
    Source,
    VerboseOption,
    open_source,
    parse_range,
    takes_source,
    tell_pause,
    user_or_kernel,
)
from unikiln.cli.number import parse_number
from unikiln.cli.output import print_json
from unikiln.errors import MmuError

if TYPE_CHECKING:
    from unikiln.mmu.space import Mapping, Space

_NOTHING = 1
_UNITS = (("G", 30), ("M", 20), ("K", 10))

Filter = Callable[["Mapping"], bool]


@takes_source
def map(  # the verb's name
    source: Source,
    range_: RangeOption = None,
    pa: Annotated[
        str | None,
        typer.Option("--pa", metavar="ADDRESS", help="Only the addresses that lead to this physical one."),
    ] = None,
    user: Annotated[bool, typer.Option("--user", help="Only what EL0 or ring 3 may access.")] = False,
    kernel: Annotated[bool, typer.Option("--kernel", help="Only what they may not.")] = False,
    writable: Annotated[bool, typer.Option("--writable", help="Only what anyone may write.")] = False,
    executable: Annotated[bool, typer.Option("--executable", help="Only what anyone may execute.")] = False,
    wx: Annotated[bool, typer.Option("--wx", help="Only what one may both write and execute.")] = False,
    accessed: Annotated[bool, typer.Option("--accessed", help="Only with accessed entries.")] = False,
    dirty: Annotated[bool, typer.Option("--dirty", help="Only with dirty entries.")] = False,
    physical: Annotated[
        bool, typer.Option("--physical", help="Split runs where the physical address jumps.")
    ] = False,
    json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Show all that is mapped: runs of neighbouring entries with the same attributes.

    Each line has the addresses, how many entries of which size map them, what the kernel and programs may do,
    the memory type, and how many entries are accessed and dirty.

    Look at a dump with --memory and the registers, or at a live guest with --qmp.
    """
    filters = _filters(user=user_or_kernel(user, kernel), accessed=accessed, dirty=dirty)
    filters += [_allows(rights) for rights, on in (("w", writable), ("x", executable), ("wx", wx)) if on]
    if range_ is not None:
        filters.append(_overlaps(range_))
    target = None if pa is None else parse_number(pa, what="--pa")
    with open_source(source) as place:
        space = place.snapshot()
        tell_pause(place, verbose)
        found, trouble = _collect(space, target, physical)
    kept = [each for each in found if all(wanted(each[1]) for wanted in filters)]
    show = _show_json if json else _show_addresses if target is not None else _show
    show(space, kept, target, place.paused)
    if trouble:
        raise trouble
    if target is not None and not kept:
        raise typer.Exit(_NOTHING)


Found = tuple[int, "Mapping"]
"""An address, and the mapping that it is in or that begins there."""


def _collect(space: Space, target: int | None, physical: bool) -> tuple[list[Found], MmuError | None]:
    """What is mapped; what cannot be read comes with all that can."""
    found: list[Found] = []
    try:
        if target is not None:
            found.extend(space.find(target))
        else:
            found.extend((each.run.va, each) for each in space.mappings(by_address=physical))
    except MmuError as error:
        if not found:
            raise
        return found, error
    return found, None


def _filters(*, user: bool | None, accessed: bool, dirty: bool) -> list[Filter]:
    chosen: list[tuple[bool, Filter]] = [
        (user is not None, lambda mapping: mapping.is_user == user),
        (accessed, lambda mapping: mapping.run.accessed > 0),
        (dirty, lambda mapping: mapping.run.dirty > 0),
    ]
    return [each for on, each in chosen if on]


def _allows(rights: str) -> Filter:
    return lambda mapping: mapping.allows(*rights)


def _overlaps(text: str) -> Filter:
    low, high = parse_range(text)
    return lambda mapping: mapping.run.va <= high and mapping.last >= low


def _show(space: Space, found: list[Found], target: int | None, paused: float) -> None:
    from unikiln.mmu import explain

    lines: list[str] = []
    high, low = explain.PRIVILEGES[space.arch]
    layout = None
    for _, mapping in found:
        if mapping.layout != layout:
            layout = mapping.layout
            lines += ["", explain.tables(space, layout), _header(high, low)]
        lines.append(_line(mapping))
    lines += ["", _totals([mapping for _, mapping in found])]
    print("\n".join(lines[1:]))


_COLUMNS = "{:33} {:>7}  {:>12} {:>11}  {:6} {:4}  {:17} {:>8} {:>6}  {}"


def _header(high: str, low: str) -> str:
    names = ("addresses", "size", "physical", "entries", high, low, "memory", "accessed", "dirty", "also")
    return _COLUMNS.format(*names)


def _line(mapping: Mapping) -> str:
    run, attributes = mapping.run, mapping.attributes
    return _COLUMNS.format(
        f"{run.va:016x}-{mapping.last:016x}",
        _exact(run.size),
        f"{run.pa:#x}" if run.contiguous else "scattered",
        f"{run.leaves} x {_exact(mapping.leaf_size)}",
        attributes.privileged,
        attributes.user,
        f"{attributes.memory_type}{shareability(attributes)}",
        _share(run.accessed, run.leaves),
        _share(run.dirty, run.leaves),
        " ".join((*(["global"] if attributes.is_global else []), *attributes.flags)),
    ).rstrip()


def _exact(size: int) -> str:
    """A size in the largest unit that loses nothing."""
    return next(
        (f"{size >> shift}{unit}" for unit, shift in _UNITS if not size & (1 << shift) - 1), f"{size}B"
    )


def _share(count: int, of: int) -> str:
    return "all" if count == of else str(count) if count else "-"


def _totals(mappings: list[Mapping]) -> str:
    sizes: Counter[int] = Counter()
    for mapping in mappings:
        sizes[mapping.leaf_size] += mapping.run.leaves
    entries = ", ".join(f"{count:,} of {_exact(size)}" for size, count in sorted(sizes.items()))
    count, what = len(mappings), "run" if len(mappings) == 1 else "runs"
    size = format_size(sum(mapping.run.size for mapping in mappings))
    accessed, dirty = (sum(getattr(each.run, name) for each in mappings) for name in ("accessed", "dirty"))
    return f"{count:,} {what}, {size}: entries {entries or 'none'}; {accessed:,} accessed, {dirty:,} dirty"


def _show_addresses(space: Space, found: list[Found], target: int | None, paused: float) -> None:
    for va, mapping in found:
        print(f"{va:#018x} in {_line(mapping)}")


def _show_json(space: Space, found: list[Found], target: int | None, paused: float) -> None:
    from unikiln.mmu import explain

    layouts = {mapping.layout: explain.tables(space, mapping.layout) for _, mapping in found}
    print_json(
        {
            "arch": space.arch,
            "tables": list(layouts.values()),
            "mappings": [_record(va, mapping, target) for va, mapping in found],
            "paused_seconds": paused,
        }
    )


def _record(va: int, mapping: Mapping, target: int | None) -> dict[str, object]:
    run = mapping.run
    return {
        **({} if target is None else {"va": hex(va)}),
        "first": hex(run.va),
        "last": hex(mapping.last),
        "size": run.size,
        "pa": hex(run.pa) if run.contiguous else None,
        "level": run.level,
        "entries": run.leaves,
        "entry_size": mapping.leaf_size,
        "accessed": run.accessed,
        "dirty": run.dirty,
        **attribute_record(mapping.attributes),
    }
