"""Reserved bits, by level (SDM vol. 3, 4.5)."""

from __future__ import annotations

import pytest

from unikiln.mmu.x86 import entry as bits

HIGH_46 = 0x3F << 46


@pytest.mark.parametrize(
    ("level", "leaf", "reserved"),
    [
        (5, False, HIGH_46 | bits.PS),
        (4, False, HIGH_46 | bits.PS),
        (3, False, HIGH_46),
        (3, True, HIGH_46 | 0x3FFF_E000),
        (2, False, HIGH_46),
        (2, True, HIGH_46 | 0x1F_E000),
        (1, True, HIGH_46),
    ],
)
def test_each_level_has_its_reserved_bits(level: int, leaf: bool, reserved: int) -> None:
    assert bits.reserved_bits(level, leaf, pa_bits=46) == reserved
    assert bits.reserved_bits(level, leaf, pa_bits=46, nxe=False) == reserved | bits.XD
    assert bits.reserved_bits(level, leaf, pa_bits=52) == reserved & ~HIGH_46


def test_ps_is_reserved_without_1g_pages() -> None:
    assert bits.reserved_bits(3, False, pa_bits=52, pages_1g=False) == bits.PS
    assert bits.reserved_bits(2, False, pa_bits=52, pages_1g=False) == 0


def test_shifts() -> None:
    assert [bits.shift_of(level) for level in bits.LEVEL_NAMES] == [48, 39, 30, 21, 12]
