"""Loops that are sequential by nature: plain Python, or compiled by Numba where that is installed.

A kernel is written so that both understand it: lists and arrays by index, integers held to 64 bits by
hand. Compiling takes seconds, so it begins only after plain Python has spent one on the same kernel; what was
compiled once is kept on disk beside the module.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

_PATIENCE = 1.0
"""Seconds that plain Python may take before Numba is asked."""
_TYPES = {"B": np.uint8, "Q": np.uint64}
Result = TypeVar("Result")


class Kernel(Generic[Result]):
    """A function over arrays (``B`` bytes, ``Q`` 64-bit words) and whole numbers (``i``).

    ``layout`` has one letter for each argument. Arguments are given as bytes; what the function changes must
    be a ``bytearray``.
    """

    def __init__(self, function: Callable[..., Result], layout: str) -> None:
        self.function = function
        self.layout = layout
        self._spent = 0.0
        self._compiled: Callable[..., Result] | None = None
        self._given_up = False

    def __call__(self, *arguments: Any) -> Result:  # noqa: ANN401
        """Call the function, the way that is quicker by now."""
        if self._compiled is None and (self._given_up or self._spent < _PATIENCE):
            return self._plain(arguments)
        compiled = self._compiled or self._compile()
        return self._plain(arguments) if compiled is None else compiled(*self._arrays(arguments))

    def _plain(self, arguments: Sequence[Any]) -> Result:
        began = time.thread_time()
        try:
            return self.function(*(self._view(*pair) for pair in zip(self.layout, arguments, strict=True)))
        finally:
            self._spent += time.thread_time() - began

    @staticmethod
    def _view(letter: str, argument: Any) -> Any:  # noqa: ANN401
        if letter == "i" or (letter == "B" and isinstance(argument, bytes | bytearray)):
            return argument
        return memoryview(argument).cast("B").cast("Q") if letter == "Q" else bytes(argument)

    def _arrays(self, arguments: Sequence[Any]) -> list[Any]:
        pairs = zip(self.layout, arguments, strict=True)
        return [a if letter == "i" else np.frombuffer(a, dtype=_TYPES[letter]) for letter, a in pairs]

    def _compile(self) -> Callable[..., Result] | None:
        try:
            import numba
        except ImportError:
            self._given_up = True
            return None
        try:
            self._compiled = numba.njit(nogil=True, cache=True)(self.function)
        except RuntimeError:  # no folder in which what is compiled could be kept
            self._compiled = numba.njit(nogil=True)(self.function)
        return self._compiled
