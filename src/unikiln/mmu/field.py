"""A field of a register or a descriptor, with its meaning: what decoders return, and people and JSON see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Field(NamedTuple):
    """One decoded field: ``bits`` is ``"63:59"`` or ``"10"``, as manuals write it, ``meaning`` a phrase."""

    name: str
    bits: str
    value: int
    meaning: str


class Spec(NamedTuple):
    """Where a field lies, and what its values mean; what :meth:`decode` turns into a :class:`Field`.

    ``meanings`` maps values to phrases, or is one phrase for all of them; ``{}`` in a phrase is the value.
    """

    name: str
    high: int
    low: int
    meanings: Mapping[int, str] | str = ""

    @property
    def bits(self) -> str:
        """The position as manuals write it."""
        return bit_range(self.high, self.low)

    def extract(self, value: int) -> int:
        """What ``value`` has in this field."""
        return value >> self.low & (1 << self.high - self.low + 1) - 1

    def decode(self, value: int) -> Field:
        """The field as ``value`` has it; a value without a meaning is ``reserved``."""
        own = self.extract(value)
        meaning = self.meanings if isinstance(self.meanings, str) else self.meanings.get(own, "reserved")
        return Field(self.name, self.bits, own, meaning.format(own))


def bit_range(high: int, low: int) -> str:
    """``"63:59"``, or ``"10"`` for one bit."""
    return str(high) if high == low else f"{high}:{low}"
