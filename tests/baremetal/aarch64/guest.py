"""The judge as a guest: where it keeps what, the window of data, and how a batch of cases gets in and out."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.baremetal import runner
from tests.baremetal.aarch64.record import CASE, HEADER, RESULT, Case, Result, decode, encode, swapped
from unikiln.mmu.aarch64 import descriptor as bits
from unikiln.mmu.aarch64.config import Config
from unikiln.mmu.aarch64.layout import KERNEL_48

RAM_BASE = 1 << 30
RAM_BYTES = 128 << 20
RAM_END = RAM_BASE + RAM_BYTES
"""Above it this machine has nothing at all: ``highmem=off``."""

ARENA_BYTES = 16 << 20
WINDOW_BYTES = 256 << 10
"""As much as the immediate of an SVC can tell apart."""

_SVC = 0xD400_0001
_COMPILE = ("-mgeneral-regs-only", "-mstrict-align")


def svc_immediate(pa: int) -> int:
    """The immediate of the SVC at ``pa``, which is in the window."""
    return pa >> 2 & 0xFFFF


def content(pa: int, size: int) -> bytes:
    """What the window holds at ``pa`` when nothing was stored."""
    first = pa & ~3
    words = ((_SVC | svc_immediate(at) << 5).to_bytes(4, "little") for at in range(first, pa + size, 4))
    return b"".join(words)[pa - first :][:size]


class IdRegisters(NamedTuple):
    """What the processor says of itself."""

    mmfr0: int
    mmfr1: int
    mmfr2: int
    mmfr3: int
    isar0: int
    isar1: int
    ctr: int
    dczid: int

    @property
    def config(self) -> Config:
        """Its MMU."""
        return Config.from_id_registers(self.mmfr0, self.mmfr1, self.mmfr2)

    @property
    def has_atomics(self) -> bool:
        """FEAT_LSE."""
        return bool(self.isar0 >> 20 & 15)

    @property
    def has_persistence(self) -> bool:
        """FEAT_DPB."""
        return bool(self.isar1 & 15)

    @property
    def has_lse2(self) -> bool:
        """FEAT_LSE2: only what crosses 16 bytes has to be aligned to be atomic."""
        return bool(self.mmfr2 >> 32 & 15)

    @property
    def line_bytes(self) -> int:
        """The smallest line of the data caches."""
        return 4 << (self.ctr >> 16 & 15)

    @property
    def zeroed_bytes(self) -> int:
        """What DC ZVA zeroes."""
        return 4 << (self.dczid & 15)


@dataclass(frozen=True, slots=True)
class Guest:
    """A program for one processor; its folder holds the program and the RAM."""

    program: Path
    symbols: dict[str, int]
    cpu: str
    processors: int = 2

    @classmethod
    def build(cls, folder: Path, cpu: str) -> Guest:
        """Compile and link the judge in ``folder``, to run on QEMU's ``cpu``."""
        source = Path(__file__).parent
        program = runner.build("aarch64-linux-gnu-gcc", source, folder / "judge.elf", *_COMPILE)
        return cls(program, runner.symbols(program), cpu)

    @property
    def machine(self) -> runner.Machine:
        """A virt machine that enters the program at EL2.

        Processors beside the first stay off. For one alone, QEMU does less: it forgets the alignment that
        Device memory demands, and makes an atomic a load and a store.
        """
        machine = ("-M", "virt,virtualization=on,highmem=off")
        arguments = (*machine, "-cpu", self.cpu, "-smp", str(self.processors))
        return runner.Machine("qemu-system-aarch64", arguments, RAM_BYTES)

    def fixed_root(self, big_endian: bool) -> int:
        """The root table of the half that is not tested: it maps the page of stubs and vectors, no more."""
        return self.symbols["fixed_tables"] + (_FIXED_BYTES if big_endian else 0)

    def shared_va(self, symbol: str, case: Case) -> int:
        """Where EL1 and EL0 find ``symbol``: in the half that ``case`` does not test."""
        pa = self.symbols[symbol]
        tests_lower = not case.va >> 55 & 1
        return pa | KERNEL_48.first_va if case.regime.enabled and tests_lower else pa

    def stub(self, case: Case) -> int:
        """The address of the case's stub."""
        return self.shared_va(f"stub_{case.operation}", case)

    def run(self, cases: Sequence[Case], *, timeout: float = 60) -> tuple[IdRegisters, list[Result]]:
        """What the processor is, and its result for every case. ``timeout`` is in seconds."""
        ram = self.program.with_name("ram")
        with runner.shared_ram(ram, RAM_BYTES) as memory:
            self._lay_out(memory, cases)
            try:
                runner.run(self.machine, self.program, ram, timeout=timeout)
            finally:
                done, *ids, esr, elr, far = HEADER.unpack_from(memory, self._at("header"))[1:]
            assert not esr, f"EL2 took an exception: ESR_EL2 {esr:#x}, ELR_EL2 {elr:#x}, FAR_EL2 {far:#x}"
            assert done == len(cases), f"the guest stopped at {cases[done]}"
            return IdRegisters(*ids), [self._result(memory, at, case) for at, case in enumerate(cases)]

    def _at(self, symbol: str) -> int:
        return self.symbols[symbol] - RAM_BASE

    def _lay_out(self, memory: mmap.mmap, cases: Sequence[Case]) -> None:
        HEADER.pack_into(memory, self._at("header"), len(cases), *[0] * 12)
        window = self._at("window")
        memory[window : window + WINDOW_BYTES] = content(self.symbols["window"], WINDOW_BYTES)
        for big_endian in (False, True):
            self._map_shared(memory, big_endian)
        for at, case in enumerate(cases):
            vbar, pc = self.shared_va("el1_vectors", case), self.stub(case)
            offset = self._at("cases") + at * CASE.size
            memory[offset : offset + CASE.size] = encode(case, vbar=vbar, pc=pc)

    def _map_shared(self, memory: mmap.mmap, big_endian: bool) -> None:
        page = self.symbols["shared_page"]
        table = self.fixed_root(big_endian)
        for step in KERNEL_48.steps:
            last = step.level == KERNEL_48.last_level
            value = page | _SHARED_PAGE if last else table + KERNEL_48.page_size | bits.LEAF
            at = table + (page >> step.shift & step.mask) * 8 - RAM_BASE
            memory[at : at + 8] = swapped(value, big_endian).to_bytes(8, "little")
            table += KERNEL_48.page_size

    def _result(self, memory: mmap.mmap, at: int, case: Case) -> Result:
        offset = self._at("results") + at * RESULT.size
        return decode(case, memory[offset : offset + RESULT.size])


_FIXED_BYTES = 4 * KERNEL_48.page_size
_SHARED_PAGE = bits.LEAF | bits.AF | bits.AP_EL0 | bits.AP_READ_ONLY
"""Executable and read-only for all; non-shareable, so that TCR_EL1.DS makes no difference."""
