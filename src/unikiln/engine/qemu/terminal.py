"""The terminal while it is the guest's console: keys go to the guest as they are typed (termios(3))."""

from __future__ import annotations

import os
import termios
from collections.abc import Iterator
from contextlib import contextmanager

_IFLAG, _LFLAG, _CC = 0, 3, 6


@contextmanager
def raw_keys(descriptor: int, *, signals: bool) -> Iterator[None]:
    """Pass keys through while the block runs; the terminal is then what it was.

    ``signals``: Ctrl-C still interrupts us; all other keys are the guest's. Without a terminal, or with one
    that another job of the shell has now, nothing happens.
    """
    if not os.isatty(descriptor) or os.tcgetpgrp(descriptor) != os.getpgrp():
        yield
        return
    before = termios.tcgetattr(descriptor)
    try:
        termios.tcsetattr(descriptor, termios.TCSANOW, _raw(termios.tcgetattr(descriptor), signals))
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSANOW, before)


def _raw(attributes: list[int | list[bytes | int]], signals: bool) -> list[int | list[bytes | int]]:
    """As QEMU's own ``stdio`` sets a terminal, but for Ctrl-Z and Ctrl-backslash, which are always the
    guest's.
    """
    iflag, lflag, characters = attributes[_IFLAG], attributes[_LFLAG], attributes[_CC]
    assert isinstance(iflag, int) and isinstance(lflag, int) and isinstance(characters, list)
    translated = termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP
    translated |= termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON
    edited = termios.ECHO | termios.ECHONL | termios.ICANON | termios.IEXTEN
    attributes[_IFLAG] = iflag & ~translated
    attributes[_LFLAG] = lflag & ~edited & ~(0 if signals else termios.ISIG)
    disabled = os.pathconf("/", "PC_VDISABLE") if "PC_VDISABLE" in os.pathconf_names else 0
    characters[termios.VSUSP] = characters[termios.VQUIT] = bytes([disabled])
    characters[termios.VMIN], characters[termios.VTIME] = 1, 0
    return attributes
