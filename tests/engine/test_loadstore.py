"""Instruction words as GNU as encodes them."""

from __future__ import annotations

import pytest

from unikiln.engine.loadstore import effective_address

REGISTERS = {f"x{n}": 0x1000 * n for n in range(31)} | {"sp": 0x50000, "pc": 0x400000}


@pytest.mark.parametrize(
    ("word", "text", "address"),
    [
        (0xF9400C20, "ldr x0, [x1, #24]", 0x1018),
        (0x39400C20, "ldrb w0, [x1, #3]", 0x1003),
        (0x3DC00820, "ldr q0, [x1, #32]", 0x1020),
        (0xF85F8020, "ldur x0, [x1, #-8]", 0xFF8),
        (0xF8408420, "ldr x0, [x1], #8", 0x1000),
        (0xF8408C20, "ldr x0, [x1, #8]!", 0x1008),
        (0xF8627820, "ldr x0, [x1, x2, lsl #3]", 0x1000 + 0x2000 * 8),
        (0xB8624820, "ldr w0, [x1, w2, uxtw]", 0x3000),
        (0xA9BF7BFD, "stp x29, x30, [sp, #-16]!", 0x50000 - 16),
        (0xA8C17BFD, "ldp x29, x30, [sp], #16", 0x50000),
        (0xA9410440, "ldp x0, x1, [x2, #16]", 0x2010),
        (0xAD410440, "ldp q0, q1, [x2, #32]", 0x2020),
        (0x29410440, "ldp w0, w1, [x2, #8]", 0x2008),
        (0x58000100, "ldr x0, pc+32", 0x400020),
        (0xC85F7C20, "ldxr x0, [x1]", 0x1000),
        (0xC8DFFC20, "ldar x0, [x1]", 0x1000),
        (0xF8E00022, "ldaddal x0, x2, [x1]", 0x1000),
        (0x4C407020, "ld1 {v0.16b}, [x1]", 0x1000),
        (0xD50B7421, "dc zva, x1", 0x1000),
        (0x8B020020, "add x0, x1, x2", None),
        (0xD65F03C0, "ret", None),
    ],
)
def test_addresses(word: int, text: str, address: int | None) -> None:
    assert effective_address(word, REGISTERS) == address, text
