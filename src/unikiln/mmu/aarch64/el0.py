"""What EL0 may do with a leaf, by one comparison: for who translates at every miss of a TLB.

Stage 1 without hierarchical restrictions, SCTLR_EL1.WXN and hardware management, as OSv has it.
"""

from __future__ import annotations

from unikiln.mmu.aarch64.descriptor import AF, AP_EL0, AP_READ_ONLY, UXN, VALID
from unikiln.mmu.aarch64.fault import FaultKind
from unikiln.mmu.leaf import OUTSIDE
from unikiln.mmu.request import Access

_NEEDED = {
    Access.READ: VALID | AF | AP_EL0,
    Access.WRITE: VALID | AF | AP_EL0,
    Access.EXECUTE: VALID | AF,
}
_FORBIDDEN = {Access.READ: 0, Access.WRITE: AP_READ_ONLY, Access.EXECUTE: UXN}

CHECKS = tuple((_NEEDED[access] | _FORBIDDEN[access], _NEEDED[access]) for access in Access)
"""By access: a leaf grants it to EL0 when ``entry & CHECKS[access][0] == CHECKS[access][1]``."""

_EXTERNAL = FaultKind.EXTERNAL_ON_WALK.value
_TRANSLATION = FaultKind.TRANSLATION.value
_PERMISSION = FaultKind.PERMISSION.value
_ACCESS_FLAG = FaultKind.ACCESS_FLAG.value


def fault_status(entry: int, index: int, level: int) -> int:
    """DFSC of a :data:`~unikiln.mmu.leaf.Found` that :data:`CHECKS` refuses (Arm ARM D8.15)."""
    if not entry & VALID:
        return (_EXTERNAL if index == OUTSIDE else _TRANSLATION) | level
    return (_PERMISSION if entry & AF else _ACCESS_FLAG) | level
