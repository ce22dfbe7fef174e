"""The memory that translation tables lie in: 64-bit words by index, one at a time or in bulk."""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.int64]


class TableMemory:
    """Guest memory as 64-bit words; a word's index is its physical address divided by eight.

    ``words`` is the NumPy view for work over many entries; ``word`` is a memoryview of the same bytes,
    because reading one element through NumPy costs three times as much.
    """

    __slots__ = ("_lock", "word", "words")

    def __init__(self, words: Words) -> None:
        self.words = words
        self.word = memoryview(words)  # type: ignore[arg-type]
        self._lock = threading.Lock()

    def compare_and_swap(self, index: int, expected: int, new: int) -> bool:
        """Write ``new`` if the word is still ``expected``; whether it was.

        Atomic against every agent that changes entries through this method. The embedded processor
        never writes entries itself: it has no hardware management of the access flag.
        """
        with self._lock:
            if self.word[index] != expected:
                return False
            self.word[index] = new
            return True
