"""What a processor reports of a walk: ESR_EL1 of the abort, and PAR_EL1 of an AT instruction.

Arm ARM J1, AArch64.FaultSyndrome and AArch64.EncodePAR. FAR_EL1 is the address that was asked for.
"""

from __future__ import annotations

from unikiln.mmu.aarch64 import par
from unikiln.mmu.aarch64.fault import Fault, FaultKind
from unikiln.mmu.aarch64.permission import mair_field
from unikiln.mmu.aarch64.regime import Regime
from unikiln.mmu.aarch64.syndrome import (
    EC_DATA_ABORT_LOWER,
    EC_DATA_ABORT_SAME,
    EC_INSTRUCTION_ABORT_LOWER,
    EC_INSTRUCTION_ABORT_SAME,
    encode_abort,
)
from unikiln.mmu.request import Access, Request
from unikiln.mmu.translation import Translation

_CLASSES = {
    (True, True): EC_INSTRUCTION_ABORT_SAME,
    (True, False): EC_INSTRUCTION_ABORT_LOWER,
    (False, True): EC_DATA_ABORT_SAME,
    (False, False): EC_DATA_ABORT_LOWER,
}
_DEVICE_NGNRNE = 0x00
_RESERVED, _OUTER_SHAREABLE = 1, 2


def abort_syndrome(request: Request, status: int, *, is_write: bool) -> int:
    """ESR_EL1 of an abort with the code ``status``; ``is_write`` counts for data that is loaded or stored."""
    fetch = request.access is Access.EXECUTE
    maintenance = request.cache_maintenance or request.at
    exception_class = _CLASSES[fetch, request.privileged or request.at]
    return encode_abort(exception_class, status, wnr=not fetch and (is_write or maintenance), cm=maintenance)


def fault_syndrome(fault: Fault) -> int:
    """ESR_EL1 of a fault that is taken as an exception."""
    return abort_syndrome(fault.request, fault.status_code, is_write=fault.is_write)


def address_translated(regime: Regime, outcome: Translation | Fault) -> int | None:
    """PAR_EL1 after an AT instruction; None if that took an exception instead, a data abort.

    PAR_EL1.NS, which is unknown in a non-secure regime, is 1.
    """
    if isinstance(outcome, Translation):
        return par.encode_success(outcome.pa, *_memory(regime, outcome))
    if outcome.kind is FaultKind.EXTERNAL_ON_WALK:
        return None
    return par.encode_fault(outcome.status_code)


def _memory(regime: Regime, found: Translation) -> tuple[int, int]:
    """The memory type as a field of MAIR_EL1, and SH; the reserved value stands for any."""
    if not regime.enabled:
        return _DEVICE_NGNRNE, _OUTER_SHAREABLE
    upper = bool(found.va >> 55 & 1)
    shareability = regime.shareability(found.leaf.value, upper)
    if shareability == _RESERVED:
        shareability = _OUTER_SHAREABLE
    return mair_field(found.leaf.value, regime.mair), shareability
