"""Exception classes, ESR_EL1.EC: one row each (Arm ARM D24.2.45; D24.2.46 and 47 for those of EL2 and EL3).

Issue M.a of the manual; TSTART is from issues that had FEAT_TME.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from unikiln.mmu.aarch64 import iss_debug as debug
from unikiln.mmu.aarch64 import iss_fault as fault
from unikiln.mmu.aarch64 import iss_trap as trap
from unikiln.mmu.aarch64 import sentence
from unikiln.mmu.aarch64.iss_abort import DATA_ABORT, INSTRUCTION_ABORT
from unikiln.mmu.field import Field, Spec

Sentence = str | Callable[[Mapping[str, Field]], str]
"""A pattern with the fields by name, or a function of them."""


class ExceptionClass(NamedTuple):
    """One class: what it is called, what ISS and ISS2 hold, and what to say of it ("": its name)."""

    code: int
    name: str
    fields: tuple[Spec, ...]
    sentence: Sentence

    def explain(self, fields: Mapping[str, Field]) -> str:
        """The sentence for people, without a full stop."""
        if callable(self.sentence):
            return self.sentence(fields)
        return (self.sentence or self.name).format(**fields)


_NO_FIELDS: tuple[Spec, ...] = ()
_ANYTHING = (Spec("ISS", 24, 0, "implementation defined"),)

_ROWS: tuple[tuple[int, str, tuple[Spec, ...], Sentence], ...] = (
    (0x00, "unknown reason", _NO_FIELDS, "unknown reason: mostly an undefined instruction"),
    (0x01, "trapped WFI or WFE", trap.WAIT, "{TI.meaning} was trapped"),
    (0x03, "trapped MCR or MRC, coproc 15", trap.MCR, "{Direction.meaning}, of coproc 15, was trapped"),
    (0x04, "trapped MCRR or MRRC, coproc 15", trap.MCRR, "{Direction.meaning}, of coproc 15, was trapped"),
    (0x05, "trapped MCR or MRC, coproc 14", trap.MCR, "{Direction.meaning}, of coproc 14, was trapped"),
    (0x06, "trapped LDC or STC", trap.LDC, "{Direction.meaning}, was trapped"),
    (
        0x07,
        "access to SME, SVE, SIMD or floating point",
        trap.FLOATING_POINT,
        "SVE, SIMD or floating point, which CPACR_EL1.FPEN or its like disables",
    ),
    (0x08, "trapped VMRS (EL2)", trap.MCR, "VMRS was trapped"),
    (0x09, "trapped pointer authentication (EL2, EL3)", _NO_FIELDS, ""),
    (0x0A, "trapped other instruction", trap.LOAD_STORE_64, "{ISS.meaning} was trapped"),
    (0x0C, "trapped MRRC, coproc 14", trap.MCRR, "{Direction.meaning}, of coproc 14, was trapped"),
    (0x0D, "branch target exception", fault.BRANCH_TARGET, "a branch landed where no BTI accepts it"),
    (0x0E, "illegal execution state", _NO_FIELDS, ""),
    (0x11, "SVC instruction, AArch32", trap.CALL, "system call, AArch32: SVC #{imm16.value:#x}"),
    (
        0x12,
        "HVC instruction, AArch32 (EL2)",
        trap.CALL,
        "hypervisor call, AArch32: HVC #{imm16.value:#x}",
    ),
    (0x13, "SMC instruction, AArch32 (EL2, EL3)", trap.SMC_AARCH32, "secure monitor call, AArch32: SMC"),
    (0x14, "trapped MSRR, MRRS or 128-bit instruction", trap.SYSTEM_128, sentence.system_128),
    (0x15, "SVC instruction, AArch64", trap.CALL, "system call: SVC #{imm16.value:#x}"),
    (0x16, "HVC instruction, AArch64 (EL2)", trap.CALL, "hypervisor call: HVC #{imm16.value:#x}"),
    (0x17, "SMC instruction, AArch64 (EL2, EL3)", trap.CALL, "secure monitor call: SMC #{imm16.value:#x}"),
    (0x18, "trapped MSR, MRS or system instruction", trap.SYSTEM, sentence.system),
    (0x19, "access to SVE", _NO_FIELDS, "SVE, which CPACR_EL1.ZEN or its like disables"),
    (0x1A, "trapped ERET", trap.ERET, "{ERET.meaning} was trapped"),
    (0x1B, "trapped TSTART (FEAT_TME)", trap.TRANSACTION_START, "TSTART {Rd.meaning} was trapped"),
    (0x1C, "PAC fail", fault.PAC_FAIL, "a pointer failed authentication: {DnI.meaning}, {BnA.meaning}"),
    (0x1D, "access to SME", trap.SME, "SME trap: {SMTC.meaning}"),
    (
        0x1E,
        "granule protection check (EL3)",
        fault.GRANULE_PROTECTION_CHECK,
        "{InD.meaning} failed the granule protection check: {GPCSC.meaning}",
    ),
    (0x1F, "implementation defined (EL3)", _ANYTHING, ""),
    (0x20, "instruction abort from a lower exception level", INSTRUCTION_ABORT, sentence.abort),
    (0x21, "instruction abort from the same exception level", INSTRUCTION_ABORT, sentence.abort),
    (0x22, "PC alignment fault", _NO_FIELDS, "the program counter is not a multiple of 4"),
    (0x24, "data abort from a lower exception level", DATA_ABORT, sentence.abort),
    (0x25, "data abort from the same exception level", DATA_ABORT, sentence.abort),
    (0x26, "SP alignment fault", _NO_FIELDS, "the stack pointer was not a multiple of 16 when used"),
    (
        0x27,
        "memory copy or set",
        fault.MEMORY_COPY,
        "{MemInst.meaning} found registers of the other option (FEAT_MOPS)",
    ),
    (0x28, "floating-point exception, AArch32", fault.FLOATING_POINT, sentence.floating_point),
    (0x2C, "floating-point exception, AArch64", fault.FLOATING_POINT, sentence.floating_point),
    (
        0x2D,
        "guarded control stack",
        fault.GUARDED_CONTROL_STACK,
        "guarded control stack exception: {ExType.meaning}",
    ),
    (0x2F, "SError", fault.SERROR, sentence.serror),
    (0x30, "breakpoint from a lower exception level", debug.BREAKPOINT, "hardware breakpoint at EL0"),
    (0x31, "breakpoint from the same exception level", debug.BREAKPOINT, "hardware breakpoint at EL1"),
    (0x32, "software step from a lower exception level", debug.SOFTWARE_STEP, "software step at EL0"),
    (0x33, "software step from the same exception level", debug.SOFTWARE_STEP, "software step at EL1"),
    (0x34, "watchpoint from a lower exception level", debug.WATCHPOINT, sentence.watchpoint),
    (0x35, "watchpoint from the same exception level", debug.WATCHPOINT, sentence.watchpoint),
    (0x38, "BKPT instruction, AArch32", debug.BREAKPOINT_INSTRUCTION, "BKPT #{Comment.value:#x} of AArch32"),
    (0x3A, "vector catch, AArch32 (EL2)", debug.BREAKPOINT, ""),
    (0x3C, "BRK instruction, AArch64", debug.BREAKPOINT_INSTRUCTION, sentence.breakpoint_instruction),
    (0x3D, "profiling", fault.PROFILING, "profiling exception: {FSC.meaning}"),
)
"""EC, name, fields of ISS and ISS2, sentence."""

EXCEPTION_CLASSES = {row[0]: ExceptionClass(*row) for row in _ROWS}

_RESERVED = ExceptionClass(-1, "reserved", (Spec("ISS", 24, 0, "of a reserved class"),), "reserved class")


def exception_class(ec: int) -> ExceptionClass:
    """The row for ``ec``; reserved classes have one of that name."""
    return EXCEPTION_CLASSES.get(ec, _RESERVED)
