"""Tables with one path in them, for tests that look at one access; registers, and the accesses."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from unikiln.mmu import Access, Request, TableMemory, Translation
from unikiln.mmu.x86 import entry as bits
from unikiln.mmu.x86.fault import Fault
from unikiln.mmu.x86.regime import Regime
from unikiln.mmu.x86.walk import walk

ROOT = 0x1000
PAGE = 0x1_4000_0000
"""Where the leaf leads: aligned as pages of all sizes are."""
USER_RW = bits.P | bits.RW | bits.US

VA = 0x0000_1234_5678_9ABC
HIGH_VA = 0xFFFF_8123_4567_8ABC

PLAIN = Regime(ROOT)
READ = Request(Access.READ)
WRITE = Request(Access.WRITE)
FETCH = Request(Access.EXECUTE)
SUPERVISOR_READ = Request(Access.READ, privileged=True)
SUPERVISOR_WRITE = Request(Access.WRITE, privileged=True)
SUPERVISOR_FETCH = Request(Access.EXECUTE, privileged=True)


def with_cr4(*flags: int, cr0: int = PLAIN.cr0, cr3: int = ROOT, pkru: int = 0, pkrs: int = 0) -> Regime:
    """:data:`PLAIN` with further flags of CR4, and other registers."""
    return Regime(cr3, cr0=cr0, cr4=PLAIN.cr4 | sum(flags), pkru=pkru, pkrs=pkrs)


def place(va: int, level: int, levels: int = 4) -> int:
    """The physical address of the entry of ``level`` on the path of :func:`path`."""
    return ROOT + (levels - level) * 0x1000 + (va >> bits.shift_of(level) & 0x1FF) * 8


def path(
    va: int = VA,
    *,
    leaf: int = 1,
    levels: int = 4,
    flags: Mapping[int, int] | None = None,
    page: int = PAGE,
    common: int = USER_RW,
) -> TableMemory:
    """Memory with tables that lead from :data:`ROOT` to a leaf of level ``leaf`` for ``va``.

    Every entry has ``common`` but where ``flags`` says otherwise, by level; what ``flags`` holds is all of an
    entry beside its address, PS excepted.
    """
    memory = TableMemory(np.zeros(0x10000 // 8, dtype=np.uint64))
    for level in range(levels, leaf - 1, -1):
        large = bits.PS if level == leaf and level > 1 else 0
        address = page if level == leaf else ROOT + (levels - level + 1) * 0x1000
        memory.store(place(va, level, levels) >> 3, address | large | (flags or {}).get(level, common))
    return memory


def translated(
    memory: TableMemory, regime: Regime = PLAIN, va: int = VA, request: Request = READ
) -> Translation:
    """The walk's result, which must be a translation."""
    result = walk(memory, regime, va, request)
    assert isinstance(result, Translation), result
    return result


def fault(memory: TableMemory, regime: Regime = PLAIN, va: int = VA, request: Request = READ) -> Fault:
    """The walk's result, which must be a fault."""
    result = walk(memory, regime, va, request)
    assert isinstance(result, Fault), result
    return result
