"""Fields of registers and descriptors: tables of them, and what decoders return for people and JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from unikiln.errors import MmuError


class Field(NamedTuple):
    """One decoded field: ``bits`` is ``"63:59"`` or ``"10"``, as manuals write it, ``meaning`` a phrase."""

    name: str
    bits: str
    value: int
    meaning: str


Meanings = Mapping[int, str] | Callable[[int], str] | str
"""What the values of a field mean: one phrase each (others are reserved), a function, or one for all."""


class Spec(NamedTuple):
    """Where a field lies and what it means; ``when`` tells of a register value whether the field is there."""

    name: str
    high: int
    low: int
    meanings: Meanings = ""
    when: Callable[[int], bool] | None = None

    @property
    def bits(self) -> str:
        """The position as manuals write it."""
        return bit_range(self.high, self.low)

    @property
    def mask(self) -> int:
        """The field's bits in the register."""
        return (1 << self.high + 1) - (1 << self.low)

    def is_in(self, value: int) -> bool:
        """Whether a register of this value has the field."""
        return self.when is None or self.when(value)

    def decode(self, value: int) -> Field:
        """The field as the register ``value`` has it."""
        own = (value & self.mask) >> self.low
        return Field(self.name, self.bits, own, self._meaning(own))

    def encode(self, own: int) -> int:
        """The bits of a register that hold ``own``.

        :raises MmuError: it does not fit, or is reserved
        """
        if not 0 <= own <= self.mask >> self.low:
            raise MmuError(f"{own:#x} does not fit {self.name}, bits {self.bits}")
        if self._meaning(own) == RESERVED:
            raise MmuError(f"{self.name} has no value {own:#x}")
        return own << self.low

    def _meaning(self, own: int) -> str:
        if isinstance(self.meanings, str):
            return self.meanings
        return self.meanings(own) if callable(self.meanings) else self.meanings.get(own, RESERVED)


RESERVED = "reserved"


def bit_range(high: int, low: int) -> str:
    """``"63:59"``, or ``"10"`` for one bit."""
    return str(high) if high == low else f"{high}:{low}"


def decode_all(specs: Iterable[Spec], value: int, *, of: int = (1 << 64) - 1) -> list[Field]:
    """The fields that ``value`` has, in the order of ``specs``; then set bits of ``of`` that are in none."""
    there = [spec for spec in specs if spec.is_in(value)]
    left = value & of
    for spec in there:
        left &= ~spec.mask
    return [*(spec.decode(value) for spec in there), *_strays(left)]


def _strays(left: int) -> list[Field]:
    """Set bits that ought to be 0, as runs."""
    strays = []
    while left:
        high = low = left.bit_length() - 1
        while low and left >> low - 1 & 1:
            low -= 1
        run = (1 << high + 1) - (1 << low)
        strays.append(Field("RES0", bit_range(high, low), (left & run) >> low, "reserved, yet not 0"))
        left &= ~run
    return strays


def encode_all(specs: Iterable[Spec], values: Mapping[str, int], base: int = 0) -> int:
    """The register with the fields ``values``, by name, beside the bits of ``base``.

    :raises MmuError: a field is unknown, does not fit, is reserved, or is not there beside the others
    """
    named: dict[str, list[Spec]] = {}
    for spec in specs:
        named.setdefault(spec.name, []).append(spec)
    unknown = [name for name in values if name not in named]
    if unknown:
        raise MmuError(f"there is no field {unknown[0]} here", hint=f"there are {', '.join(named)}")
    encoded = base
    for name, own in values.items():
        encoded |= named[name][0].encode(own)
    for name, own in values.items():
        if own and not any(spec.is_in(encoded) for spec in named[name]):
            raise MmuError(f"{name} has no meaning beside the other fields")
    return encoded
