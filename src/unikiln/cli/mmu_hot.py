"""``unikiln mmu hot``: where memory is touched, over time."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unikiln.cli.common import JsonOption, QuietOption
from unikiln.cli.mmu_source import (
    Place,
    RangeOption,
    Source,
    open_source,
    parse_range,
    takes_source,
    user_or_kernel,
)
from unikiln.cli.output import print_json

if TYPE_CHECKING:
    from unikiln.mmu.heat import Heat, Sampler
    from unikiln.mmu.space import Regime


@takes_source
def hot(
    source: Source,
    interval: Annotated[
        float, typer.Option("--interval", "-i", min=0.01, metavar="SECONDS", help="Time between samples.")
    ] = 1.0,
    samples: Annotated[
        int, typer.Option("--samples", "-n", min=1, metavar="N", help="How many; a dump gives one.")
    ] = 10,
    rows: Annotated[int, typer.Option("--rows", min=1, metavar="N", help="Regions to show, at most.")] = 32,
    range_: RangeOption = None,
    user: Annotated[bool, typer.Option("--user", help="Only what EL0 or ring 3 may access.")] = False,
    kernel: Annotated[bool, typer.Option("--kernel", help="Only what they may not.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Draw a .png, .svg or .pdf.")
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show where memory is touched: entries that become accessed or dirty, by region, over time.

    Regions are finest where most is touched. Ctrl-C ends the sampling early and shows what there is. The
    tables are those of the first sample, also when the guest has switched to another process since.

    The guest's memory is only read. Clearing the access flags, which would show every touch, would not do:
    the guest's TLB holds them set, nothing from outside can invalidate it, and the guest's own scanner would
    be misled. So an entry that is accessed tells nothing more until the guest itself clears its flag.

    Look at a dump with --memory and the registers, or at a live guest with --qmp.
    """
    from unikiln.mmu.heat import Sampler
    from unikiln.observe.heat import check_picture, draw_picture

    if output is not None:
        check_picture(output)
    low, high = parse_range(range_) if range_ else (0, (1 << 64) - 1)
    sampler = Sampler(low, high + 1, user_or_kernel(user, kernel))
    with open_source(source) as place:
        pauses = _sample(sampler, place, 1 if source.qmp is None else samples, interval, quiet=quiet)
    heat = sampler.heat(rows)
    if output is not None:
        draw_picture(heat, output, _title(source, heat))
    if json:
        print_json(_record(sampler, heat, pauses))
    elif output is None:
        _show(heat)
    if not quiet and not json:
        print(_summary(sampler, pauses))
    if sampler.trouble is not None:
        raise sampler.trouble


def _sample(sampler: Sampler, place: Place, count: int, interval: float, *, quiet: bool) -> list[float]:
    """Take the samples, at equal distances; for how many seconds each stopped the guest."""
    begun = time.monotonic()
    pauses: list[float] = []
    regime: Regime | None = None
    tells = not quiet and count > 1 and sys.stderr.isatty()
    try:
        for number in range(count):
            time.sleep(max(0.0, begun + number * interval - time.monotonic()))
            taken = time.monotonic() - begun if number else 0.0
            space = place.snapshot(regime)
            regime = space.regime
            sampler.add(space, taken)
            pauses.append(place.paused)
            if tells:
                print(f"\rsample {number + 1} of {count} ", end="", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        if not pauses:
            raise
    if tells:
        print("\r\033[K", end="", file=sys.stderr, flush=True)
    return pauses


def _title(source: Source, heat: Heat) -> str:
    name = source.qmp or source.memory
    return f"{name}: {len(heat.seconds)} samples in {heat.seconds[-1]:.1f} s" if source.qmp else str(name)


def _show(heat: Heat) -> None:
    from rich.console import Console

    from unikiln.observe.heat import draw_terminal

    console = Console(highlight=False)
    for line in draw_terminal(heat):
        console.print(line, soft_wrap=True)


def _summary(sampler: Sampler, pauses: list[float]) -> str:
    last = sampler.samples[-1].total
    counted = f"{last['entries']:,} entries: {last['accessed']:,} accessed, {last['dirty']:,} dirty"
    if not any(pauses):
        return counted
    longest, seconds = max(pauses) * 1000, sampler.samples[-1].seconds
    if len(pauses) == 1:
        return f"{counted}; the guest was stopped for {longest:.1f} ms"
    stops = f"stopped the guest for at most {longest:.1f} ms each"
    return f"{counted}; {len(pauses)} samples in {seconds:.1f} s {stops}"


def _record(sampler: Sampler, heat: Heat, pauses: list[float]) -> dict[str, object]:
    from unikiln.mmu.heat import COLUMNS

    return {
        "samples": [
            {"seconds": sample.seconds, "paused_seconds": paused, **sample.total}
            for sample, paused in zip(sampler.samples, pauses, strict=True)
        ],
        "regions": [
            {"first": hex(region.first), "last": hex(region.last)}
            | {name: counts[:, column].tolist() for column, name in enumerate(COLUMNS)}
            for region, counts in zip(heat.regions, heat.counts, strict=True)
        ],
    }
