"""``page_fault``: what the kernel does with an abort, in the order of OSv's arch/aarch64/mmu.cc.

FAR, a jump through a null pointer, the access flag, then demand paging. There is no fix-up table to look
at first: a system call that touches bad memory gets the exception itself (see ``usermemory``).
"""

from __future__ import annotations

import errno
from signal import Signals

from unikiln.base.trace import tracepoint
from unikiln.errors import MmuError
from unikiln.machine.addrspace import AddressSpace
from unikiln.machine.counters import Counters
from unikiln.machine.events import Errno, GuestSignal
from unikiln.machine.vma import Vma
from unikiln.mmu.aarch64.fault import FaultKind
from unikiln.mmu.aarch64.syndrome import (
    EC_DATA_ABORT_SAME,
    EC_INSTRUCTION_ABORT_LOWER,
    EC_SHIFT,
    KIND_MASK,
    is_write,
)
from unikiln.mmu.access import set_accessed
from unikiln.mmu.request import Access

trace_access_flag_fault = tracepoint("mmu_vm_access_flag_fault", "addr=%#x")
trace_vm_fault = tracepoint("mmu_vm_fault", "addr=%#x, error_code=%#x")

TRANSLATION = FaultKind.TRANSLATION.value
ACCESS_FLAG = FaultKind.ACCESS_FLAG.value
PERMISSION = FaultKind.PERMISSION.value


class ExceptionFrame:
    """An abort as the processor reports it: ESR_EL1, and FAR_EL1 and ELR_EL1 on request.

    An engine may know only the page of the faulting address at first; :attr:`far` is worked out from
    the instruction when somebody reads it, because most handlers need no more than :attr:`page`.
    """

    __slots__ = ("_space", "esr", "page")

    def __init__(self, space: AddressSpace, esr: int, page: int) -> None:
        self._space = space
        self.esr = esr
        self.page = page

    @property
    def far(self) -> int:
        """FAR_EL1."""
        if self.esr >> EC_SHIFT == EC_INSTRUCTION_ABORT_LOWER:
            return self.elr
        if self.esr >> EC_SHIFT == EC_DATA_ABORT_SAME:
            return self.page
        return self._space.cpu.fault_address(self.page, is_write(self.esr))

    @property
    def elr(self) -> int:
        """ELR_EL1: the instruction that faulted."""
        return self._space.cpu.program_counter()


def page_fault(space: AddressSpace, counters: Counters, frame: ExceptionFrame) -> None:
    """Make the access possible, so that the instruction can be tried again.

    :raises GuestSignal: it cannot be
    :raises GuestMemoryError: no frame is left
    """
    esr = frame.esr
    if esr >> EC_SHIFT == EC_INSTRUCTION_ABORT_LOWER and frame.page == 0 and frame.elr == 0:
        raise GuestSignal(Signals.SIGSEGV, "trying to execute null pointer", 0, esr)
    if esr & KIND_MASK == ACCESS_FLAG:
        _access_flag_fault(space, counters, frame)
    else:
        _vm_fault(space, counters, frame)


def _access_flag_fault(space: AddressSpace, counters: Counters, frame: ExceptionFrame) -> None:
    counters.access_flag_faults += 1
    if trace_access_flag_fault.enabled:
        trace_access_flag_fault(frame.far)
    try:
        layout, root = space.table.half(frame.page)
        set_accessed(
            space.memory.tables,
            layout,
            root,
            frame.page,
            write=is_write(frame.esr),
            barrier=space.cpu.synchronize,
        )
    except MmuError as error:
        raise _bad(frame, error.message) from error


def _vm_fault(space: AddressSpace, counters: Counters, frame: ExceptionFrame) -> None:
    esr, page = frame.esr, frame.page
    if trace_vm_fault.enabled:
        trace_vm_fault(frame.far, esr)
    write = is_write(esr)
    kind = esr & KIND_MASK
    if kind == TRANSLATION:
        counters.translation_faults += 1
        area = _area_for(space, frame, write)
        try:
            space.populate(area, page, write=write)
        except Errno as error:
            raise _lost_page(frame, area, error) from error
    elif kind == PERMISSION and write:
        counters.permission_faults += 1
        space.make_writable(_area_for(space, frame, write), page)
    else:
        counters.permission_faults += kind == PERMISSION
        raise _bad(frame, "access not permitted")


def _area_for(space: AddressSpace, frame: ExceptionFrame, write: bool) -> Vma:
    area = space.areas.find(frame.page)
    if area is None:
        raise _bad(frame, "nothing is mapped there")
    execute = frame.esr >> EC_SHIFT == EC_INSTRUCTION_ABORT_LOWER
    access = Access.EXECUTE if execute else Access.WRITE if write else Access.READ
    if not area.allows(access):
        raise _bad(frame, f"{access.name.lower()} is not permitted there")
    return area


def _bad(frame: ExceptionFrame, reason: str) -> GuestSignal:
    return GuestSignal(Signals.SIGSEGV, reason, frame.far, frame.esr)


def _lost_page(frame: ExceptionFrame, area: Vma, error: Errno) -> GuestSignal:
    past_end = error.number == errno.EFAULT
    reason = f"past the end of {area.name}" if past_end else f"{area.name}: {error.strerror}"
    return GuestSignal(Signals.SIGBUS, reason, frame.far, frame.esr)
