"""Drawings of heat, for a terminal and as pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unikiln.errors import UsageError
from unikiln.mmu.heat import COLUMNS, Heat, Region
from unikiln.observe.heat import check_picture, draw_picture, draw_terminal, touched


def heat(samples: int, new: list[list[int]], entries: int = 100) -> Heat:
    """Regions of a MiB each, ``entries`` entries; ``new``: what is newly accessed in each, by interval."""
    counts = np.zeros((len(new), samples, len(COLUMNS)), dtype=np.int64)
    counts[:, :, 0] = entries
    counts[:, :, 1] = entries // 2
    for row, values in enumerate(new):
        counts[row, 1:, 3] = values
    regions = [Region(row << 20, (row + 1 << 20) - 1) for row in range(len(new))]
    return Heat(regions, [0.5 * index for index in range(samples)], counts)


def test_shares_of_what_was_touched() -> None:
    assert touched(heat(3, [[10, 0], [50, 100]])).tolist() == [[0.1, 0.0], [0.5, 1.0]]


def test_a_strip_a_region_darker_where_more_was_touched() -> None:
    lines = [line.plain for line in draw_terminal(heat(6, [[0, 1, 20, 40, 100], [0] * 5]))]
    assert lines[0].split() == ["addresses", "entries", "0", "s", "2.5", "s", "touched", "accessed", "dirty"]
    assert lines[1].startswith(f"{0:016x}-{(1 << 20) - 1:016x}       100   ·▒▓█")
    assert lines[1].split()[-3:] == ["161", "50%", "0%"]
    assert lines[2].split()[-3:] == ["0", "50%", "0%"]
    assert len({len(line) for line in lines}) == 1


def test_many_samples_are_drawn_in_few_columns() -> None:
    many = [0] * 499
    many[250] = 7
    line = draw_terminal(heat(500, [many]))[1].plain
    assert line.count("█") == 1
    assert len(line) < 120


def test_bars_of_one_sample() -> None:
    lines = [line.plain for line in draw_terminal(heat(1, [[], []]))]
    assert lines[1].count("█") == 10
    assert " 50% " in lines[1]


@pytest.mark.parametrize("samples", [1, 2, 30])
def test_pictures(tmp_path: Path, samples: int) -> None:
    path = tmp_path / "heat.png"
    draw_picture(heat(samples, [[5] * (samples - 1)] * 12), path, "a title")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [each.name for each in tmp_path.iterdir()] == ["heat.png"]


def test_a_region_that_was_not_mapped_at_first(tmp_path: Path) -> None:
    grown = heat(4, [[0, 5, 5]])
    grown.counts[0, :2] = 0
    assert touched(grown).tolist() == [[0.0, 0.05, 0.05]]
    draw_picture(grown, tmp_path / "heat.svg", "grown")
    assert (tmp_path / "heat.svg").read_bytes().startswith(b"<?xml")


def test_nothing_was_mapped(tmp_path: Path) -> None:
    for samples in (1, 5):
        nothing = heat(samples, [])
        assert len(draw_terminal(nothing)) == 1
        draw_picture(nothing, tmp_path / "heat.png", "nothing")


def test_formats() -> None:
    for name in ("a.png", "a.SVG", "a.pdf"):
        check_picture(Path(name))
    with pytest.raises(UsageError, match="no picture format"):
        check_picture(Path("a.gif"))
