"""Bit values as figures D8-14 to D8-16 of the Arm ARM draw them."""

from __future__ import annotations

import pytest

from unikiln.mmu.aarch64.descriptor import user_page
from unikiln.mmu.aarch64.entry import Descriptor, DescriptorKind

PAGE = 0x0060_0000_1234_5FC3


@pytest.mark.parametrize(
    ("value", "level", "kind"),
    [
        (0b00, 3, DescriptorKind.INVALID),
        (0b10, 3, DescriptorKind.INVALID),
        (0b01, 3, DescriptorKind.RESERVED),
        (0b11, 3, DescriptorKind.PAGE),
        (0b11, 0, DescriptorKind.TABLE),
        (0b11, 2, DescriptorKind.TABLE),
        (0b01, 0, DescriptorKind.RESERVED),
        (0b01, 1, DescriptorKind.BLOCK),
        (0b01, 2, DescriptorKind.BLOCK),
    ],
)
def test_the_low_bits_and_the_level_make_the_kind(value: int, level: int, kind: DescriptorKind) -> None:
    assert Descriptor(value, level).kind is kind


def test_a_user_page_has_the_bits_of_the_manual() -> None:
    entry = user_page(0x1234_5000, writable=True, executable=False, dirty=True)
    valid_page, normal, el0, inner, af, ng = 3, 4 << 2, 1 << 6, 3 << 8, 1 << 10, 1 << 11
    pxn, uxn, dirty = 1 << 53, 1 << 54, 1 << 55
    assert entry == 0x1234_5000 | valid_page | normal | el0 | inner | af | ng | pxn | uxn | dirty


def test_a_read_only_executable_page() -> None:
    entry = Descriptor(user_page(0x5000, writable=False, executable=True, dirty=False), 3)
    assert entry.value & 1 << 7
    assert entry.permissions == "r-x"
    assert entry.accessed
    assert not entry.dirty
    assert (entry.attr_index, entry.shareability, entry.output_address) == (4, 3, 0x5000)


def test_a_block_drops_the_address_bits_below_its_size() -> None:
    assert Descriptor(0x4020_1000 | 1, 2).output_address == 0x4020_0000
    assert Descriptor(0x7FFF_F000 | 1, 1).output_address == 0x4000_0000


def test_the_text_names_what_is_set() -> None:
    text = str(Descriptor(PAGE, 3))
    assert "page" in text
    assert "AF" in text
    assert "level 3" in text
