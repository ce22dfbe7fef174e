"""The memory that translation tables lie in: 64-bit words, one at a time or in bulk."""

from __future__ import annotations

import threading
from typing import Protocol

import numpy as np
import numpy.typing as npt

from unikiln.errors import MmuError

Words = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.int64]
Levels = npt.NDArray[np.int8]
Mask = npt.NDArray[np.bool_]


class Memory(Protocol):
    """Physical memory that can be read: RAM of a machine, a dump, a live guest."""

    def load(self, pa: int) -> int:
        """The 64-bit word at ``pa``.

        :raises MmuError: there is no memory
        """

    def gather(self, addresses: Words) -> tuple[Words, Mask]:
        """The words at many addresses: their values (0 where there is no memory), and where there is."""


class TableMemory:
    """Memory from physical address 0 as 64-bit words; the index of a word is its address divided by eight.

    ``words`` is the NumPy view for work over many entries; ``word`` is a memoryview of the same bytes,
    because reading one element through NumPy costs three times as much. Entries change through
    :meth:`store`, :meth:`compare_and_swap` and :meth:`scatter` alone, so that who watches sees every change.
    """

    __slots__ = ("_lock", "word", "words")

    def __init__(self, words: Words) -> None:
        self.words = words
        self.word = memoryview(words)  # type: ignore[arg-type]
        self._lock = threading.Lock()

    def load(self, pa: int) -> int:
        """The word at ``pa``.

        :raises MmuError: there is no memory
        """
        if not 0 <= pa >> 3 < len(self.words):
            raise MmuError(f"no memory at {pa:#x}")
        value: int = self.word[pa >> 3]
        return value

    def gather(self, addresses: Words) -> tuple[Words, Mask]:
        """The words at many addresses: their values (0 where there is no memory), and where there is."""
        indices = addresses >> np.uint64(3)
        present = indices < np.uint64(len(self.words))
        if present.all():
            return self.words[indices], present
        values = np.zeros(len(addresses), dtype=np.uint64)
        values[present] = self.words[indices[present]]
        return values, present

    def store(self, index: int, value: int) -> None:
        """Write one word."""
        self.word[index] = value

    def scatter(self, indices: Indices, values: Words) -> None:
        """Write many words."""
        self.words[indices] = values

    def compare_and_swap(self, index: int, expected: int, new: int) -> bool:
        """Write ``new`` if the word is still ``expected``; whether it was.

        Atomic against every agent that changes entries through this method.
        """
        with self._lock:
            if self.word[index] != expected:
                return False
            self.word[index] = new
            return True
