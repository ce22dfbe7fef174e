"""The EL1&0 translation regime: its registers, and what follows from them (Arm ARM D8.1)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from unikiln.mmu.aarch64.config import MAX, PA_BITS, Config
from unikiln.mmu.aarch64.descriptor import SH_SHIFT
from unikiln.mmu.aarch64.layout import layout
from unikiln.mmu.aarch64.permission import attributes
from unikiln.mmu.aarch64.registers import SCTLR_EE, SCTLR_M, TTBR_ASID_SHIFT, Half, Tcr
from unikiln.mmu.layout import Layout, Tables
from unikiln.mmu.translation import Attributes

SMALLEST_TSZ = 16
SMALLEST_TSZ_52 = 12
LARGEST_TSZ = 39
_IPS_52 = 6
_LARGEST_SMALL_TSZ = {12: 48, 14: 48, 16: 47}


class Parameters(NamedTuple):
    """What the walk of one half goes by.

    ``layout`` is None if TnSZ is out of range, which makes every address fault; ``oa_bits`` is the effective
    size of output addresses; ``root`` the address of the first table, which may have more bits.
    """

    half: Half
    layout: Layout | None
    oa_bits: int
    root: int


@dataclass(frozen=True, slots=True)
class Regime:
    """Register values, and the processor that reads them.

    A granule that the processor lacks acts as one that it has (4, 64, then 16 KiB), which the manual permits.
    """

    tcr: int
    ttbr0: int
    ttbr1: int = 0
    mair: int = 0xFF_4404_0000 | 0xFF << 40
    sctlr: int = SCTLR_M
    config: Config = MAX

    @property
    def enabled(self) -> bool:
        """SCTLR_EL1.M: without it, addresses are physical."""
        return bool(self.sctlr & SCTLR_M)

    @property
    def big_endian(self) -> bool:
        """SCTLR_EL1.EE: entries are big-endian."""
        return bool(self.sctlr & SCTLR_EE)

    @property
    def hardware_access_flag(self) -> bool:
        """TCR_EL1.HA, on a processor that has it."""
        return bool(self.config.hafdbs and Tcr(self.tcr).ha)

    @property
    def hardware_dirty_state(self) -> bool:
        """TCR_EL1.HD, which needs HA, on a processor that has it."""
        return self.config.hafdbs > 1 and self.hardware_access_flag and bool(Tcr(self.tcr).hd)

    @property
    def asid(self) -> int:
        """The current address space: of TTBR1 if TCR_EL1.A1, else of TTBR0."""
        tcr = Tcr(self.tcr)
        asid = (self.ttbr1 if tcr.a1 else self.ttbr0) >> TTBR_ASID_SHIFT
        return asid if tcr.asid16 and self.config.asid_bits == 16 else asid & 0xFF

    def parameters(self, upper: bool) -> Parameters:
        """What the walk of addresses with bit 55 set (``upper``) or clear goes by."""
        return _parameters(self, upper)

    def tables(self) -> Tables:
        """The halves that are translated, each with the address of its root table."""
        found = []
        for upper in (False, True):
            parameters = self.parameters(upper)
            if self.enabled and parameters.layout is not None and not parameters.half.epd:
                found.append((parameters.layout, parameters.root))
        return tuple(found)

    def attributes(self, entry: int, upper: bool = False) -> Attributes:
        """What a leaf allows and is; ``entry`` with what the tables above it restrict."""
        return attributes(entry, self.mair, self.sctlr, self.shareability(entry, upper))

    def shareability(self, entry: int, upper: bool) -> int:
        """SH of a leaf; with FEAT_LPA2 in effect that is in TCR_EL1, and address bits are in its place."""
        wide = self.parameters(upper).layout
        in_tcr = wide is not None and wide.page_shift < 16 and bool(wide.high_address)
        return Tcr(self.tcr).shareability(upper) if in_tcr else entry >> SH_SHIFT & 3


@lru_cache(maxsize=1024)
def _parameters(regime: Regime, upper: bool) -> Parameters:
    tcr, config = Tcr(regime.tcr), regime.config
    half = tcr.half(upper)
    granule = half.granule if half.granule in config.granules else _another(config)
    ds = bool(tcr.ds) and granule in config.lpa2
    smallest = SMALLEST_TSZ_52 if ds or (granule == 16 and config.lva) else SMALLEST_TSZ
    largest = _LARGEST_SMALL_TSZ[granule] if config.ttst else LARGEST_TSZ
    oa_bits = min(PA_BITS[min(tcr.ips, len(PA_BITS) - 1)], config.pa_bits, 52 if ds or granule == 16 else 48)
    if not smallest <= half.tsz <= largest:
        return Parameters(half, None, oa_bits, 0)
    tables = layout(
        granule,
        64 - half.tsz,
        upper=upper,
        ds=ds,
        lpa=config.pa_bits == PA_BITS[-1],
        hpd=half.hpd and config.hpds,
    )
    wide = ds or (tables.high_address and tcr.ips == _IPS_52)
    root = _root(regime.ttbr1 if upper else regime.ttbr0, tables, bool(wide))
    return Parameters(half, tables, oa_bits, root)


def _another(config: Config) -> int:
    return next(granule for granule in (12, 16, 14) if granule in config.granules)


def _root(ttbr: int, tables: Layout, wide: bool) -> int:
    """BADDR, aligned to the size of the table; ``wide``: bits 51:48 stand in 5:2 (S1TTBaseAddress)."""
    size = (tables.steps[0].mask + 1) * 8
    base: int = ttbr & (1 << 48) - 1
    if wide:
        base |= (ttbr >> 2 & 15) << 48
        size = max(size, 64)
    return base & -size
