"""The judge as a guest: its records, where memory is what, and how a batch of cases gets in and out."""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tests.baremetal import runner
from unikiln.mmu.memory import TableMemory, Words
from unikiln.mmu.x86 import entry as bits
from unikiln.mmu.x86.config import Config

COMPILER = "x86_64-linux-gnu-gcc"
QEMU = "qemu-system-x86_64"
FOLDER = Path(__file__).parent
FLAGS = ("-m64", "-mno-red-zone", "-mgeneral-regs-only", "-fno-stack-protector", "-fcf-protection=none")

EXIT_STATUS = 3
TIMEOUT = 120.0
LEVELS = 5
BREAKPOINT = 3
"""An access that succeeds ends in ``int3``."""
_MIX = 2654435761
"""Spreads numbers that follow each other; prime, and near 2**32 divided by the golden ratio."""
CR2_BEFORE = 0x0123_4567_89AB_CDEF
USER_MODE = 0x100

RAM_BYTES = 64 << 20
TABLES = 16 << 20
"""Where the table frames of the cases begin."""
DATA = 18 << 20
"""The first of :data:`DATA_BYTES` that accesses may reach, aligned as a page of that size."""
DATA_BYTES = 2 << 20
ARENA = slice(TABLES // 8, (DATA + DATA_BYTES) // 8)
"""The words of memory that are the cases' own; above it, the firmware keeps things."""


class Kind(IntEnum):
    """An access; the order is that of start.S."""

    LOAD = 0
    STORE = 1
    FETCH = 2
    EXCHANGE = 3
    ADD = 4
    COMPARE = 5
    SEGMENT = 6


class Outcome(NamedTuple):
    """What the judge sees of an access; ``value`` is None where it reads what is no RAM."""

    vector: int
    error: int
    cr2: int
    value: int | None
    after: tuple[int, ...]


HEADER = np.dtype([("count", "u8"), ("la57", "u8"), ("panic", "u8", 2), ("cpuid", "u8", 6)])
REGISTERS = ("va", "access", "cr0", "cr3", "cr4", "efer", "rflags", "operand", "pkru", "pkrs")
RESULTS = ("vector", "error", "cr2", "value")
CASE = np.dtype(
    [(name, "u8") for name in REGISTERS]
    + [("where", "u8", LEVELS), ("entry", "u8", LEVELS)]
    + [(name, "u8") for name in RESULTS]
    + [("after", "u8", LEVELS), ("unused", "u8", 3)]
)


Cases = npt.NDArray[np.void]


class Judged(NamedTuple):
    """What a run left: the processor it saw, the cases with their results, and the words of :data:`ARENA`."""

    config: Config
    cases: Cases
    arena: Words


def build(folder: Path) -> Path:
    """Compile the judge into ``folder``."""
    return runner.build(COMPILER, FOLDER, folder / "judge.elf", *FLAGS)


def word(number: int) -> int:
    """A word that is data, code and a segment descriptor at once, with a number of 32 bits.

    As code: ``mov $number, %eax; rep int3``. As a descriptor: a data segment for ring 3 whose limit has the
    number's low byte. Whatever :func:`fetched` and :func:`segment_limit` say of it, the processor does.
    """
    return 0xB8 | number << 8 | 0xCC_F3 << 40


def fetched(value: int) -> int:
    """What executing a :func:`word` leaves in %eax."""
    return value >> 8 & 0xFFFF_FFFF


def segment_limit(value: int) -> int:
    """What ``lsl`` gives for a :func:`word`, whose limit counts pages."""
    limit = (value >> 48 & 0xF) << 16 | value & 0xFFFF
    return limit << 12 & 0xFFFF_FFFF | 0xFFF


def initial_memory(program: Path, roots: list[int], *, la57: bool) -> TableMemory:
    """The guest's memory before the first case: the data, and root tables that reach the judge itself."""
    memory = TableMemory(np.zeros(RAM_BYTES // 8, dtype=np.uint64))
    numbers = (np.arange(DATA_BYTES // 8, dtype=np.uint64) * np.uint64(_MIX)) & np.uint64(0xFFFF_FFFF)
    memory.words[DATA // 8 : (DATA + DATA_BYTES) // 8] = np.uint64(word(0)) | numbers << np.uint64(8)
    below = runner.symbols(program)["pml4" if la57 else "pdpt"]
    for root in roots:
        memory.store(root >> 3, below | bits.P | bits.RW | bits.US | bits.A)
    return memory


def run(program: Path, folder: Path, cpu: str, cases: Cases, arena: Words, *, la57: bool) -> Judged:
    """Put ``cases`` to QEMU's ``cpu``; ``arena`` is what memory holds before the first.

    Two processors, though one stands still: for one alone, QEMU makes a load and a store of what is locked.
    """
    arguments = ("-machine", "microvm", "-accel", "tcg,thread=multi", "-smp", "2", "-cpu", cpu)
    machine = runner.Machine(QEMU, (*arguments, "-device", "isa-debug-exit,iobase=0xf4,iosize=4"), RAM_BYTES)
    with runner.shared_ram(folder / "ram", RAM_BYTES) as ram:
        guest = _Guest(memoryview(ram), program)
        try:
            guest.fill(cases, arena, la57=la57)
            runner.run(machine, program, folder / "ram", timeout=TIMEOUT, success=(EXIT_STATUS,))
            return guest.judged()
        except AssertionError as error:
            raise AssertionError(f"{error}\n{guest.panic()}") from None
        finally:
            guest.release()


class _Guest:
    """The guest's memory, seen as the records in it."""

    def __init__(self, ram: memoryview, program: Path) -> None:
        at = runner.symbols(program)
        self._ram = ram
        self._words = np.frombuffer(ram, dtype=np.uint64)
        self._header = np.frombuffer(ram, dtype=HEADER, count=1, offset=at["header"])
        self._cases = np.frombuffer(
            ram, dtype=CASE, count=(TABLES - at["cases"]) // CASE.itemsize, offset=at["cases"]
        )

    def fill(self, cases: Cases, arena: Words, *, la57: bool) -> None:
        """Leave the cases for the judge."""
        self._words[ARENA] = arena
        self._header["count"], self._header["la57"] = len(cases), la57
        self._cases[: len(cases)] = cases

    def judged(self) -> Judged:
        """What the judge left."""
        count = int(self._header["count"][0])
        config = Config.from_cpuid(*self._header["cpuid"][0].tolist())
        return Judged(config, self._cases[:count].copy(), self._words[ARENA].copy())

    def panic(self) -> str:
        """The exception that the judge itself took, if it did."""
        vector, rip = self._header["panic"][0].tolist()
        return f"the judge took vector {vector} at {rip:#x}"

    def release(self) -> None:
        """Let go of the memory, which can be unmapped only then."""
        del self._words, self._header, self._cases
        self._ram.release()
