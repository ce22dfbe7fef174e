from __future__ import annotations

import pytest

from unikiln.errors import MmuError
from unikiln.mmu.aarch64.fault import Fault, FaultKind
from unikiln.mmu.aarch64.status import (
    DATA_MEANINGS,
    FETCH_MEANINGS,
    STATUS_CODES,
    StatusKind,
    kind_of,
    status_code,
)

LINUX = {
    0x01: (StatusKind.ADDRESS_SIZE, 1),
    0x07: (StatusKind.TRANSLATION, 3),
    0x08: (StatusKind.ACCESS_FLAG, 0),
    0x0F: (StatusKind.PERMISSION, 3),
    0x10: (StatusKind.EXTERNAL, None),
    0x11: (StatusKind.TAG_CHECK, None),
    0x13: (StatusKind.EXTERNAL_ON_WALK, -1),
    0x16: (StatusKind.EXTERNAL_ON_WALK, 2),
    0x18: (StatusKind.PARITY, None),
    0x1B: (StatusKind.PARITY_ON_WALK, -1),
    0x1F: (StatusKind.PARITY_ON_WALK, 3),
    0x21: (StatusKind.ALIGNMENT, None),
    0x23: (StatusKind.GRANULE_PROTECTION_ON_WALK, -1),
    0x27: (StatusKind.GRANULE_PROTECTION_ON_WALK, 3),
    0x28: (StatusKind.GRANULE_PROTECTION, None),
    0x29: (StatusKind.ADDRESS_SIZE, -1),
    0x2B: (StatusKind.TRANSLATION, -1),
    0x30: (StatusKind.TLB_CONFLICT, None),
    0x31: (StatusKind.ATOMIC_UPDATE, None),
    0x34: (StatusKind.LOCKDOWN, None),
    0x35: (StatusKind.EXCLUSIVE, None),
}
"""Rows of fault_info[] in Linux's arch/arm64/mm/fault.c."""

LINUX_UNKNOWN = {*range(0x19, 0x1B), 0x20, *range(0x2D, 0x30), 0x32, 0x33, *range(0x36, 0x40)}
"""Its rows that say "unknown", or that tell of AArch32."""


@pytest.mark.parametrize("code", LINUX)
def test_codes_are_linuxs(code: int) -> None:
    status = STATUS_CODES[code]
    assert (status.kind, status.level) == LINUX[code]
    assert status_code(*LINUX[code]) == code


def test_all_other_codes_are_reserved() -> None:
    assert set(STATUS_CODES) == set(range(64)) - LINUX_UNKNOWN
    assert kind_of(0x20) is None


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0x00, "address size fault, level 0 or the table base register"),
        (0x07, "translation fault, level 3"),
        (0x0C, "permission fault, level 0 (FEAT_LPA2)"),
        (0x12, "synchronous external abort on a table walk, level -2 (FEAT_D128)"),
        (0x22, "granule protection fault on a table walk, level -2 (FEAT_D128, FEAT_RME)"),
        (0x2A, "translation fault, level -2 (FEAT_D128)"),
        (0x2C, "address size fault, level -2 (FEAT_D128)"),
        (0x31, "unsupported atomic hardware update fault (FEAT_HAFDBS)"),
    ],
)
def test_texts(code: int, text: str) -> None:
    assert DATA_MEANINGS[code] == text


def test_fetches_have_no_faults_of_data() -> None:
    assert set(DATA_MEANINGS) - set(FETCH_MEANINGS) == {0x11, 0x21, 0x34, 0x35}


def test_there_is_no_code_for_what_cannot_be() -> None:
    for kind, level in (
        (StatusKind.PERMISSION, -1),  # entries above level 0 are tables
        (StatusKind.ACCESS_FLAG, -2),
        (StatusKind.TRANSLATION, 4),
        (StatusKind.TRANSLATION, None),
        (StatusKind.ALIGNMENT, 3),
    ):
        with pytest.raises(MmuError, match="no status code"):
            status_code(kind, level)


@pytest.mark.parametrize("kind", FaultKind)
def test_the_walks_faults_have_these_codes(kind: FaultKind) -> None:
    named = {
        FaultKind.EXTERNAL_ON_WALK: StatusKind.EXTERNAL_ON_WALK,
        FaultKind.TLB_CONFLICT: StatusKind.TLB_CONFLICT,
        FaultKind.UNSUPPORTED_ATOMIC_UPDATE: StatusKind.ATOMIC_UPDATE,
    }
    other = named.get(kind) or StatusKind[kind.name]
    # Level -2 is of 128-bit descriptors, which are not walked here.
    levels = [row.level for row in STATUS_CODES.values() if row.kind is other and row.level != -2]
    assert levels
    for level in levels:
        fault = Fault(kind, 0 if level is None else level, 0x1000)
        assert fault.status_code == status_code(other, level)
