"""The embedded engine: Unicorn executes, the MMU model translates, the machine handles exceptions.

Unicorn's TLB asks a hook at every miss (``UC_TLB_VIRTUAL``). The hook walks the guest's translation table
with ``unikiln.mmu``; where the walk ends in a fault, the machine's ``page_fault`` gets the syndrome that the
processor would have reported, and the walk is done again.

Guest memory is mapped twice. Stores to memory that Unicorn knows as executable are ten times slower, since
each looks for translated code to invalidate; so pages are reached through an alias that is not executable,
and only those that the translation table allows to execute through one that is. See docs/running.md.
"""

from __future__ import annotations

import contextlib
import ctypes
import signal
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from unicorn import arm64_const as reg
from unicorn import unicorn_const as uc
from unicorn.unicorn_py3.unicorn import Uc, UcError

from unikiln.engine import native
from unikiln.engine.blocks import BlockHook
from unikiln.engine.deferred import DeferredSignals
from unikiln.engine.exitchecks import ExitChecks
from unikiln.engine.loadstore import effective_address
from unikiln.engine.ticker import Ticker
from unikiln.engine.tlb import Tlb
from unikiln.errors import MachineError
from unikiln.machine import syscalls
from unikiln.machine.events import Errno, GuestExit, GuestSignal, ProgramReplaced
from unikiln.machine.process import Process
from unikiln.mmu.aarch64.descriptor import AP_READ_ONLY, OUTPUT_ADDRESS, UXN
from unikiln.mmu.aarch64.el0 import CHECKS, fault_status
from unikiln.mmu.aarch64.fault import FaultKind
from unikiln.mmu.aarch64.layout import PAGE_MASK, PAGE_SIZE, VA_BITS
from unikiln.mmu.aarch64.syndrome import EC_DATA_ABORT_LOWER, EC_INSTRUCTION_ABORT_LOWER, encode_abort
from unikiln.mmu.leaf import find_leaf
from unikiln.mmu.request import Access

Given = ParamSpec("Given")
Result = TypeVar("Result")

EXECUTABLE_ALIAS = 1 << 40
"""Physical address of the alias through which instructions are fetched."""
INTERRUPT_CHECK = 0.1
"""Seconds between looks at Ctrl-C when nothing else stops the guest."""

_READ, _WRITE, _EXECUTE = uc.UC_PROT_READ, uc.UC_PROT_WRITE, uc.UC_PROT_EXEC
_FPEN = 3 << 20
_SCTLR_EL1 = (1, 0, 3, 0, 0, 1 << 26 | 1 << 15 | 1 << 14)
"""CRn, CRm, op0, op1, op2 and value of SCTLR_EL1: UCI, UCT, DZE, so that EL0 may maintain caches and
zero lines, as Linux sets it."""
_TRANSLATION = FaultKind.TRANSLATION.value
_UNDEFINED, _SVC, _PREFETCH_ABORT, _DATA_ABORT, _BREAKPOINT = 1, 2, 3, 4, 7
_X = [reg.UC_ARM64_REG_X0 + n for n in range(29)] + [reg.UC_ARM64_REG_X29, reg.UC_ARM64_REG_X30]
_SPECIAL = [reg.UC_ARM64_REG_SP, reg.UC_ARM64_REG_PC, reg.UC_ARM64_REG_NZCV]


