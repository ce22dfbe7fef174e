"""Named bit fields of a register value."""

from __future__ import annotations

from typing import Protocol


class _HasValue(Protocol):
    @property
    def value(self) -> int: ...


class Bits:
    """A field of a record with a ``value``: bits ``high`` to ``low``, or one bit."""

    def __init__(self, high: int, low: int | None = None) -> None:
        self.low = high if low is None else low
        self.mask = (1 << high - self.low + 1) - 1

    def __get__(self, register: _HasValue, owner: type) -> int:
        return register.value >> self.low & self.mask
