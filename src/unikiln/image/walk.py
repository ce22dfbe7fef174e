"""Walks over the files of an image, whatever the image says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from unikiln.base.filesystem import FileSystem, Inode
from unikiln.errors import CorruptError


@dataclass(frozen=True, slots=True)
class Visit:
    """One name below the top of a walk; ``names`` are those from the top (none: the top itself).

    ``last`` tells for each of ``names`` whether nothing follows it in its directory.
    """

    names: tuple[bytes, ...]
    inode: Inode
    last: tuple[bool, ...]

    @property
    def is_directory(self) -> bool:
        """Whether it has names in it."""
        return self.inode.attributes.mode >> 12 == 4


def walk(filesystem: FileSystem, top: Inode) -> Iterator[Visit]:
    """``top`` and all below it: parents first, names in order of their bytes.

    :raises CorruptError: a directory is met twice, so the walk might never end
    """
    seen: set[int] = set()
    stack = [iter([Visit((), top, ())])]
    while stack:
        visit = next(stack[-1], None)
        if visit is None:
            stack.pop()
            continue
        if visit.is_directory:
            _check_new(seen, visit)
        yield visit
        if visit.is_directory:
            stack.append(children(filesystem, visit))


def _check_new(seen: set[int], visit: Visit) -> None:
    if visit.inode.object in seen:
        path = b"/".join(visit.names).decode("utf-8", "backslashreplace")
        raise CorruptError(f"directory {path!r} is reached by two names")
    seen.add(visit.inode.object)


def children(filesystem: FileSystem, visit: Visit) -> Iterator[Visit]:
    """What is in a directory, by name; inodes are looked up as they are asked for, so many cost little."""
    entries = sorted(visit.inode.entries(), key=lambda entry: entry.name)
    for remaining, entry in zip(range(len(entries) - 1, -1, -1), entries, strict=True):
        inode = filesystem.inode(entry.object)
        yield Visit((*visit.names, entry.name), inode, (*visit.last, remaining == 0))
