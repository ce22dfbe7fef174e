"""CPUID bits as Intel's manual numbers them (SDM vol. 2, CPUID)."""

from __future__ import annotations

from dataclasses import fields

import pytest

from unikiln.mmu.x86.config import MAX, PRESETS, Config

NOTHING = Config(pa_bits=36, pages_1g=False, nx=False, smep=False, smap=False, pge=False, pcid=False)
ALL = (0xFFFF_FFFF,) * 5


def test_no_bits_are_no_features() -> None:
    assert Config.from_cpuid(0, 0, 0, 0, 0, 0) == NOTHING


def test_all_bits_are_all_features() -> None:
    assert Config.from_cpuid(*ALL, 0x3934) == MAX


@pytest.mark.parametrize(
    ("leaf", "bit", "feature"),
    [
        (0, 17, "pcid"),
        (1, 13, "pge"),
        (2, 7, "smep"),
        (2, 20, "smap"),
        (3, 3, "pku"),
        (3, 16, "la57"),
        (3, 31, "pks"),
        (4, 20, "nx"),
        (4, 26, "pages_1g"),
    ],
)
def test_each_feature_has_its_bit(leaf: int, bit: int, feature: str) -> None:
    leaves = [0] * 6
    leaves[leaf] = 1 << bit
    config = Config.from_cpuid(*leaves)
    assert [field.name for field in fields(Config) if getattr(config, field.name) is True] == [feature]


def test_the_address_width_is_the_low_byte() -> None:
    assert Config.from_cpuid(0, 0, 0, 0, 0, 0x3028).pa_bits == 40


def test_presets_have_addresses_that_paging_can_hold() -> None:
    assert all(36 <= config.pa_bits <= 52 for config in PRESETS.values())
    assert PRESETS["max"] is MAX
