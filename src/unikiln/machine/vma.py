"""Virtual memory areas: which addresses the program may use, and what fills them."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass, replace

from unikiln.machine.vfs.node import Node
from unikiln.mmu.request import Access

PROT_READ, PROT_WRITE, PROT_EXEC = 1, 2, 4

_PROT_OF = {Access.READ: PROT_READ, Access.WRITE: PROT_WRITE, Access.EXECUTE: PROT_EXEC}


@dataclass(slots=True)
class Vma:
    """``start`` to ``end`` with one protection, over nothing (``node`` is None) or a file from ``offset``."""

    start: int
    end: int
    prot: int
    shared: bool = False
    node: Node | None = None
    offset: int = 0
    name: str = ""

    def allows(self, access: Access) -> bool:
        """Whether the protection permits ``access``; write and execute imply read, as on AArch64 Linux."""
        if access is Access.READ:
            return bool(self.prot)
        return bool(self.prot & _PROT_OF[access])

    @property
    def writable(self) -> bool:
        """Whether stores are allowed."""
        return bool(self.prot & PROT_WRITE)

    @property
    def executable(self) -> bool:
        """Whether instructions may be fetched."""
        return bool(self.prot & PROT_EXEC)

    def part(self, start: int, end: int) -> Vma:
        """The same area, cut down to ``start``..``end``."""
        return replace(self, start=start, end=end, offset=self.offset + start - self.start)

    def __str__(self) -> str:
        letters = "".join(
            letter if self.prot & bit else "-"
            for letter, bit in (("r", PROT_READ), ("w", PROT_WRITE), ("x", PROT_EXEC))
        )
        kind = "s" if self.shared else "p"
        place = f" {self.name} offset {self.offset:#x}" if self.node else f" {self.name}" if self.name else ""
        return f"{self.start:#x}-{self.end:#x} {letters}{kind}{place}"


class VmaMap:
    """Areas that do not overlap, in order of address."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._areas: dict[int, Vma] = {}

    def __iter__(self) -> Iterator[Vma]:
        return (self._areas[start] for start in list(self._starts))

    def find(self, va: int) -> Vma | None:
        """The area that ``va`` lies in."""
        at = bisect_right(self._starts, va)
        if not at:
            return None
        area = self._areas[self._starts[at - 1]]
        return area if va < area.end else None

    def overlapping(self, start: int, end: int) -> list[Vma]:
        """Areas with a byte in ``start``..``end``."""
        at = max(bisect_right(self._starts, start) - 1, 0)
        upto = bisect_right(self._starts, end - 1)
        return [area for key in self._starts[at:upto] if (area := self._areas[key]).end > start]

    def insert(self, area: Vma) -> None:
        """Add an area where there is none."""
        insort(self._starts, area.start)
        self._areas[area.start] = area

    def remove(self, start: int, end: int) -> list[Vma]:
        """Cut ``start``..``end`` out; the parts that were there, each inside the range."""
        gone = []
        for area in self.overlapping(start, end):
            self._drop(area)
            if area.start < start:
                self.insert(area.part(area.start, start))
            if area.end > end:
                self.insert(area.part(end, area.end))
            gone.append(area.part(max(area.start, start), min(area.end, end)))
        return gone

    def gap_below(self, top: int, length: int, bottom: int) -> int | None:
        """The highest start of ``length`` free bytes that end at or below ``top``."""
        for key in reversed(self._starts):
            area = self._areas[key]
            if area.start >= top:
                continue
            if area.end <= top - length:
                break
            top = min(top, area.start)
        return top - length if top - length >= bottom else None

    def _drop(self, area: Vma) -> None:
        del self._starts[bisect_right(self._starts, area.start) - 1]
        del self._areas[area.start]
