"""Translation granules: how many bits each level of a walk resolves (Arm ARM D5.2, "translation granule")."""

from __future__ import annotations

from dataclasses import dataclass

LAST_LEVEL = 3


@dataclass(frozen=True, slots=True)
class Granule:
    """A granule of ``1 << shift`` bytes; a table is one granule of 64-bit descriptors.

    ``steps`` holds (level, shift) of every level of the walk, from the first to level 3: the walk
    iterates over it, so another granule is another value and no other code.
    """

    shift: int
    first_level: int
    block_levels: frozenset[int]
    index_mask: int
    page_mask: int
    steps: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, shift: int, first_level: int, block_levels: frozenset[int]) -> Granule:
        """The granule with its derived masks and shifts."""
        bits = shift - 3
        steps = tuple(
            (level, shift + (LAST_LEVEL - level) * bits) for level in range(first_level, LAST_LEVEL + 1)
        )
        return cls(shift, first_level, block_levels, (1 << bits) - 1, (1 << shift) - 1, steps)

    def size(self, level: int) -> int:
        """Bytes that one entry at ``level`` maps: 4 KiB, 2 MiB, 1 GiB, 512 GiB for the 4 KiB granule."""
        return 1 << self.steps[level - self.first_level][1]


GRANULE_4K = Granule.of(12, 0, frozenset({1, 2}))
"""Blocks of 1 GiB at level 1 and 2 MiB at level 2; a level-0 block is reserved without FEAT_LPA2."""

PAGE_SIZE = 1 << GRANULE_4K.shift
PAGE_MASK = GRANULE_4K.page_mask
VA_BITS = 48
