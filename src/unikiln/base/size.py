"""Sizes in bytes as people write them: ``128K``, ``1M``, ``1.5G``."""

from __future__ import annotations

import re

from unikiln.errors import UsageError

_SUFFIXES = "KMGTPE"


def parse_size(text: str) -> int:
    """Bytes that ``text`` names; suffixes are powers of 1024, with or without ``B`` or ``iB``.

    :raises UsageError: not a size
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGTPE]?)(?:i?B)?\s*", text, re.IGNORECASE)
    if match is None:
        raise UsageError(f"{text!r} is not a size", hint="write it like 512, 128K, 64M or 1.5G")
    exponent = _SUFFIXES.index(match[2].upper()) + 1 if match[2] else 0
    return int(float(match[1]) * 1024**exponent) if "." in match[1] else int(match[1]) << 10 * exponent


def format_size(count: float) -> str:
    """``count`` bytes in at most five characters and a binary suffix, as ``zfs list`` prints them."""
    for suffix in ("B", *_SUFFIXES):
        if abs(count) < 1024 or suffix == _SUFFIXES[-1]:
            break
        count /= 1024
    digits = 0 if suffix == "B" or count >= 100 or count == int(count) else 2 if count < 10 else 1
    return f"{count:.{digits}f}{suffix}"


def round_up(value: int, multiple: int) -> int:
    """The smallest multiple of ``multiple`` that is not below ``value``."""
    return -(-value // multiple) * multiple
