"""A ``-device`` of QEMU's, and how values are written in its ``key=value,...`` lists."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike, fspath

GENERIC = frozenset({"id", "bus"})
"""Properties that every device takes and none lists."""


def escaped(value: str | PathLike[str]) -> str:
    """A value in a list of QEMU's: a comma is written twice."""
    return fspath(value).replace(",", ",,")


def properties(**values: object) -> str:
    """``,key=value`` for each value that is not None; ``_`` in a key is a dash, True and False are on and
    off.
    """
    return "".join(
        f",{key.replace('_', '-')}={_text(value)}" for key, value in values.items() if value is not None
    )


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return escaped(value) if isinstance(value, str | PathLike) else str(value)


@dataclass(frozen=True, slots=True)
class Device:
    """``-device driver,key=value,...``"""

    driver: str
    values: tuple[tuple[str, object], ...] = ()

    @classmethod
    def of(cls, driver: str, **values: object) -> Device:
        """A device with these properties; those that are None are left out."""
        given = ((key.replace("_", "-"), value) for key, value in values.items() if value is not None)
        return cls(driver, tuple(given))

    @property
    def specific(self) -> frozenset[str]:
        """Names of the properties that this driver must know."""
        return frozenset(key for key, _ in self.values) - GENERIC

    def __str__(self) -> str:
        return self.driver + properties(**dict(self.values))
