"""QEMU's MMU judges the walk: random tables and accesses, put to both, must end alike to the bit."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.baremetal.x86_64 import batch, guest
from tests.baremetal.x86_64.batch import Processor
from tests.baremetal.x86_64.cases import ROOTS
from tests.baremetal.x86_64.deviations import DEVIATIONS
from unikiln.mmu.x86.config import MAX, PRESETS

SEED = int(os.environ.get("UNIKILN_MMU_SEED", "1"))
CASES = int(os.environ.get("UNIKILN_MMU_CASES", "25000"))

# QEMU's emulation has no PCID.
MAX_46 = Processor("max,phys-bits=46", replace(MAX, pa_bits=46, pcid=False))
MAX_52_LA57 = Processor("max,phys-bits=52", replace(MAX, pcid=False), la57=True)
NEHALEM = Processor("Nehalem", PRESETS["nehalem"])

EVERYWHERE = {
    "level 1",
    "level 2",
    "NON_CANONICAL",
    "NOT_PRESENT",
    "RESERVED_BIT",
    "SUPERVISOR_PAGE",
    "EXECUTE_DISABLE",
    "READ_ONLY",
}
ON_MAX = EVERYWHERE | {"level 3", "SMEP", "SMAP", "PROTECTION_KEY"}
"""What the cases must come to, or they are not worth their time."""

IN_QEMU = {"A in a refused 1-GByte page", "RSVD without P", "CR2 of #GP"}

pytestmark = [pytest.mark.judge(guest.QEMU), pytest.mark.judge(guest.COMPILER)]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return guest.build(tmp_path_factory.mktemp("judge"))


@pytest.mark.parametrize(
    ("processor", "met", "deviations"),
    [
        (MAX_46, ON_MAX, IN_QEMU | {"EFLAGS.AC for implicit accesses"}),
        (MAX_52_LA57, ON_MAX, IN_QEMU | {"EFLAGS.AC for implicit accesses"}),
        (NEHALEM, EVERYWHERE, IN_QEMU | {"1-GByte pages without CPUID"}),
    ],
    ids=["max", "max-5-levels", "nehalem"],
)
def test_qemu_and_the_model_agree(
    program: Path, tmp_path: Path, processor: Processor, met: set[str], deviations: set[str]
) -> None:
    verdict = batch.judge(program, tmp_path, processor, SEED, CASES)
    print(f"{processor.cpu}: {CASES} cases, {len(verdict.differences)} differences")
    for deviation in DEVIATIONS:
        print(f"{verdict.deviations[deviation.name]:6} {deviation.name}: {deviation.reason}")
    assert verdict.config == processor.config
    assert not verdict.differences, f"UNIKILN_MMU_SEED={SEED}\n" + "\n".join(verdict.differences)
    assert verdict.words == 0, "an entry or data that no case looked at is not as the model has it"
    assert {name for name, cases in verdict.met.items() if cases >= CASES // 500} >= met, verdict.met
    assert set(verdict.deviations) == deviations


def test_the_judge_sees_every_deviation(program: Path, tmp_path: Path) -> None:
    """None is there for nothing: without it, QEMU and the model differ if it would have applied."""
    for processor in (MAX_46, NEHALEM):
        touched = batch.judge(program, tmp_path, processor, SEED, 1000).deviations
        for deviation in DEVIATIONS:
            others = [other for other in DEVIATIONS if other is not deviation]
            verdict = batch.judge(program, tmp_path, processor, SEED, 1000, others)
            assert bool(verdict.differences) == bool(touched[deviation.name]), deviation.name


@pytest.mark.parametrize(
    ("cpu", "name"),
    [
        ("qemu64", "qemu64"),
        ("Nehalem", "nehalem"),
        ("Haswell", "haswell"),
        ("Skylake-Server", "skylake-server"),
        ("Icelake-Server", "icelake-server"),
        ("EPYC", "epyc"),
        ("max", "max"),
    ],
)
def test_presets_are_what_the_processors_say_of_themselves(
    program: Path, tmp_path: Path, cpu: str, name: str
) -> None:
    preset = PRESETS[name]
    arena = guest.initial_memory(program, ROOTS, la57=False).words[guest.ARENA]
    none = np.zeros(0, guest.CASE)
    judged = guest.run(program, tmp_path, f"{cpu},phys-bits={preset.pa_bits}", none, arena, la57=False)
    assert judged.config == replace(preset, pcid=False)