class EmbeddedEngine:
    """One processor that runs ``process``. It answers the machine as its ``Cpu``.

    ``scan_interval``: seconds of guest time between passes of the access scanner, 0 for none.
    """

    def __init__(self, process: Process, *, scan_interval: float = 0.0) -> None:
        self._process = process
        self._uc = _new_engine(process)
        handle = self._uc._uch.value or 0
        self._handle = ctypes.c_void_p(handle)
        self._tlb = Tlb(handle)
        self._running = False
        self._filling = -1
        self._event: BaseException | None = None
        self._stale_code = False
        self._scans = scan_interval > 0
        self._blocks = BlockHook(handle, self._stop)
        self._signals = DeferredSignals(self._blocks.request_stop)
        self._ticker = Ticker(self._blocks.request_stop, scan_interval or INTERRUPT_CHECK)
        self._read_pc = native.batch_reader(handle, [reg.UC_ARM64_REG_PC])
        self._read_all = native.batch_reader(handle, _X + _SPECIAL)
        self._write = {number: native.writer(handle, number) for number in (*_X, *_SPECIAL)}
        self._keep = self._install_hooks(handle)
        process.attach(self)

    # -- Cpu

    def program_counter(self) -> int:
        """The program counter."""
        return self._read_pc()[0]

    def registers(self) -> dict[str, int]:
        """``x0`` to ``x30``, ``sp``, ``pc`` and ``nzcv``."""
        names = [f"x{n}" for n in range(31)] + ["sp", "pc", "nzcv"]
        return dict(zip(names, self._read_all(), strict=True))

    def fault_address(self, page: int, write: bool) -> int:
        """What the load or store at the program counter accesses in ``page``; the page if it is neither."""
        registers = self.registers()
        with contextlib.suppress(Errno):
            word = int.from_bytes(self._process.user.read(registers["pc"], 4), "little")
            address = effective_address(word, registers)
            if address is not None and address & ~PAGE_MASK == page:
                return address
        return page

    def start(self, pc: int, sp: int) -> None:
        """A new program: registers zero, nothing cached of the old one."""
        for write in self._write.values():
            write(0)
        self._uc.reg_write(reg.UC_ARM64_REG_TPIDR_EL0, 0)
        self._write[reg.UC_ARM64_REG_SP](sp)
        self._write[reg.UC_ARM64_REG_PC](pc)
        self.invalidate_tlb()
        self.forget_code()

    def invalidate_tlb(self) -> None:
        """Drop every cached translation."""
        if self._running:
            self._tlb.invalidate()
        else:
            self._tlb.invalidate_between_blocks()

    def invalidate_page(self, va: int) -> None:
        """Drop the translation of one page: of the one that is being filled, the fill itself does."""
        if va & ~PAGE_MASK != self._filling:
            self.invalidate_tlb()

    def synchronize(self) -> None:
        """Nothing is pending: the fill hook reads the entries themselves."""

    def forget_code(self) -> None:
        """Drop translated code before the next instruction; it cannot be dropped while it runs."""
        self._stale_code = True
        self._stop()

    # -- running

    @property
    def instructions(self) -> int:
        """How many instructions were run (see :class:`~unikiln.engine.blocks.BlockHook`)."""
        return self._blocks.instructions

    def _stop(self) -> None:
        """Leave the guest; only from hooks that run between instructions, or fail theirs."""
        native.library().uc_emu_stop(self._handle)

    def run(self) -> int:
        """Run the process to its end; its exit status.

        :raises GuestSignal: it died of one
        :raises GuestMemoryError: it needs more memory than there is
        """
        with self._signals, self._ticker:
            while True:
                self._signals.deliver()
                try:
                    self._run_until_stopped()
                except GuestExit as leaving:
                    return leaving.status
                except ProgramReplaced:
                    continue
                if self._ticker.take() and self._scans:
                    self._process.tick()

    def _run_until_stopped(self) -> None:
        if self._stale_code:
            self._stale_code = False
            self._uc.ctl_flush_tb()
        if self._process.checker:
            self._process.checker.resume()
        start = native.blocking_library().uc_emu_start
        self._running = True
        error = start(self._handle, ctypes.c_uint64(self.program_counter()), ctypes.c_uint64(0),
                      ctypes.c_uint64(0), ctypes.c_size_t(0))  # fmt: skip
        self._running = False
        if self._event is not None:
            event, self._event = self._event, None
            raise event
        if error and not self._stale_code:
            raise MachineError(f"the engine stopped at {self.program_counter():#x}: {UcError(error)}")

    # -- hooks

    def _install_hooks(self, handle: int) -> list[object]:
        checked = self._checked
        callbacks = [
            (uc.UC_HOOK_TLB_FILL, native.FillCallback(checked(self._fill_hook()))),
            (uc.UC_HOOK_INTR, native.InterruptCallback(checked(self._interrupt_hook(handle)))),
            (uc.UC_HOOK_INSN_INVALID, native.InvalidCallback(self._invalid_instruction)),
        ]
        for kind, callback in callbacks:
            native.add_hook(handle, kind, callback)
        return [callback for _, callback in callbacks]

    def _checked(self, hook: Callable[Given, Result]) -> Callable[Given, Result]:
        """``hook``, after which the guest goes on: the moment at which the checker looks, if there is one."""
        checker = self._process.checker
        if checker is None:
            return hook

        def checked(*given: Given.args, **named: Given.kwargs) -> Result:
            result = hook(*given, **named)
            checker.resume()
            return result

        return checked

    def _leave(self, event: BaseException) -> None:
        """Keep what ends the run: an exception cannot pass through Unicorn's frames."""
        self._event = event
        self._stop()

    def _fill_hook(self) -> Callable[[int, int, int, int, int], bool]:
        """The TLB fill hook, with everything it needs at hand: it runs at every miss."""
        process, tables = self._process, self._process.memory.tables
        (layout, root), _ = process.space.table.tables
        size_of = layout.size
        entries: dict[int, native.TlbEntry] = {}
        deliver, tlb = process.deliver_abort, self._tlb

        def fill(_uc: int, va: int, kind: int, entry_at: int, _data: int) -> bool:
            try:
                access = kind - uc.UC_MEM_READ
                if tlb.filling:
                    return _fill_unused(entry_at)
                if va >> VA_BITS:  # TTBR1's half is the kernel's, and there is none
                    deliver(_SYNDROMES[access][_TRANSLATION], va)
                    return False
                mask, wanted = CHECKS[access]
                index, level, entry = find_leaf(tables, layout, root, va)
                while entry & mask != wanted:
                    self._filling = va & ~PAGE_MASK
                    deliver(_SYNDROMES[access][fault_status(entry, index, level)], va)
                    index, level, entry = find_leaf(tables, layout, root, va)
                    self._filling = -1
                    if self._stale_code:
                        return False
                pa = entry & OUTPUT_ADDRESS
                if level < 3:
                    pa += va & size_of(level) - PAGE_SIZE
                result = entries.get(entry_at)
                if result is None:
                    result = entries[entry_at] = native.TlbEntry.from_address(entry_at)
                if entry & UXN:
                    result.paddr = pa
                    result.perms = _READ if entry & AP_READ_ONLY else _READ | _WRITE
                else:
                    result.paddr = pa | EXECUTABLE_ALIAS
                    result.perms = _READ | _EXECUTE | (0 if entry & AP_READ_ONLY else _WRITE)
            except BaseException as event:
                self._leave(event)
                return False
            return True

        return fill

    def _interrupt_hook(self, handle: int) -> Callable[[int, int, int], None]:
        """The interrupt hook: ``svc`` is a system call, anything else a signal."""
        process, call, signals = self._process, syscalls.call, self._signals
        read = native.batch_reader(handle, [reg.UC_ARM64_REG_X8, *_X[:6]])
        write_result = self._write[_X[0]]

        def interrupt(_uc: int, number: int, _data: int) -> None:
            try:
                if number != _SVC:
                    raise _signal_of(number)
                what, *arguments = read()
                signals.at_once = True  # it may wait, for a key or for a time
                result = call(process, what, arguments)
                signals.at_once = False
                write_result(result)
            except BaseException as event:
                signals.at_once = False
                self._leave(event)

        return interrupt

    def _invalid_instruction(self, _uc: int, _data: int) -> bool:
        self._leave(GuestSignal(signal.SIGILL, "undefined instruction", self.program_counter()))
        return False


