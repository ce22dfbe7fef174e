"""Numbers as people paste them: ``0x9600014b``, ``2516582731``, ``0x9600_014b``."""

from __future__ import annotations

from unikiln.errors import UsageError


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
    return value


def _hint(text: str) -> str:
    """What to type instead: bare hexadecimal digits are the usual mistake."""
    try:
        return f"hexadecimal starts with 0x: {int(text, 16):#x}"
    except ValueError:
        return "such as 0x9600014b or 2516582731"
