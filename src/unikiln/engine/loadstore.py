"""The address that an A64 load or store accesses (Arm ARM C4.1, "Loads and Stores").

Needed for FAR_EL1: Unicorn's TLB hook tells the page of a faulting access and not the byte. Only the
address is decoded, from the base register and the kind of offset; what is transferred does not matter.
"""

from __future__ import annotations

from collections.abc import Mapping

MASK = (1 << 64) - 1


def effective_address(word: int, registers: Mapping[str, int]) -> int | None:
    """The first address that instruction ``word`` accesses with these registers; None if it is no access.

    Forms without offset (exclusives, atomics, SIMD structures, post-indexed), scaled and unscaled
    immediates, register offsets, pairs, literals, and ``dc zva``.
    """
    if word & 0xFFFFFFE0 == 0xD50B7420:
        return _x(registers, word & 31) & ~63
    if word & 0x0A000000 != 0x08000000:
        return None
    base = _base(registers, word >> 5 & 31)
    group = word >> 28 & 3
    if group == 0:
        return base
    if group == 1:
        return _literal(word, registers)
    if group == 2:
        return (base + _pair_offset(word)) & MASK
    return (base + _single_offset(word, registers)) & MASK


def _base(registers: Mapping[str, int], number: int) -> int:
    return registers["sp"] if number == 31 else registers[f"x{number}"]


def _x(registers: Mapping[str, int], number: int) -> int:
    return 0 if number == 31 else registers[f"x{number}"]


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> bits - 1 else value


def _literal(word: int, registers: Mapping[str, int]) -> int | None:
    if word >> 24 & 1:
        return _base(registers, word >> 5 & 31)
    return (registers["pc"] + 4 * _signed(word >> 5 & 0x7FFFF, 19)) & MASK


def _pair_offset(word: int) -> int:
    """Scaled signed seven bits, unless post-indexed (bits 24:23 = 01)."""
    if word >> 23 & 3 == 1:
        return 0
    size = word >> 30
    scale = 2 + size if word >> 26 & 1 else 3 if size == 2 else 2
    return _signed(word >> 15 & 0x7F, 7) << scale


def _single_offset(word: int, registers: Mapping[str, int]) -> int:
    scale = word >> 30
    if word >> 26 & 1 and word >> 23 & 1:
        scale = 4
    if word >> 24 & 1:
        return (word >> 10 & 0xFFF) << scale
    if word >> 21 & 1:
        return _register_offset(word, registers, scale) if word >> 10 & 3 == 2 else 0
    post_indexed = word >> 10 & 3 == 1
    return 0 if post_indexed else _signed(word >> 12 & 0x1FF, 9)


def _register_offset(word: int, registers: Mapping[str, int], scale: int) -> int:
    value, option = _x(registers, word >> 16 & 31), word >> 13 & 7
    if option == 2:
        value &= 0xFFFF_FFFF
    elif option == 6:
        value = _signed(value & 0xFFFF_FFFF, 32)
    return value << (scale if word >> 12 & 1 else 0)
