"""Putting a node at a path of a tree: parents are made, links on the way are followed inside it."""

from __future__ import annotations

import os

from unikiln.base.tree import Node, directory
from unikiln.errors import ManifestError

_MOST_LINKS = 40


def place(root: Node, path: bytes, node: Node, *, time_ns: int = 0) -> None:
    """Make ``node`` what ``path`` names; a directory that is there already keeps its children.

    Parents that are not there become directories of root's with mode 0755 and times ``time_ns``.

    :raises ManifestError: a parent is no directory, the path has ``..``, or its links are a loop
    """
    parts = _split(path)
    if not parts:
        _dress(root, node)
        return
    parent = _parent(root, parts, path, time_ns)
    name = parts[-1]
    present = parent.children.get(name)
    if present is not None and present.is_directory and node.is_directory:
        _dress(present, node)
    else:
        parent.children[name] = node


def _split(path: bytes) -> list[bytes]:
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise ManifestError(f"{os.fsdecode(path)} has '..' in it")
    return parts


def _dress(present: Node, new: Node) -> None:
    """Give the directory ``present`` all attributes of ``new``, and keep what is in it."""
    if not new.is_directory:
        raise ManifestError("the root can only be a directory")
    for name in ("mode", "uid", "gid", "atime_ns", "mtime_ns", "ctime_ns", "xattrs"):
        setattr(present, name, getattr(new, name))
    present.children.update(new.children)


def _parent(root: Node, parts: list[bytes], path: bytes, time_ns: int) -> Node:
    """The directory that holds the last of ``parts``; links lead inside the tree."""
    trail = [root]
    names = parts[-2::-1]
    links = 0
    while names:
        name = names.pop()
        if name == b"..":
            trail = trail[:-1] or [root]
            continue
        child = trail[-1].children.setdefault(name, directory(time_ns=time_ns))
        if child.is_symlink:
            links += 1
            if links > _MOST_LINKS:
                raise ManifestError(f"{os.fsdecode(path)} goes through a loop of symbolic links")
            trail = [root] if child.target.startswith(b"/") else trail
            names += [part for part in reversed(child.target.split(b"/")) if part not in (b"", b".")]
        elif child.is_directory:
            trail.append(child)
        else:
            raise ManifestError(
                f"{os.fsdecode(path)} goes through {os.fsdecode(name)}, which is no directory"
            )
    return trail[-1]
