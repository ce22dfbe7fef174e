"""What goes into an image: a tree of nodes, made by a source and written by a file system's writer.

Names are bytes, as on disk. A hard link is one :class:`Node` reached by several names. File
content stays where it is until the writer reads it from :attr:`Node.source`.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from unikiln.base.source import Source

NO_XATTRS: dict[bytes, bytes] = {}
"""The attributes of nearly every node; shared to save memory, so never change it: replace it."""


@dataclass(slots=True, eq=False)
class Node:
    """A file, directory, link or special file; equal only to itself, so hard links stay one node.

    ``mode`` is the whole ``st_mode``; ``size`` and times are in bytes and in nanoseconds since 1970;
    ``rdev`` is the host's device number of a device node; ``target`` is what a symbolic link says;
    ``source`` is what holds a regular file's content: a host path, or a
    :class:`~unikiln.base.source.Content` (None: no bytes, or all a hole);
    ``link_key`` is the host's (device, inode) of a regular file with several names.
    """

    mode: int
    uid: int = 0
    gid: int = 0
    atime_ns: int = 0
    mtime_ns: int = 0
    ctime_ns: int = 0
    rdev: int = 0
    size: int = 0
    xattrs: dict[bytes, bytes] = field(default_factory=lambda: NO_XATTRS)
    target: bytes = b""
    source: Source = None
    link_key: tuple[int, int] | None = None
    children: dict[bytes, Node] = field(default_factory=dict)

    @property
    def is_directory(self) -> bool:
        """Whether this node has children rather than content."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        """Whether this is a regular file."""
        return stat.S_ISREG(self.mode)

    @property
    def is_symlink(self) -> bool:
        """Whether this is a symbolic link."""
        return stat.S_ISLNK(self.mode)


def directory(mode: int = 0o755, *, time_ns: int = 0) -> Node:
    """A new empty directory of root's, all of its times ``time_ns``."""
    return Node(stat.S_IFDIR | mode, atime_ns=time_ns, mtime_ns=time_ns, ctime_ns=time_ns)


def walk(root: Node) -> Iterator[tuple[bytes, Node]]:
    """Every (path, node) below ``root``, and ``root`` as ``b"/"``, parents first, a link once per name.

    Iterative, so depth is no limit; children come in the order in which the source added them.
    """
    yield b"/", root
    stack = [(b"/", iter(root.children.items()))]
    while stack:
        prefix, children = stack[-1]
        entry = next(children, None)
        if entry is None:
            stack.pop()
            continue
        name, node = entry
        path = prefix + name
        yield path, node
        if node.children:
            stack.append((path + b"/", iter(node.children.items())))


def totals(root: Node) -> tuple[int, int]:
    """Number of distinct nodes, and bytes of content, of which a hard link's count once."""
    seen: set[int] = set()
    count = size = 0
    for _, node in walk(root):
        if node.link_key is not None:
            if id(node) in seen:
                continue
            seen.add(id(node))
        count += 1
        size += node.size if node.is_file else 0
    return count, size
