"""The MMU library in bulk: clearing flags, walking many addresses, mapping out a guest, setting one flag.

The peer of the first is the plainest pass that NumPy can make over the same entries, in the same run.
Run it as ``python -m bench.mmu``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from unikiln.mmu import PageTable, TableMemory, set_accessed, test_and_clear_accessed, walk_many
from unikiln.mmu.aarch64.descriptor import AF, OUTPUT_ADDRESS, user_page
from unikiln.mmu.aarch64.layout import USER_48

ENTRIES = 10_000_000
PAGES = ADDRESSES = 1_000_000
CALLS = 20_000
START = 0x7000_0000_0000
_ATTRIBUTES = user_page(0, writable=True, executable=False, dirty=False) & ~OUTPUT_ADDRESS & ~3


@dataclass(frozen=True)
class Measured:
    """One figure, the goal, and their ratio."""

    name: str
    value: float
    goal: float
    unit: str

    @property
    def ratio(self) -> float:
        """Below 1: the goal is met."""
        return self.value / self.goal


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = [clearing(given.rounds), *tables(given.rounds)]
    if given.json:
        print(json.dumps([asdict(each) for each in found]))
        return
    print(f"{'':44} {'value':>8} {'goal':>6} {'ratio':>6}")
    for each in found:
        print(f"{each.name:44} {each.value:8.3f} {each.goal:6.1f} {each.ratio:6.2f}  {each.unit}")


def clearing(rounds: int) -> Measured:
    """Test-and-clear over ten million entries, a third of them accessed, against one NumPy pass."""
    source = np.random.default_rng(1).integers(0, 1 << 63, ENTRIES, dtype=np.uint64)
    source[::3] |= np.uint64(AF)
    entries = source.copy()
    keep = np.uint64(~AF & (1 << 64) - 1)

    def plain() -> None:
        np.bitwise_and(entries, keep, out=entries)

    def ours() -> None:
        test_and_clear_accessed(entries, USER_48)

    theirs, mine = [], []
    for _ in range(rounds):  # in turn, so that what disturbs the machine disturbs both
        np.copyto(entries, source)
        theirs.append(_seconds(plain))
        np.copyto(entries, source)
        mine.append(_seconds(ours))
    return Measured("test-and-clear, 10 million entries", min(mine) / min(theirs), 3, "x a NumPy pass")


def tables(rounds: int) -> list[Measured]:
    """What is done with the tables of a guest that has a million pages, at random places of its memory."""
    table = _guest()
    ((layout, root),) = table.tables
    noise = np.random.default_rng(2)
    vas = np.uint64(START) + noise.integers(0, PAGES << 12, ADDRESSES, dtype=np.uint64)
    some = [int(va) for va in vas[:CALLS]]

    def walk() -> None:
        assert walk_many(table.memory, table.tables, vas).mapped.all()

    def mappings() -> None:
        assert sum(run.leaves for run in table.mappings()) == PAGES

    def flags() -> None:
        for va in some:
            set_accessed(table.memory, layout, root, va, write=True)

    return [
        Measured("walk_many, 1 million addresses", _best(rounds, walk), 1, "s"),
        Measured("mappings, 1 million pages", _best(rounds, mappings), 1, "s"),
        Measured("one set_accessed", _best(rounds, flags) / CALLS * 1e6, 5, "us"),
    ]


def _guest() -> PageTable:
    """A million pages whose attributes change now and then, mapped by entries that lead anywhere."""
    size = (PAGES // 512 + 64) * 4096
    free = iter(range(4096, size, 4096))
    table = PageTable(TableMemory(np.zeros(size // 8, dtype=np.uint64)), lambda: next(free), (USER_48,))
    table.map(START, 0x1000, PAGES << 12, _ATTRIBUTES)
    for first in range(0, PAGES, 10_000):
        table.protect(START + (first << 12), 5_000 << 12, _ATTRIBUTES | 1 << 7)
    frames = np.random.default_rng(3).permutation(PAGES).astype(np.uint64) << np.uint64(12)
    at = np.array([index for _, index, _, _ in table.leaves()])
    table.memory.scatter(at, table.memory.words[at] & ~np.uint64(OUTPUT_ADDRESS | AF) | frames)
    return table


def _best(rounds: int, action: Callable[[], None]) -> float:
    return min(_seconds(action) for _ in range(rounds))


def _seconds(action: Callable[[], None]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
