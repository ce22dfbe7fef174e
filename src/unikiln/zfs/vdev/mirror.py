"""Mirrors, and what is one while a disk is replaced or a spare serves: whole copies (vdev_mirror.c)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from unikiln.zfs.vdev.attempt import Attempt, Vdev, Verdict


class Mirror:
    """Each child holds every block."""

    def __init__(self, name: str, children: Sequence[Vdev]) -> None:
        self.name = name
        self.children = children

    @property
    def is_plain(self) -> bool:
        """Whether all children are."""
        return all(child.is_plain for child in self.children)

    def attempts(self, offset: int, size: int, birth: int) -> Iterator[Attempt]:
        """Each side's."""
        for child in self.children:
            yield from child.attempts(offset, size, birth)

    def problems(self, offset: int, size: int, birth: int, verdict: Verdict) -> Iterator[str]:
        """Each side's."""
        for child in self.children:
            yield from child.problems(offset, size, birth, verdict)
