from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import judges
from unikiln.mmu.aarch64.system_register import _names, system_register_name


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ((3, 0, 0, 0, 0), "MIDR_EL1"),
        ((3, 0, 0, 0, 5), "MPIDR_EL1"),
        ((3, 0, 0, 7, 1), "ID_AA64MMFR1_EL1"),
        ((3, 0, 1, 0, 0), "SCTLR_EL1"),
        ((3, 0, 2, 0, 2), "TCR_EL1"),
        ((3, 0, 5, 2, 0), "ESR_EL1"),
        ((3, 0, 6, 0, 0), "FAR_EL1"),
        ((3, 0, 7, 4, 0), "PAR_EL1"),
        ((3, 0, 10, 2, 0), "MAIR_EL1"),
        ((3, 0, 12, 12, 5), "ICC_SRE_EL1"),
        ((3, 3, 13, 0, 2), "TPIDR_EL0"),
        ((3, 3, 14, 0, 2), "CNTVCT_EL0"),
        ((3, 3, 9, 13, 0), "PMCCNTR_EL0"),
        ((3, 3, 14, 9, 2), "PMEVCNTR10_EL0"),
        ((3, 3, 14, 15, 7), "PMCCFILTR_EL0"),
        ((2, 0, 0, 5, 4), "DBGBVR5_EL1"),
        ((2, 0, 1, 0, 4), "OSLAR_EL1"),
        ((3, 4, 1, 1, 0), "HCR_EL2"),
        ((3, 5, 1, 0, 0), "SCTLR_EL12"),
        ((3, 5, 14, 2, 1), "CNTP_CTL_EL02"),
        ((3, 5, 14, 1, 0), "CNTKCTL_EL12"),
        ((1, 0, 7, 8, 0), "AT S1E1R"),
        ((1, 3, 7, 11, 1), "DC CVAU"),
        ((1, 3, 7, 5, 1), "IC IVAU"),
        ((1, 0, 9, 7, 1), "TLBI VAE1nXS"),
        ((1, 4, 8, 4, 1), "TLBI IPAS2E1"),
        ((0, 0, 4, 1, 4), "PAN, #1"),
        ((1, 2, 3, 4, 5), "SYS #2, C3, C4, #5"),
        ((3, 5, 4, 2, 0), "S3_5_C4_C2_0"),
    ],
)
def test_names(encoding: tuple[int, int, int, int, int], name: str) -> None:
    assert system_register_name(*encoding) == name


def test_one_name_is_of_one_encoding() -> None:
    names = list(_names().values())
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[A-Za-z0-9_]+( [A-Z0-9]+)?", name) for name in names)


@pytest.mark.judge("aarch64-linux-gnu-gcc")
def test_the_disassembler_knows_these_names(tmp_path: Path) -> None:
    """GNU objdump names the same register or instruction, wherever it names one."""
    encodings = list(_names())
    source = tmp_path / "words.s"
    source.write_text("".join(f".inst {_instruction(each):#010x}\n" for each in encodings))
    judges.run("aarch64-linux-gnu-gcc", "-c", "-o", tmp_path / "words.o", source)
    shown = judges.run("aarch64-linux-gnu-objdump", "-d", tmp_path / "words.o").stdout
    lines = re.findall(r"^ +[0-9a-f]+:\t[0-9a-f]{8} +\t(\w+)\t?([^/\n]*)", shown, re.MULTILINE)
    assert len(lines) == len(encodings)
    known = 0
    for encoding, (mnemonic, operands) in zip(encodings, lines, strict=True):
        theirs = _their_name(mnemonic, operands)
        if theirs is not None:
            known += 1
            assert theirs.upper() == system_register_name(*encoding).upper(), encoding
    assert known > 600


def _instruction(encoding: tuple[int, int, int, int, int]) -> int:
    """MRS X0 of a register, or the system instruction with XZR, which also stands for none."""
    op0, op1, crn, crm, op2 = encoding
    base = 0xD5300000 if op0 >= 2 else 0xD5080000
    register = 0 if op0 >= 2 else 31
    return base | (op0 & 1) << 19 | op1 << 16 | crn << 12 | crm << 8 | op2 << 5 | register


def _their_name(mnemonic: str, operands: str) -> str | None:
    """The name in what objdump printed, None if it had none."""
    words = [word.strip() for word in operands.split(",")]
    if mnemonic == "mrs":
        return None if re.match(r"s\d_\d_c", words[1]) else words[1]
    return f"{mnemonic} {words[0]}" if mnemonic in ("dc", "ic", "at", "tlbi") else None
