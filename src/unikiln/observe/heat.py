"""Drawing where memory is touched: for a terminal by rich, or as a picture by matplotlib (extra ``plot``)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from unikiln.base.atomic import replacing
from unikiln.base.size import format_size
from unikiln.errors import UsageError
from unikiln.mmu.heat import ACCESSED, DIRTY, ENTRIES, NEWLY_ACCESSED, NEWLY_DIRTY, Heat, Region

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.text import Text

Shares = npt.NDArray[np.float64]

SUFFIXES = (".png", ".svg", ".pdf")

_CELLS = 40
"""Width of the drawing in a terminal."""
_SHADES = " ·░▒▓█"
_COLOURS = ("", "blue", "cyan", "green", "yellow", "red")
_LABEL = "{:33} {:>9}"


def touched(heat: Heat) -> Shares:
    """By region and interval, the share of entries that became accessed or dirty."""
    new = heat.counts[:, 1:, [NEWLY_ACCESSED, NEWLY_DIRTY]].max(axis=2)
    return _shares(new, heat.counts[:, 1:, ENTRIES])


def _shares(part: npt.NDArray[np.int64], whole: npt.NDArray[np.int64]) -> Shares:
    shares: Shares = part / np.maximum(whole, 1)
    return shares


def draw_terminal(heat: Heat) -> list[Text]:
    """Lines: of one sample, bars of what is accessed and dirty; of several, what was touched in between."""
    return _bars(heat) if len(heat.seconds) == 1 else _strips(heat)


def _bars(heat: Heat) -> list[Text]:
    from rich.text import Text

    half = _CELLS // 2
    title = f"{_LABEL.format('addresses', 'entries')}  {'accessed':{half + 5}}  dirty"
    lines = [Text(title, style="bold")]
    for region, counts in zip(heat.regions, heat.counts[:, 0], strict=True):
        line = Text(_LABEL.format(_addresses(region), f"{counts[ENTRIES]:,}"))
        for column, colour in ((ACCESSED, "yellow"), (DIRTY, "red")):
            share = counts[column] / max(counts[ENTRIES], 1)
            line.append(f"  {share:4.0%} ").append(f"{'█' * round(share * half):{half}}", colour)
        lines.append(line)
    return lines


def _strips(heat: Heat) -> list[Text]:
    from rich.text import Text

    shares = _narrowed(touched(heat))
    top = shares.max(initial=0) or 1.0
    end = f"{heat.seconds[-1]:.1f} s"
    width = max(shares.shape[1], len(end) + 4)
    time = f"0 s{end:>{width - 3}}"
    counted = f"{'touched':>8} {'accessed':>8} {'dirty':>6}"
    lines = [Text(f"{_LABEL.format('addresses', 'entries')}  {time}  {counted}", style="bold")]
    for region, row, counts in zip(heat.regions, shares, heat.counts, strict=True):
        last = counts[-1]
        line = Text(_LABEL.format(_addresses(region), f"{last[ENTRIES]:,}"))
        line.append("  ")
        for share in row:
            shade = _shade(share / top)
            line.append(_SHADES[shade], _COLOURS[shade])
        new = counts[:, [NEWLY_ACCESSED, NEWLY_DIRTY]].max(axis=1).sum()
        accessed, dirty = (last[column] / max(last[ENTRIES], 1) for column in (ACCESSED, DIRTY))
        line.append(f"{'':{width - len(row)}}  {new:8,} {accessed:8.0%} {dirty:6.0%}")
        lines.append(line)
    return lines


def _shade(share: float) -> int:
    """The darkness for a share of the largest; anything at all is seen."""
    return int(np.ceil(np.sqrt(share) * (len(_SHADES) - 1)))


def _narrowed(shares: Shares) -> Shares:
    """As many columns as fit, each the largest of those that it stands for."""
    columns = shares.shape[1]
    edges = np.linspace(0, columns, min(columns, _CELLS), endpoint=False).astype(int)
    return np.maximum.reduceat(shares, edges, axis=1) if columns else shares


def _addresses(region: Region) -> str:
    return f"{region.first:016x}-{region.last:016x}"


def check_picture(path: Path) -> None:
    """Refuse, before any work is done, what could not be drawn.

    :raises UsageError: no such format, or matplotlib is not installed
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path}: no picture format", hint=f"a name that ends in {', '.join(SUFFIXES)}")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UsageError("pictures need matplotlib", hint="pip install 'unikiln[plot]'") from None


def draw_picture(heat: Heat, path: Path, title: str) -> None:
    """Write the picture: of one sample, what is accessed and dirty; of several, what was touched when.

    :raises HostError: the file cannot be written
    """
    from matplotlib.figure import Figure

    height = 1.6 + 0.2 * len(heat.regions)
    figure = Figure(figsize=(11, height), layout="constrained")
    figure.suptitle(title)
    (_picture_of_one if len(heat.seconds) == 1 else _picture_over_time)(figure, heat)
    with replacing(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:].lower(), dpi=110)


def _picture_of_one(figure: Figure, heat: Heat) -> None:
    axes = figure.subplots(1, 2, sharey=True, squeeze=True)
    counts = heat.counts[:, 0]
    for each, column, name, colour in zip(
        axes, (ACCESSED, DIRTY), ("accessed", "dirty"), ("tab:orange", "tab:red"), strict=True
    ):
        shares = _shares(counts[:, column], counts[:, ENTRIES])
        each.barh(np.arange(len(heat.regions)), shares * 100, color=colour)
        each.set(title=name, xlabel="% of the region's entries", xlim=(0, 100))
    axes[0].invert_yaxis()
    _name_regions(axes[0], heat)


def _picture_over_time(figure: Figure, heat: Heat) -> None:
    axes = figure.subplots(1, 2, sharey=True, squeeze=True)
    entries = heat.counts[:, 1:, ENTRIES]
    panels = [_shares(heat.counts[:, 1:, column], entries) for column in (NEWLY_ACCESSED, NEWLY_DIRTY)]
    top = max(float(panel.max(initial=0)) for panel in panels) or 1.0
    panels = [np.ma.masked_array(panel, entries == 0) for panel in panels]
    drawn: Any = None
    for each, panel, name in zip(axes, panels, ("newly accessed", "newly dirty"), strict=True):
        drawn = _mesh(each, panel * 100, heat, top * 100)
        each.set(title=name, xlabel="seconds")
    axes[0].invert_yaxis()
    _name_regions(axes[0], heat)
    figure.colorbar(drawn, ax=axes, label="% of the region's entries (grey: not mapped)", pad=0.01)


def _mesh(axes: Axes, panel: Shares, heat: Heat, top: float) -> Any:  # noqa: ANN401
    from matplotlib.colors import PowerNorm

    edges = np.arange(len(heat.regions) + 1) - 0.5
    axes.set_facecolor("lightgrey")
    return axes.pcolormesh(heat.seconds, edges, panel, cmap="inferno", norm=PowerNorm(0.5, 0, top))


def _name_regions(axes: Axes, heat: Heat) -> None:
    names = [f"{region.first:#x} {format_size(region.last - region.first + 1):>6}" for region in heat.regions]
    axes.set_yticks(np.arange(len(names)), names, family="monospace", fontsize=7)
