"""The translation regime of a live guest: registers as QEMU's gdbstub names them, and features.

AArch64 has ID registers that say what the processor has; of x86-64, QEMU's object for the processor knows
(QEMU, target/i386/cpu.c, ``x86_cpu_properties``). IA32_PAT is nowhere to be read: it counts as after a reset.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from unikiln.mmu.aarch64 import config as arm_config
from unikiln.mmu.aarch64 import regime as arm
from unikiln.mmu.x86 import config as x86_config
from unikiln.mmu.x86 import regime as x86

_X86_FEATURES = {
    "pa_bits": "phys-bits",
    "la57": "la57",
    "pages_1g": "pdpe1gb",
    "nx": "nx",
    "smep": "smep",
    "smap": "smap",
    "pge": "pge",
    "pcid": "pcid",
    "pku": "pku",
    "pks": "pks",
}
"""Fields of the configuration, and QEMU's properties."""


def aarch64_regime(register: Callable[[str], int]) -> arm.Regime:
    """The EL1&0 regime of a processor whose system registers ``register`` reads."""
    identification = (register(f"ID_AA64MMFR{number}_EL1") for number in range(3))
    return arm.Regime(
        tcr=register("TCR_EL1"),
        ttbr0=register("TTBR0_EL1"),
        ttbr1=register("TTBR1_EL1"),
        mair=register("MAIR_EL1"),
        sctlr=register("SCTLR"),
        config=arm_config.Config.from_id_registers(*identification),
    )


def x86_64_config(feature: Callable[[str], Any]) -> x86_config.Config:
    """What a processor has whose properties ``feature`` reads."""
    return x86_config.Config(**{field: feature(name) for field, name in _X86_FEATURES.items()})


def x86_64_regime(register: Callable[[str], int], config: x86_config.Config) -> x86.Regime:
    """The paging of a processor whose control registers ``register`` reads.

    :raises MmuError: it is not in 64-bit mode
    """
    return x86.Regime(
        cr3=register("cr3"),
        cr0=register("cr0"),
        cr4=register("cr4"),
        efer=register("efer"),
        config=config,
    )
