"""Putting a node at a path of a tree: parents are made, links on the way are followed inside it.

A path's ``..`` is refused; a link's is not, and stops at the root, as it does in the guest.
"""

from __future__ import annotations

import os

from unikiln.base.tree import Node, directory
from unikiln.errors import ManifestError

_MOST_LINKS = 40
"""As many links as Linux follows before it calls them a loop."""

_Trail = list[Node]
"""Directories from the root to where one is, each in the one before."""


def place(root: Node, path: bytes, node: Node, *, time_ns: int = 0) -> None:
    """Make ``node`` what ``path`` names, and what is in it what is below that.

    A directory that is there already takes on the attributes of the new one, and keeps its children that
    the new one has not. A link that leads to a directory stays, and leads the new one's children there.
    Parents that are not there become directories of root's with mode 0755 and times ``time_ns``.

    :raises ManifestError: a parent is no directory, the path has ``..``, or its links are a loop
    """
    parts = split(path)
    if not parts:
        _merge([root], node)
        return
    walk = _Walk(root, path)
    trail = walk.descend([root], parts[:-1], make_ns=time_ns)
    _put(trail, parts[-1], node)


def find(root: Node, path: bytes) -> Node | None:
    """What ``path`` names, through links on the way, but not at its end; None if it is not there.

    :raises ManifestError: the path has ``..``, or its links are a loop
    """
    parts = split(path)
    if not parts:
        return root
    trail = _Walk(root, path).descend([root], parts[:-1])
    return trail[-1].children.get(parts[-1]) if trail else None


def split(path: bytes) -> list[bytes]:
    """The names in ``path``, which leads from the root whether it begins with a slash or not.

    :raises ManifestError: one of them is ``..``
    """
    parts = _names(path)
    if b".." in parts:
        raise ManifestError(f"{os.fsdecode(path)} has '..' in it")
    return parts


def _names(path: bytes) -> list[bytes]:
    return [part for part in path.split(b"/") if part not in (b"", b".")]


def _put(trail: _Trail, name: bytes, node: Node) -> None:
    """Make ``node`` the child ``name`` of the last in ``trail``, and merge what are directories both."""
    stack = [(trail, name, node)]
    while stack:
        trail, name, node = stack.pop()
        onto = _present(trail, name) if node.is_directory else []
        if not onto:
            trail[-1].children[name] = node
            continue
        if onto[-1] is trail[-1].children[name]:
            _dress(onto[-1], node)
        stack += [(onto, below, child) for below, child in reversed(node.children.items())]


def _merge(trail: _Trail, node: Node) -> None:
    if not node.is_directory:
        raise ManifestError("the root can only be a directory")
    _dress(trail[-1], node)
    for name, child in node.children.items():
        _put(trail, name, child)


def _present(trail: _Trail, name: bytes) -> _Trail:
    """The trail to the directory that ``name`` is already, or leads to; none if there is none."""
    present = trail[-1].children.get(name)
    if present is None:
        return []
    if present.is_directory:
        return [*trail, present]
    if not present.is_symlink:
        return []
    try:
        return _Walk(trail[0], name).descend(trail, [name])
    except ManifestError:  # links that are a loop lead nowhere
        return []


def _dress(present: Node, new: Node) -> None:
    """Give the directory ``present`` all attributes of ``new``, and keep what is in it."""
    for name in ("mode", "uid", "gid", "atime_ns", "mtime_ns", "ctime_ns", "xattrs"):
        setattr(present, name, getattr(new, name))


class _Walk:
    """One way down a tree, for the sake of ``path``."""

    def __init__(self, root: Node, path: bytes) -> None:
        self._root = root
        self._path = path
        self._links = 0

    def descend(self, trail: _Trail, parts: list[bytes], make_ns: int | None = None) -> _Trail:
        """The trail from ``trail`` down ``parts``, through links.

        Directories that are not there are made with times ``make_ns``; without it, the trail is empty then,
        and when what is on the way is no directory.
        """
        names = parts[::-1]
        trail = trail.copy()
        while names:
            name = names.pop()
            if name == b"..":
                del trail[max(len(trail) - 1, 1) :]
                continue
            child = trail[-1].children.get(name)
            if child is None and make_ns is not None:
                child = trail[-1].children[name] = directory(time_ns=make_ns)
            if child is None or not (child.is_directory or child.is_symlink):
                return self._stop(name, make_ns)
            if child.is_directory:
                trail.append(child)
                continue
            self._count_link()
            trail = [self._root] if child.target.startswith(b"/") else trail
            names += reversed(_names(child.target))
        return trail

    def _stop(self, name: bytes, make_ns: int | None) -> _Trail:
        if make_ns is None:
            return []
        raise ManifestError(
            f"{os.fsdecode(self._path)} goes through {os.fsdecode(name)}, which is no directory"
        )

    def _count_link(self) -> None:
        self._links += 1
        if self._links > _MOST_LINKS:
            raise ManifestError(f"{os.fsdecode(self._path)} goes through a loop of symbolic links")
