"""Numbers as people paste them: ``0x9600014b``, ``2516582731``, ``0x9600_014b``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from unikiln.cli.output import warn
from unikiln.errors import MmuError, UsageError


def parse_number(text: str, *, what: str, bits: int = 64) -> int:
    """The number in ``text``: hexadecimal after ``0x``, else decimal; ``_`` may group digits.

    :param what: names it in the message
    :raises UsageError: it is no number, or has more than ``bits`` bits
    """
    try:
        value = int(text, 0)
    except ValueError:
        raise UsageError(f"{text!r} is no number for {what}", hint=_hint(text)) from None
    if not 0 <= value < 1 << bits:
        raise UsageError(f"{text} does not fit the {bits} bits of {what}")
    if text.isdigit() and len(text) in _REGISTER_DIGITS:
        warn(f"{text} was read as decimal; if it is hexadecimal, write 0x{text}")
    return value


_REGISTER_DIGITS = (8, 16)
"""Digits that kernels print of a register, sometimes without 0x: an oops may end in ``Oops: 96000047``."""


@contextmanager
def as_typed() -> Iterator[None]:
    """What :mod:`unikiln.mmu` refuses in here was typed so: make it an error of usage.

    :raises UsageError: instead of MmuError
    """
    try:
        yield
    except MmuError as error:
        raise UsageError(error.message, hint=error.hint) from error


def _hint(text: str) -> str:
    """What to type instead: bare hexadecimal digits are the usual mistake."""
    try:
        return f"hexadecimal starts with 0x: {int(text, 16):#x}"
    except ValueError:
        return "such as 0x9600014b or 2516582731"
