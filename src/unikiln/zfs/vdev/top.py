"""Top-level virtual devices: what the first word of a data virtual address numbers.

This reads disks, files and mirrors of them; a block of a mirror is whole on each side
(vdev_mirror.c). The other kinds are refused by name, at the first block that lies on one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from unikiln.errors import UnsupportedError
from unikiln.zfs.format.nvlist import NvList
from unikiln.zfs.vdev.labels import number
from unikiln.zfs.vdev.leaf import Leaf

_LEAVES = ("disk", "file")
_MIRRORS = ("mirror", "replacing", "spare")
_MAX_DEPTH = 4


class TopVdev:
    """A top-level vdev; sizes in bytes. ``sides`` each hold every block."""

    def __init__(self, config: NvList, leaves: Mapping[int, Leaf]) -> None:
        self.config = config
        self.number = number(config, "id")
        self.type = str(config.get("type", "missing"))
        self.ashift = number(config, "ashift", 9)
        self.asize = number(config, "asize")
        self.is_log = bool(number(config, "is_log"))
        self.metaslab_array = number(config, "metaslab_array")
        self.metaslab_shift = number(config, "metaslab_shift")
        self.sides = [leaves[guid] for guid in leaf_guids(config) if guid in leaves]

    @property
    def metaslabs(self) -> int:
        """How many metaslabs it is divided into; what is left at the end is not used."""
        return self.asize >> self.metaslab_shift if self.metaslab_shift else 0

    @property
    def has_space(self) -> bool:
        """Whether blocks can be allocated from it (a hole or a missing device has none)."""
        return self.type in (*_LEAVES, *_MIRRORS, "raidz", "draid") and self.metaslab_array != 0

    def copies(self, offset: int, length: int) -> Iterator[tuple[Leaf, int]]:
        """(leaf, offset on it) of every whole copy of ``length`` bytes at DVA offset ``offset``.

        :raises UnsupportedError: a kind of vdev that does not hold whole copies
        """
        if self.type not in (*_LEAVES, *_MIRRORS):
            raise UnsupportedError(
                f"top-level vdev {self.number} is of type {self.type}, which cannot be read yet"
            )
        return ((side, offset) for side in self.sides)


def leaf_guids(config: object, depth: int = 0) -> list[int]:
    """GUIDs of the disks and files at the bottom of a vdev tree."""
    if not isinstance(config, dict) or depth > _MAX_DEPTH:
        return []
    children = config.get("children")
    if isinstance(children, list):
        return [guid for child in children for guid in leaf_guids(child, depth + 1)]
    return [number(config, "guid")] if config.get("type") in _LEAVES else []
