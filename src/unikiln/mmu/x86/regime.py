"""IA-32e paging: the control registers, and what follows from them (Intel SDM vol. 3, 4.1)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from unikiln.errors import MmuError
from unikiln.mmu.layout import Layout, Tables
from unikiln.mmu.translation import Attributes
from unikiln.mmu.x86 import registers as r
from unikiln.mmu.x86.config import MAX, Config
from unikiln.mmu.x86.entry import address_bits
from unikiln.mmu.x86.layout import layout
from unikiln.mmu.x86.permission import Control, attributes

_NEEDED = (
    ("CR0.PG", "cr0", r.CR0_PG),
    ("CR4.PAE", "cr4", r.CR4_PAE),
    ("EFER.LMA", "efer", r.EFER_LMA),
)
_OPTIONAL = (
    ("CR4.LA57", "cr4", r.CR4_LA57, "la57"),
    ("CR4.PGE", "cr4", r.CR4_PGE, "pge"),
    ("CR4.PCIDE", "cr4", r.CR4_PCIDE, "pcid"),
    ("CR4.SMEP", "cr4", r.CR4_SMEP, "smep"),
    ("CR4.SMAP", "cr4", r.CR4_SMAP, "smap"),
    ("CR4.PKE", "cr4", r.CR4_PKE, "pku"),
    ("CR4.PKS", "cr4", r.CR4_PKS, "pks"),
    ("EFER.NXE", "efer", r.EFER_NXE, "nx"),
)


class Parameters(NamedTuple):
    """What walks go by: the two halves, and what permissions depend on."""

    lower: Layout
    upper: Layout
    control: Control


@dataclass(frozen=True, slots=True)
class Regime:
    """Register values, and the processor that reads them. ``pat``: IA32_PAT; ``pkrs``: IA32_PKRS.

    :raises MmuError: the registers do not select IA-32e paging, or use what the processor lacks
    """

    cr3: int
    cr0: int = r.CR0_PG | r.CR0_WP | r.CR0_PE
    cr4: int = r.CR4_PAE | r.CR4_PGE
    efer: int = r.EFER_LME | r.EFER_LMA | r.EFER_NXE
    pat: int = r.PAT_DEFAULT
    pkru: int = 0
    pkrs: int = 0
    config: Config = MAX

    def __post_init__(self) -> None:
        for name, register, bit in _NEEDED:
            if not getattr(self, register) & bit:
                raise MmuError(
                    f"{name} is 0: this is not 4-level or 5-level paging", hint="only 64-bit mode is modelled"
                )
        for name, register, bit, feature in _OPTIONAL:
            if getattr(self, register) & bit and not getattr(self.config, feature):
                raise MmuError(
                    f"{name} is 1, but the processor has no {feature}", hint="choose another processor"
                )

    @property
    def pcid(self) -> int:
        """The current address space; 0 without CR4.PCIDE."""
        return self.cr3 & r.CR3_PCID if self.cr4 & r.CR4_PCIDE else 0

    @property
    def parameters(self) -> Parameters:
        """What walks go by."""
        return _parameters(self)

    def layout(self, upper: bool = False) -> Layout:
        """The layout of one half of the addresses."""
        return self.parameters.upper if upper else self.parameters.lower

    @property
    def root(self) -> int:
        """The physical address of the table that CR3 names."""
        return self.cr3 & address_bits(self.config.pa_bits)

    def tables(self) -> Tables:
        """The two halves of the addresses; both begin at the same table."""
        return tuple((self.layout(upper), self.root) for upper in (False, True))

    def attributes(self, entry: int, upper: bool = False, level: int = 1) -> Attributes:
        """What a leaf of ``level`` in either half is; ``entry`` with what tables above restrict."""
        return attributes(entry, level, self.parameters.control)


@lru_cache(maxsize=1024)
def _parameters(regime: Regime) -> Parameters:
    cr4, config = regime.cr4, regime.config
    lower, upper = (
        layout(
            config.pa_bits,
            upper=half,
            la57=bool(cr4 & r.CR4_LA57),
            pages_1g=config.pages_1g,
            nxe=bool(regime.efer & r.EFER_NXE),
            keys=bool(cr4 & (r.CR4_PKE | r.CR4_PKS)),
        )
        for half in (False, True)
    )
    control = Control(
        write_protect=bool(regime.cr0 & r.CR0_WP),
        smep=bool(cr4 & r.CR4_SMEP),
        smap=bool(cr4 & r.CR4_SMAP),
        nxe=bool(regime.efer & r.EFER_NXE),
        global_pages=bool(cr4 & r.CR4_PGE),
        user_keys=regime.pkru if cr4 & r.CR4_PKE else None,
        supervisor_keys=regime.pkrs if cr4 & r.CR4_PKS else None,
        pcid=regime.pcid if cr4 & r.CR4_PCIDE else None,
        pat=regime.pat,
    )
    return Parameters(lower, upper, control)
