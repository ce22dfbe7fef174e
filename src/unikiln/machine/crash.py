"""The report of a crash: registers, the decoded syndrome, the mapping that was hit."""

from __future__ import annotations

from signal import Signals

from unikiln.machine.addrspace import AddressSpace
from unikiln.machine.events import GuestSignal
from unikiln.mmu.aarch64.entry import Descriptor
from unikiln.mmu.aarch64.syndrome import Syndrome

_CRASHES = {
    Signals.SIGSEGV: "memory fault",
    Signals.SIGBUS: "bus error",
    Signals.SIGILL: "illegal instruction",
    Signals.SIGTRAP: "breakpoint",
}


def is_crash(death: GuestSignal) -> bool:
    """Whether an exception of the processor killed the program, not a signal that it was sent."""
    return death.number in _CRASHES and death.reason != "sent by itself"


def report(death: GuestSignal, space: AddressSpace) -> str:
    """Several lines for a person."""
    registers = space.cpu.registers()
    pc = registers.get("pc", 0)
    lines = [f"{death.number.name} ({_CRASHES.get(death.number, 'killed')}): {death.reason}"]
    if death.esr:
        lines += [f"  {Syndrome.decode(death.esr)}", f"  FAR {death.address or 0:#x}"]
        lines += [f"  there  {line}" for line in _place(space, death.address or 0)]
    lines += [f"  pc     {line}" for line in _place(space, pc)]
    return "\n".join([*lines, *_register_lines(registers)])


def _place(space: AddressSpace, va: int) -> list[str]:
    area = space.areas.find(va)
    if area is None:
        return [f"{va:#x} is in no mapping"]
    inside = va - area.start + (area.offset if area.node else 0)
    lines = [f"{va:#x} is at {inside:#x} of {area.name or 'anonymous memory'}: {area}"]
    _, level, entry = space.table.find(va)
    if entry:
        lines.append(f"entry {Descriptor(entry, level)}")
    return lines


def _register_lines(registers: dict[str, int]) -> list[str]:
    cells = [f"{name:>4} {value:016x}" for name, value in registers.items()]
    return ["  " + " ".join(cells[at : at + 4]) for at in range(0, len(cells), 4)]
