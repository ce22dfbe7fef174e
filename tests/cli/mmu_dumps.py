"""Raw dumps of tables that the library itself made, for the verbs that look into them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from unikiln.mmu.aarch64 import descriptor as bits
from unikiln.mmu.aarch64.layout import KERNEL_48, USER_48
from unikiln.mmu.aarch64.registers import encode_tcr
from unikiln.mmu.memory import TableMemory
from unikiln.mmu.table import PageTable

BASE, SIZE = 0x10_0000, 0x10_0000
MAIR = 0xFF_0000_0000
"""Index 4, which user pages have, is Normal; all others are Device-nGnRnE."""

TEXT, DATA, STACK, KERNEL = 0x40_0000, 0x60_0000, 0x7FFF_F000, 0xFFFF_0000_0020_0000
FRAME = 0x8_0000_0000
"""The pages are at addresses that the dump does not have: only tables have to be there."""

_KERNEL = (
    bits.AF | bits.UXN | bits.INNER_SHAREABLE << bits.SH_SHIFT | bits.ATTR_NORMAL << bits.ATTR_INDX_SHIFT
)


class Dump:
    """A dump in ``folder``, and the options that name it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "memory.raw"
        memory = TableMemory(np.zeros((BASE + SIZE) // 8, dtype=np.uint64))
        frames = iter(range(BASE, BASE + SIZE, 4096))
        self.table = PageTable(memory, lambda: next(frames), (USER_48, KERNEL_48))
        _fill(self.table)
        self.write()

    def write(self, size: int | None = None) -> None:
        """Write the memory, or its first bytes."""
        content = self.table.memory.words.tobytes()
        self.path.write_bytes(content[BASE : None if size is None else BASE + size])

    @property
    def options(self) -> list[str]:
        """What names it to a verb."""
        roots = [f"--ttbr{number}={self.table.half(va)[1]:#x}" for number, va in enumerate((TEXT, KERNEL))]
        tcr = encode_tcr(t0sz=16, t1sz=16)
        return [f"--memory={self.path}", f"--base={BASE:#x}", *roots, f"--tcr={tcr:#x}", f"--mair={MAIR:#x}"]


def _fill(table: PageTable) -> None:
    def page(va: int, frame: int, **flags: bool) -> None:
        table.map_page(va, bits.user_page(FRAME + frame * 4096, **flags))

    for number in range(8):
        page(TEXT + number * 4096, number, writable=False, executable=True, dirty=False)
    for number in range(16):
        page(DATA + number * 4096, 100 - number, writable=True, executable=False, dirty=number < 4)
    page(STACK, 3, writable=True, executable=True, dirty=True)
    table.map(KERNEL, FRAME, 2 << 20, _KERNEL)
