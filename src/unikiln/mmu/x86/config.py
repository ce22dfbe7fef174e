"""What a processor has: the features that CPUID reports and paging depends on (Intel SDM vol. 3, 4.1.4).

The presets are what QEMU's models of these names have (target/i386/cpu.c), but for ``pa_bits``, which QEMU
leaves to the machine: that is what real parts have.
"""

from __future__ import annotations

from dataclasses import dataclass

_PHYSICAL_BITS_WITHOUT_LEAF = 36


@dataclass(frozen=True, slots=True)
class Config:
    """The processor's paging.

    :ivar pa_bits: MAXPHYADDR, the width of physical addresses, 36 to 52
    :ivar la57: 5-level paging
    :ivar pages_1g: 1-GByte pages
    :ivar nx: execute-disable, EFER.NXE
    :ivar smep: supervisor-mode execution prevention; :ivar smap: supervisor-mode access prevention
    :ivar pge: global pages; :ivar pcid: process-context identifiers
    :ivar pku: protection keys for user-mode pages; :ivar pks: for supervisor-mode pages
    """

    pa_bits: int = 46
    la57: bool = False
    pages_1g: bool = True
    nx: bool = True
    smep: bool = True
    smap: bool = True
    pge: bool = True
    pcid: bool = True
    pku: bool = False
    pks: bool = False

    @classmethod
    def from_cpuid(
        cls,
        leaf_1_ecx: int,
        leaf_1_edx: int,
        leaf_7_ebx: int,
        leaf_7_ecx: int,
        leaf_80000001_edx: int,
        leaf_80000008_eax: int,
    ) -> Config:
        """The processor whose CPUID leaves hold these values; leaf 7 is that of subleaf 0."""
        return cls(
            pa_bits=leaf_80000008_eax & 0xFF or _PHYSICAL_BITS_WITHOUT_LEAF,
            la57=bool(leaf_7_ecx >> 16 & 1),
            pages_1g=bool(leaf_80000001_edx >> 26 & 1),
            nx=bool(leaf_80000001_edx >> 20 & 1),
            smep=bool(leaf_7_ebx >> 7 & 1),
            smap=bool(leaf_7_ebx >> 20 & 1),
            pge=bool(leaf_1_edx >> 13 & 1),
            pcid=bool(leaf_1_ecx >> 17 & 1),
            pku=bool(leaf_7_ecx >> 3 & 1),
            pks=bool(leaf_7_ecx >> 31 & 1),
        )


QEMU64 = Config(pa_bits=40, pages_1g=False, smep=False, smap=False, pcid=False)
"""QEMU's default model."""
NEHALEM = Config(pa_bits=40, pages_1g=False, smep=False, smap=False, pcid=False)
HASWELL = Config(pa_bits=39, pages_1g=False, smap=False)
SKYLAKE_SERVER = Config(pa_bits=46, pku=True)
ICELAKE_SERVER = Config(pa_bits=46, la57=True, pku=True)
EPYC = Config(pa_bits=48, pcid=False)
MAX = Config(pa_bits=52, la57=True, pku=True, pks=True)
"""All that this model knows."""

PRESETS = {
    "qemu64": QEMU64,
    "nehalem": NEHALEM,
    "haswell": HASWELL,
    "skylake-server": SKYLAKE_SERVER,
    "icelake-server": ICELAKE_SERVER,
    "epyc": EPYC,
    "max": MAX,
}
