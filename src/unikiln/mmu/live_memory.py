"""The physical memory of a guest that is stopped under QEMU, read through its gdbstub.

It is read in chunks, many in flight: 40 microseconds a table, where ``pmemsave`` to a file takes 400 and the
monitor's ``xp`` 900. Only RAM is read: reading a device may change it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from unikiln.base.gdbremote import GdbRemote, Piece
from unikiln.errors import MmuError
from unikiln.mmu.bulk import is_table

if TYPE_CHECKING:
    from unikiln.mmu.layout import Tables
    from unikiln.mmu.memory import Mask, Words

_LARGEST_CHUNK = 1 << 11
_READABLE = re.compile(r"^ *([0-9a-f]{16})-([0-9a-f]{16}) \(prio -?\d+, (?:ram|rom|romd)\):", re.MULTILINE)


class Range(NamedTuple):
    """Physical addresses, both inclusive."""

    first: int
    last: int


class LiveMemory:
    """The RAM of a stopped guest; what was read of it stays when the guest runs again."""

    def __init__(self, stub: GdbRemote, ram: list[Range]) -> None:
        self._stub = stub
        self._ram = sorted(ram)
        self._chunk = min(_LARGEST_CHUNK, 1 << stub.largest_read.bit_length() - 1)
        self._shift = self._chunk.bit_length() - 1
        self.open()

    def open(self) -> None:
        """Read, and everything anew: the guest is stopped, and ran in between."""
        self._is_open = True
        self._row: dict[int, int] = {}
        self._words = np.zeros((0, self._chunk // 8), dtype=np.uint64)

    def close(self) -> None:
        """Read no more: the guest runs again, and a question to the stub would stop it."""
        self._is_open = False

    def fetch(self, tables: Tables) -> None:
        """Read all translation tables, a level at a time."""
        for layout, root in tables:
            at = np.array([root], dtype=np.uint64)
            for step in layout.steps:
                offsets = np.arange(step.mask + 1, dtype=np.uint64) << np.uint64(3)
                entries, _ = self.gather((at[:, None] + offsets).ravel())
                at = np.sort(layout.output_addresses(entries[is_table(entries, step)]))
                if not len(at):
                    break
                at = at[np.diff(at, prepend=~at[:1]) != 0]

    def load(self, pa: int) -> int:
        """The word at ``pa``.

        :raises MmuError: the guest has no RAM there
        """
        values, present = self.gather(np.array([pa], dtype=np.uint64))
        if not present[0]:
            raise MmuError(f"{self._stub.name}: the guest has no RAM at {pa:#x}")
        return int(values[0])

    def gather(self, addresses: Words) -> tuple[Words, Mask]:
        """The words at many addresses: their values (0 where there is no RAM), and where there is."""
        chunks = addresses >> np.uint64(self._shift)
        begins = np.flatnonzero(np.diff(chunks, prepend=~chunks[:1]))
        rows = self._rows(chunks[begins].tolist())
        row = np.repeat(rows, np.diff(np.append(begins, len(chunks))))
        present: Mask = row >= 0
        values = np.zeros(len(addresses), dtype=np.uint64)
        column = (addresses[present] & np.uint64(self._chunk - 1)) >> np.uint64(3)
        values[present] = self._words[row[present], column]
        return values, present

    def _rows(self, chunks: list[int]) -> list[int]:
        """Where each chunk stands in ``_words``, read if it is new; -1 for one that is no RAM."""
        new = sorted({chunk for chunk in chunks if chunk not in self._row})
        if not new:
            return [self._row[chunk] for chunk in chunks]
        if not self._is_open:
            raise MmuError(f"{new[0] << self._shift:#x} was not read while the guest was stopped")
        ram = [chunk for chunk in new if self._is_ram(chunk << self._shift)]
        read = self._stub.read_many([Piece(chunk << self._shift, self._chunk) for chunk in ram])
        self._row.update(dict.fromkeys(new, -1))
        self._row.update((chunk, row) for row, chunk in enumerate(ram, len(self._words)))
        content = np.frombuffer(b"".join(read), dtype="<u8")
        self._words = np.concatenate((self._words, content.reshape(-1, self._chunk // 8)))
        return [self._row[chunk] for chunk in chunks]

    def _is_ram(self, address: int) -> bool:
        at = bisect_right(self._ram, (address, 1 << 64)) - 1
        return at >= 0 and address + self._chunk - 1 <= self._ram[at].last


def ram_of(tree: str) -> list[Range]:
    """What is RAM or ROM in the address space "memory", by what QEMU's ``info mtree -f`` prints."""
    views = re.split(r"^FlatView #\d+$", tree, flags=re.MULTILINE)
    view = next(
        (view for view in views if re.search(r'^ AS "memory", root: system$', view, re.MULTILINE)), ""
    )
    return [Range(int(first, 16), int(last, 16)) for first, last in _READABLE.findall(view)]
