"""TCR_EL1, SCTLR_EL1, MAIR_EL1 and TTBRn_EL1: the fields that translation reads (Arm ARM D23.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from unikiln.errors import MmuError
from unikiln.mmu.bits import Bits

_TG0 = {0: 12, 1: 16, 2: 14}
_TG1 = {1: 14, 2: 12, 3: 16}


class Half(NamedTuple):
    """What TCR_EL1 says about the addresses of one TTBR; ``granule`` is a shift, 0 if TGn is reserved."""

    tsz: int
    granule: int
    epd: bool
    tbi: bool
    tbid: bool
    hpd: bool
    e0pd: bool


@dataclass(frozen=True, slots=True)
class Tcr:
    """TCR_EL1."""

    value: int

    ips = Bits(34, 32)
    a1 = Bits(22)
    asid16 = Bits(36)
    ha = Bits(39)
    hd = Bits(40)
    ds = Bits(59)

    def shareability(self, upper: bool) -> int:
        """SH1 or SH0: of walks, and with FEAT_LPA2 in effect of what they map."""
        return self.value >> (28 if upper else 12) & 3

    def half(self, upper: bool) -> Half:
        """The fields for TTBR1 (``upper``) or TTBR0."""
        value = self.value
        if upper:
            at, granule = (16, 23, 38, 52, 42, 56), _TG1.get(value >> 30 & 3, 0)
        else:
            at, granule = (0, 7, 37, 51, 41, 55), _TG0.get(value >> 14 & 3, 0)
        size, *flags = at
        epd, tbi, tbid, hpd, e0pd = (bool(value >> bit & 1) for bit in flags)
        return Half(value >> size & 0x3F, granule, epd, tbi, tbid, hpd, e0pd)


def encode_tcr(
    *,
    t0sz: int,
    t1sz: int,
    granule0: int = 12,
    granule1: int = 12,
    ips: int = 5,
    ha: bool = False,
    hd: bool = False,
    ds: bool = False,
    flags: int = 0,
) -> int:
    """TCR_EL1 with inner shareable, write-back walks; granules are shifts; ``flags``: more bits.

    :raises MmuError: there is no such granule
    """
    tg0 = next((code for code, shift in _TG0.items() if shift == granule0), None)
    tg1 = next((code for code, shift in _TG1.items() if shift == granule1), None)
    if tg0 is None or tg1 is None:
        raise MmuError(f"no granule of 2**{granule1 if tg1 is None else granule0} bytes")
    walks = 0x3500 | 0x3500 << 16
    return (
        t0sz | t1sz << 16 | tg0 << 14 | tg1 << 30 | ips << 32 | ha << 39 | hd << 40 | ds << 59 | walks | flags
    )


SCTLR_M = 1 << 0
SCTLR_A = 1 << 1
SCTLR_WXN = 1 << 19
SCTLR_EE = 1 << 25
SCTLR_EPAN = 1 << 57

TTBR_ASID_SHIFT = 48

_DEVICE = ("Device-nGnRnE", "Device-nGnRE", "Device-nGRE", "Device-GRE")
_SPECIAL = {0xF0: "Normal WB tagged", 0x40: "Normal NC XS=0", 0xA0: "Normal WT XS=0"}


def memory_type(attr: int) -> str:
    """The memory type that a field of MAIR_EL1 stands for, as the manual writes it."""
    if is_device(attr) and not attr & 2:
        return _DEVICE[attr >> 2] + (" XS=0" if attr & 1 else "")
    if attr & 15 == 0 or is_device(attr):
        return _SPECIAL.get(attr, "unpredictable")
    inner, outer = _cacheability(attr & 15), _cacheability(attr >> 4)
    return f"Normal {inner}" if inner == outer else f"Normal inner {inner}, outer {outer}"


def is_device(attr: int) -> bool:
    """Whether the field stands for Device memory."""
    return attr & 0xF0 == 0


def _cacheability(field: int) -> str:
    if field == 0b0100:
        return "NC"
    policy = "WB" if field & 0b0100 else "WT"
    return policy if field & 0b1000 else f"{policy} transient"