def _fill_unused(entry_at: int) -> bool:
    """A translation for an address that nobody accesses (see :mod:`unikiln.engine.tlb`)."""
    entry = native.TlbEntry.from_address(entry_at)
    entry.paddr, entry.perms = 0, _READ
    return True


def _new_engine(process: Process) -> Uc:
    engine = Uc(uc.UC_ARCH_ARM64, uc.UC_MODE_ARM)
    engine.ctl_set_cpu_model(reg.UC_CPU_ARM64_MAX)
    engine.ctl_set_page_size(PAGE_SIZE)
    checks = ExitChecks(engine._uch.value or 0)
    engine.ctl_exits_enabled(True)
    memory = process.memory
    engine.mem_map_ptr(0, memory.size, _READ | _WRITE, memory.host_address)
    engine.mem_map_ptr(EXECUTABLE_ALIAS, memory.size, uc.UC_PROT_ALL, memory.host_address)
    engine.ctl_set_tlb_mode(uc.UC_TLB_VIRTUAL)
    engine.reg_write(reg.UC_ARM64_REG_CPACR_EL1, _FPEN)
    engine.reg_write(reg.UC_ARM64_REG_CP_REG, _SCTLR_EL1)
    engine.reg_write(reg.UC_ARM64_REG_PSTATE, 0)
    checks.leave_out()
    return engine


def _syndromes(access: Access) -> list[int]:
    ec = EC_INSTRUCTION_ABORT_LOWER if access is Access.EXECUTE else EC_DATA_ABORT_LOWER
    return [encode_abort(ec, status, wnr=access is Access.WRITE) for status in range(64)]


_SYNDROMES = [_syndromes(access) for access in Access]
"""ESR_EL1 by access and status code."""


def _signal_of(number: int) -> GuestSignal:
    if number == _BREAKPOINT:
        return GuestSignal(signal.SIGTRAP, "breakpoint instruction")
    if number in (_PREFETCH_ABORT, _DATA_ABORT):
        return GuestSignal(signal.SIGBUS, "misaligned program counter or stack pointer")
    return GuestSignal(signal.SIGILL, "undefined instruction")
