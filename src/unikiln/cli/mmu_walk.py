"""``unikiln mmu walk``: translate one address, entry by entry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from unikiln.base.size import format_size
from unikiln.cli.common import JsonOption
from unikiln.cli.listing import aligned
from unikiln.cli.mmu_attributes import attribute_record
from unikiln.cli.mmu_source import Source, VerboseOption, open_source, takes_source, tell_pause
from unikiln.cli.number import parse_number
from unikiln.cli.output import print_json
from unikiln.errors import UsageError

if TYPE_CHECKING:
    from unikiln.mmu.layout import Layout
    from unikiln.mmu.request import Request
    from unikiln.mmu.space import Fault, Space
    from unikiln.mmu.translation import Translation

_FAULT = 1
_LEFT = frozenset({0, 1, 2})


@takes_source
def walk(
    va: Annotated[str, typer.Argument(metavar="VA", help="A virtual address.")],
    source: Source,
    write: Annotated[bool, typer.Option("--write", "-w", help="For a store; default: a load.")] = False,
    execute: Annotated[bool, typer.Option("--execute", "-x", help="For an instruction fetch.")] = False,
    user: Annotated[
        bool, typer.Option("--user", "--el0", help="From EL0 or ring 3; default: from the kernel.")
    ] = False,
    json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Translate a virtual address: every entry on the way, then where it leads, or the fault.

    The status is 0 for a translation and 1 for a fault. Nothing is changed: the entries that the processor
    would rewrite (access flag, dirty state) are told.

    Look at a dump with --memory and the registers, or at a live guest with --qmp.
    """
    from unikiln.mmu.translation import Translation

    request = _request(write, execute, user)
    address = parse_number(va, what="a virtual address")
    with open_source(source) as place:
        with place.look() as space:
            result = space.walk(address, request)
        tell_pause(place, verbose)
    if json:
        print_json({**_record(space, result, request), "paused_seconds": place.paused})
    else:
        print("\n".join(_lines(space, result, request)))
    if not isinstance(result, Translation):
        raise typer.Exit(_FAULT)


def _request(write: bool, execute: bool, user: bool) -> Request:
    from unikiln.mmu.request import Access, Request

    if write and execute:
        raise UsageError("one access is either a store or an instruction fetch")
    access = Access.WRITE if write else Access.EXECUTE if execute else Access.READ
    return Request(access, privileged=not user)


def _lines(space: Space, result: Translation | Fault, request: Request) -> list[str]:
    from unikiln.mmu import explain

    layout = space.layout_of(result.va)
    where = f", by {explain.tables(space, layout)}" if layout else ""
    lines = [f"{result.va:#x}: {explain.access(space, request)}{where}", ""]
    if layout and result.entries:
        rows: list[tuple[str, ...]] = [("level", "entry at", "value", "")]
        for visited in result.entries:
            level = explain.level_name(layout, visited.level)
            meaning = explain.entry(space, layout, visited)
            rows.append((level, f"{visited.pa:#x}", f"{visited.value:#018x}", meaning))
        lines += [line.rstrip() for line in aligned(rows, _LEFT)]
        lines.append("")
    lines.append(_end(space, layout, result))
    if result.changes:
        lines += ["", "The processor would write:"]
        lines += [f"{change.value:#018x} at {change.pa:#x}" for change in result.changes]
    return lines


def _end(space: Space, layout: Layout | None, result: Translation | Fault) -> str:
    """Where the walk ended."""
    from unikiln.mmu import explain
    from unikiln.mmu.translation import Translation

    if not isinstance(result, Translation):
        return explain.fault(result)
    high, low = explain.PRIVILEGES[space.arch]
    found = result.attributes
    parts = [f"{high} {found.privileged}, {low} {found.user}", found.memory_type, found.shareability]
    parts += ["global" if found.is_global else "not global", *found.flags]
    if layout:
        leaf = result.leaf.value
        parts.append("accessed" if leaf & layout.accessed else "not accessed")
        parts.append("dirty" if layout.is_dirty(leaf) else "clean")
    size = format_size(result.size)
    return f"{result.va:#x} -> {result.pa:#x}, {size}: {', '.join(part for part in parts if part)}"


def _record(space: Space, result: Translation | Fault, request: Request) -> dict[str, object]:
    from unikiln.mmu import explain
    from unikiln.mmu.translation import Translation

    layout = space.layout_of(result.va)
    record: dict[str, object] = {"va": hex(result.va), "access": explain.access(space, request)}
    record["entries"] = [
        {
            "level": visited.level,
            "pa": hex(visited.pa),
            "value": hex(visited.value),
            "meaning": explain.entry(space, layout, visited),
        }
        for visited in result.entries
        if layout
    ]
    record["changes"] = [{"pa": hex(change.pa), "value": hex(change.value)} for change in result.changes]
    if isinstance(result, Translation):
        return {**record, "translation": _translation(layout, result)}
    fault = {"kind": result.kind.name.lower(), "level": result.level, "meaning": explain.fault(result)}
    return {**record, "fault": fault}


def _translation(layout: Layout | None, result: Translation) -> dict[str, object]:
    return {
        "pa": hex(result.pa),
        "size": result.size,
        **attribute_record(result.attributes),
        "accessed": bool(layout and result.leaf.value & layout.accessed),
        "dirty": bool(layout and layout.is_dirty(result.leaf.value)),
    }
