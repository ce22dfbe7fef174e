"""Places: a node and how one got there. They make ``..``, ``getcwd`` and mounts work."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field

from unikiln.machine.events import Errno
from unikiln.machine.vfs.node import Node

NAME_MAX = 255
PATH_MAX = 4096
MOST_LINKS = 40
"""As Linux: more symbolic links in one resolution are taken for a loop."""


@dataclass(frozen=True, slots=True)
class Place:
    """``node``, reached as ``name`` in ``parent``; the root is its own parent and has no name."""

    node: Node
    parent: Place | None = None
    name: bytes = b""

    @property
    def path(self) -> bytes:
        """The absolute path, without links."""
        names = []
        place: Place | None = self
        while place is not None and place.parent is not None:
            names.append(place.name)
            place = place.parent
        return b"/" + b"/".join(reversed(names))


@dataclass(slots=True)
class NameSpace:
    """A tree with other trees mounted on names of its root directory."""

    root: Place
    mounts: dict[bytes, Node] = field(default_factory=dict)

    def child(self, place: Place, name: bytes) -> Place | None:
        """The place called ``name`` in the directory at ``place``."""
        if not place.node.is_directory:
            raise Errno(errno.ENOTDIR)
        if len(name) > NAME_MAX:
            raise Errno(errno.ENAMETOOLONG)
        if name == b".":
            return place
        if name == b"..":
            return place.parent or place
        mounted = self.mounts.get(name) if place.parent is None else None
        node = mounted or place.node.lookup(name)
        return None if node is None else Place(node, place, name)

    def resolve(self, start: Place, path: bytes, *, follow: bool = True) -> Place:
        """The place that ``path`` names from ``start``.

        ``follow``: whether a symbolic link at the very end is followed.

        :raises Errno: ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG
        """
        parent, name = self.resolve_parent(start, path, follow=follow)
        place = self.child(parent, name)
        if place is None:
            raise Errno(errno.ENOENT)
        if path.endswith(b"/") and not place.node.is_directory:
            raise Errno(errno.ENOTDIR)
        return place

    def resolve_parent(self, start: Place, path: bytes, *, follow: bool = False) -> tuple[Place, bytes]:
        """The directory that holds the last name of ``path``, and that name, which may not exist yet."""
        if not path:
            raise Errno(errno.ENOENT)
        if len(path) >= PATH_MAX:
            raise Errno(errno.ENAMETOOLONG)
        at = self.root if path.startswith(b"/") else start
        names = [name for name in reversed(path.split(b"/")) if name] or [b"."]
        follow = follow or path.endswith(b"/")
        links = 0
        while True:
            name = names.pop()
            last = not names
            place = self.child(at, name)
            if place is not None and place.node.is_link and (follow or not last):
                links += 1
                if links > MOST_LINKS:
                    raise Errno(errno.ELOOP)
                target = place.node.readlink()
                at = self.root if target.startswith(b"/") else at
                names += [part for part in reversed(target.split(b"/")) if part] or [b"."]
            elif last:
                return at, name
            elif place is None:
                raise Errno(errno.ENOENT)
            else:
                at = place

    def entries(self, place: Place) -> list[tuple[bytes, int, int]]:
        """Everything in a directory as (name, number, type): ``.``, ``..``, names, mounts."""
        above = place.parent or place
        listed = [(b".", place.node.number, 4), (b"..", above.node.number, 4)]
        mounts = self.mounts if place.parent is None else {}
        listed += [entry for entry in place.node.entries() if entry.name not in mounts]
        return listed + [(name, node.number, node.mode >> 12) for name, node in mounts.items()]
