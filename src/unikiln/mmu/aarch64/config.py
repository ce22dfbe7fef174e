"""What a processor has: the fields of its ID registers that address translation depends on.

Arm ARM D23.2, ID_AA64MMFR0_EL1, ID_AA64MMFR1_EL1 and ID_AA64MMFR2_EL1; the presets hold the values that the
technical reference manuals of the cores state.
"""

from __future__ import annotations

from dataclasses import dataclass

PA_BITS = (32, 36, 40, 42, 44, 48, 52)
"""Bits of a physical address by PARange and by TCR_EL1.IPS; higher encodings count as the last."""

_ABSENT = 0xF


@dataclass(frozen=True, slots=True)
class Config:
    """The processor's MMU.

    :ivar pa_bits: implemented physical address bits
    :ivar asid_bits: 8 or 16
    :ivar granules: shifts of the granules, of 12, 14 and 16
    :ivar lpa2: those of them that TCR_EL1.DS gives 52-bit addresses (FEAT_LPA2)
    :ivar lva: 52-bit virtual addresses with the 64 KiB granule (FEAT_LVA)
    :ivar hafdbs: 0 none, 1 access flag, 2 and dirty state by hardware (FEAT_HAFDBS); FEAT_HAFT counts as 2:
        TCR2_EL1, which would enable the flag of tables, is not modelled
    :ivar hpds: hierarchical permissions can be disabled (FEAT_HPDS)
    :ivar pan: 0 none, 1 FEAT_PAN, 2 FEAT_PAN2, 3 FEAT_PAN3
    :ivar ttst: small translation tables, T0SZ up to 48 (FEAT_TTST)
    :ivar e0pd: EL0 can be kept out of a half (FEAT_E0PD)
    :ivar bbm: what the processor forgives of break-before-make, 0 to 2 (FEAT_BBM)
    """

    pa_bits: int = 48
    asid_bits: int = 16
    granules: frozenset[int] = frozenset({12, 16})
    lpa2: frozenset[int] = frozenset()
    lva: bool = False
    hafdbs: int = 0
    hpds: bool = False
    pan: int = 0
    ttst: bool = False
    e0pd: bool = False
    bbm: int = 0

    @classmethod
    def from_id_registers(cls, mmfr0: int, mmfr1: int = 0, mmfr2: int = 0) -> Config:
        """The processor whose ID registers have these values."""
        granule4, granule64, granule16 = mmfr0 >> 28 & 15, mmfr0 >> 24 & 15, mmfr0 >> 20 & 15
        present = {12: granule4 != _ABSENT, 14: granule16 != 0, 16: granule64 != _ABSENT}
        wide = {12: granule4 == 1, 14: granule16 == 2}
        return cls(
            pa_bits=PA_BITS[min(mmfr0 & 15, len(PA_BITS) - 1)],
            asid_bits=16 if mmfr0 >> 4 & 15 else 8,
            granules=frozenset(shift for shift, has in present.items() if has),
            lpa2=frozenset(shift for shift, has in wide.items() if has),
            lva=bool(mmfr2 >> 16 & 15),
            hafdbs=min(mmfr1 & 15, 2),
            hpds=bool(mmfr1 >> 12 & 15),
            pan=min(mmfr1 >> 20 & 15, 3),
            ttst=bool(mmfr2 >> 28 & 15),
            e0pd=bool(mmfr2 >> 60 & 15),
            bbm=mmfr2 >> 52 & 15,
        )


CORTEX_A53 = Config.from_id_registers(0x0000_1122)
CORTEX_A57 = Config.from_id_registers(0x0000_1124)
CORTEX_A72 = Config.from_id_registers(0x0000_1124)
MAX = Config(
    pa_bits=52,
    granules=frozenset({12, 14, 16}),
    lpa2=frozenset({12, 14}),
    lva=True,
    hafdbs=2,
    hpds=True,
    pan=3,
    ttst=True,
    e0pd=True,
    bbm=2,
)
"""All that this model knows; what QEMU's ``-cpu max`` has."""

PRESETS = {"cortex-a53": CORTEX_A53, "cortex-a57": CORTEX_A57, "cortex-a72": CORTEX_A72, "max": MAX}
