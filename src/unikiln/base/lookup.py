"""From a path to an inode, in any file system: links stay inside it, nothing leads above its root."""

from __future__ import annotations

import os
import stat
from typing import Protocol, Self, TypeVar

from unikiln.base.filesystem import Attributes
from unikiln.errors import NotADirectoryInPoolError, PathNotFoundError

_LINKS_MAX = 40
"""Symbolic links that one path may go through, as on Linux."""


class Node(Protocol):
    """What a path leads through."""

    @property
    def attributes(self) -> Attributes:
        """What ``stat`` tells."""

    def readlink(self) -> bytes:
        """The target of a symbolic link."""

    def lookup(self, name: bytes) -> Self | None:
        """The node called ``name`` in a directory, if there is one."""


N = TypeVar("N", bound=Node)


def find(root: N, path: bytes, where: str, *, follow: bool = True) -> N:
    """The inode at ``path`` below ``root``; ``follow`` says whether a last symbolic link is followed.

    Links in between always are; an absolute one starts at the root, and ``..`` never leads above it.

    :param where: the file system's name, for messages
    :raises PathNotFoundError: no such name, or too many links
    :raises NotADirectoryInPoolError: the path goes through something else
    """
    trail = [root]
    names = _names(path)
    names.reverse()
    followed = 0
    must_be_directory = path.endswith(b"/")
    while names:
        name = names.pop()
        here = _step(trail, name, path, where)
        if stat.S_ISLNK(here.attributes.mode) and (names or follow or must_be_directory):
            followed += 1
            trail.pop()
            if followed > _LINKS_MAX:
                raise PathNotFoundError(f"{os.fsdecode(path)}: too many levels of symbolic links")
            target = here.readlink()
            trail = trail[:1] if target.startswith(b"/") else trail
            names += reversed(_names(target))
    if must_be_directory and not _is_directory(trail[-1]):
        raise NotADirectoryInPoolError(f"{os.fsdecode(path)}: not a directory")
    return trail[-1]


def _step(trail: list[N], name: bytes, path: bytes, where: str) -> N:
    """Go from the end of ``trail`` to ``name``."""
    here = trail[-1]
    if not _is_directory(here):
        raise NotADirectoryInPoolError(
            f"{os.fsdecode(path)}: not a directory on the way to {os.fsdecode(name)}"
        )
    if name == b"..":
        del trail[max(1, len(trail) - 1) :]
        return trail[-1]
    found = here.lookup(name)
    if found is None:
        raise PathNotFoundError(f"{os.fsdecode(path)}: no such file or directory in {where}")
    trail.append(found)
    return found


def _is_directory(node: Node) -> bool:
    return stat.S_ISDIR(node.attributes.mode)


def _names(path: bytes) -> list[bytes]:
    return [name for name in path.split(b"/") if name not in (b"", b".")]
