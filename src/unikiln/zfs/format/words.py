"""Records that are nothing but 64-bit words, which is what most of the DSL's bonus buffers are."""

from __future__ import annotations

import struct
from dataclasses import astuple, dataclass, fields
from typing import ClassVar, Self

from unikiln.errors import CorruptError


@dataclass(slots=True)
class Words:
    """A dataclass whose fields are all ``uint64_t``, in order; ``SIZE`` pads with zeros.

    A subclass is a plain dataclass with integer fields; bytes beyond the fields are reserved.
    """

    SIZE: ClassVar[int] = 0

    def pack(self) -> bytes:
        """Little-endian bytes, ``SIZE`` long (or just the fields when ``SIZE`` is 0)."""
        values = astuple(self)
        return struct.pack(f"<{len(values)}Q", *values).ljust(self.SIZE, b"\0")

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """The record at the start of ``data``; a shorter buffer of an older version reads as zeros.

        :raises CorruptError: not a whole number of words
        """
        count = len(fields(cls))
        if len(data) % 8:
            raise CorruptError(f"a {cls.__name__} of {len(data)} bytes")
        head = data[: 8 * count].ljust(8 * count, b"\0")
        return cls(*struct.unpack(f"<{count}Q", head))


def first_word(data: bytes) -> int:
    """The 64-bit word that a buffer starts with, or 0 if it is shorter than that."""
    return int.from_bytes(data[:8], "little") if len(data) >= 8 else 0
