"""Table memory that tells of every change to it."""

from __future__ import annotations

from collections.abc import Callable

from unikiln.mmu.memory import Indices, TableMemory, Words

Watcher = Callable[[int, int, int], None]
"""Called with the index of a word, its old and its new value, after the change."""


class WatchedMemory(TableMemory):
    """As :class:`~unikiln.mmu.memory.TableMemory`; ``watchers`` are called at every change of a word."""

    __slots__ = ("watchers",)

    def __init__(self, words: Words) -> None:
        super().__init__(words)
        self.watchers: list[Watcher] = []

    def store(self, index: int, value: int) -> None:
        """Write one word."""
        old: int = self.word[index]
        self.word[index] = value
        self._tell(index, old, value)

    def scatter(self, indices: Indices, values: Words) -> None:
        """Write many words."""
        before = self.words[indices].tolist()
        self.words[indices] = values
        for change in zip(indices.tolist(), before, values.tolist(), strict=True):
            self._tell(*change)

    def compare_and_swap(self, index: int, expected: int, new: int) -> bool:
        """Write ``new`` if the word is still ``expected``; whether it was."""
        done = super().compare_and_swap(index, expected, new)
        if done:
            self._tell(index, expected, new)
        return done

    def _tell(self, index: int, old: int, new: int) -> None:
        if old != new:
            for watcher in self.watchers:
                watcher(index, old, new)
