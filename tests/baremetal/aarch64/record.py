"""One case and one result, and how judge.c lays them out in RAM."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from unikiln.mmu.aarch64.regime import Regime

MAX_ENTRIES = 6

CASE = struct.Struct(f"<13Q{2 * MAX_ENTRIES}Q")
RESULT = struct.Struct(f"<11Q{MAX_ENTRIES}Q")
HEADER = struct.Struct("<13Q")

EL0, EL1 = 0b0000, 0b0101
MASKED = 0b1111 << 6
PAN = 1 << 22
"""SPSR_EL2: EL0, or EL1 with its own stack pointer; all interrupts masked; PSTATE.PAN."""

HVC = 0x5A00_0000
"""ESR_EL2 of an HVC, but for its immediate."""

Entries = tuple[tuple[int, int], ...]
"""(physical address, value) of translation table entries; the value as the walk understands it."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is put to the processor: a regime, tables, and one operation at ``va``.

    ``operation``: the name of a stub in start.S; ``privileged``: at EL1, else at EL0; ``x1``, ``x2``: its
    operands; ``probe``: the physical address that it is meant to reach, 0 if none; ``story``: how it
    came about.
    """

    regime: Regime
    operation: str
    privileged: bool
    va: int
    entries: Entries = ()
    pan: bool = False
    x1: int = 0
    x2: int = 0
    probe: int = 0
    story: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """What the processor did with a case; ``entries`` in the order of the case's.

    ``vector``: the number of the EL1 vector taken; ``changed``: how many 32-bit words around the
    probe changed; ``at_probe``: the 16 bytes there, as two words.
    """

    vector: int
    esr: int
    far: int
    elr: int
    par: int
    x1: int
    x2: int
    changed: int
    at_probe: tuple[int, int]
    entries: tuple[int, ...]


def swapped(value: int, big_endian: bool) -> int:
    """An entry as the little-endian word that stands in memory, or such a word as an entry."""
    return int.from_bytes(value.to_bytes(8, "little"), "big") if big_endian else value


def encode(case: Case, *, vbar: int, pc: int) -> bytes:
    """The record of ``case``: its vectors are at ``vbar``, its stub at ``pc``."""
    regime = case.regime
    state = (EL1 if case.privileged else EL0) | MASKED | (PAN if case.pan else 0)
    entries = [word for pa, value in case.entries for word in (pa, swapped(value, regime.big_endian))]
    unused = [0] * (2 * MAX_ENTRIES - len(entries))
    registers = (regime.sctlr, regime.tcr, regime.mair, regime.ttbr0, regime.ttbr1, vbar, state, pc)
    operands = (case.va, case.x1, case.x2, case.probe, len(case.entries))
    return CASE.pack(*registers, *operands, *entries, *unused)


def decode(case: Case, record: bytes) -> Result:
    """The result of ``case``."""
    esr_el2, esr, far, elr, par, _, x1, x2, changed, low, high, *entries = RESULT.unpack(record)
    assert esr_el2 & ~0xFFFF == HVC, f"EL2 was entered other than by HVC: ESR_EL2 {esr_el2:#x}"
    found = tuple(swapped(value, case.regime.big_endian) for value in entries[: len(case.entries)])
    return Result(esr_el2 & 0xFFFF, esr, far, elr, par, x1, x2, changed, (low, high), found)
