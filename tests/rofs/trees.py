"""A small tree for the tests of ROFS and bootfs, and devices to write it to."""

from __future__ import annotations

import stat
from pathlib import Path

from unikiln.base.device import FileDevice
from unikiln.base.tree import Node, directory


def file(folder: Path, name: str, content: bytes) -> Node:
    """A regular file whose content is on the host."""
    path = folder / name
    path.write_bytes(content)
    return Node(stat.S_IFREG | 0o644, size=len(content), source=str(path))


def link(target: bytes) -> Node:
    return Node(stat.S_IFLNK | 0o777, target=target)


def folder(**children: Node) -> Node:
    made = directory()
    made.children = {name.encode(): child for name, child in children.items()}
    return made


def small(host: Path) -> Node:
    """``/a`` of 3 bytes, ``/d/b`` of 513, ``/d/l`` to ``../a``, and empty ``/d/none`` and ``/z``."""
    below = folder(b=file(host, "b", b"B" * 513), l=link(b"../a"), none=file(host, "none", b""))
    return folder(a=file(host, "a", b"abc"), d=below, z=directory())


def empty_device(path: Path) -> FileDevice:
    path.write_bytes(b"")
    return FileDevice(path, writable=True)
