"""ISS of debug exceptions (Arm ARM D24.2.45, "ISS encoding for ...", issue M.a)."""

from __future__ import annotations

from unikiln.mmu.aarch64.iss_abort import ISV, flag
from unikiln.mmu.field import Spec

_STATUS = {0b100010: "debug exception"}

BREAKPOINT = (Spec("IFSC", 5, 0, _STATUS),)

SOFTWARE_STEP = (
    flag("ISV", 24, "EX is not valid", "EX is valid"),
    flag("EX", 6, "no load-exclusive", "a load-exclusive was stepped", lambda esr: bool(esr & ISV)),
    Spec("IFSC", 5, 0, _STATUS),
)

WATCHPOINT = (
    Spec("WPT", 23, 18, "number of the watchpoint, if WPTV"),
    flag("WPTV", 17, "WPT is not valid", "WPT is valid"),
    flag("WPF", 16, "matched an access", "may have matched what was not accessed"),
    flag("FnP", 15, "FAR_EL1 is precise", "FAR_EL1 is somewhere in the granule"),
    flag("VNCR", 13, "not by use of VNCR_EL2", "by use of VNCR_EL2 at EL1 (ESR_EL2)"),
    flag("FnV", 10, "FAR_EL1 is valid", "FAR_EL1 is not valid"),
    flag("CM", 8, "not cache maintenance", "cache maintenance"),
    flag("WnR", 6, "read", "write (also of cache maintenance)"),
    Spec("DFSC", 5, 0, _STATUS),
    flag("GCS", 40, "not a guarded control stack access", "a guarded control stack access"),
)

_COMMENTS = (
    (0x004, 0x004, "Linux: kprobe"),
    (0x005, 0x005, "Linux: uprobe"),
    (0x006, 0x006, "Linux: single step of a kprobe"),
    (0x100, 0x100, "Linux: a fault on purpose"),
    (0x3E8, 0x3E8, "__builtin_trap() of GCC"),
    (0x400, 0x7FF, "Linux: kgdb"),
    (0x800, 0x800, "Linux: BUG() or WARN()"),
    (0x900, 0x9FF, "Linux: KASAN"),
    (0x5500, 0x55FF, "Linux: UBSAN"),
    (0x8000, 0x83FF, "Linux: CFI"),
)
"""First and last comment of a BRK, and who uses them (Linux: arch/arm64/include/asm/brk-imm.h)."""


def _comment(value: int) -> str:
    for first, last, text in _COMMENTS:
        if first <= value <= last:
            return text
    return "as in the instruction"


BREAKPOINT_INSTRUCTION = (Spec("Comment", 15, 0, _comment),)
