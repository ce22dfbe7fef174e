"""Archives made by hand, entry by entry, so that they can say anything."""

from __future__ import annotations

import io
import stat
from dataclasses import replace
from pathlib import Path

from unikiln.base.tree import Node, walk
from unikiln.image.cpio.gather import Spool, TreeReceiver
from unikiln.image.cpio.newc import Header, padding, trailer
from unikiln.image.cpio.receive import receive


def entry(header: Header, content: bytes = b"") -> bytes:
    """An entry whose header tells the truth about its size."""
    return replace(header, size=len(content)).pack() + content + padding(len(content))


def file(name: bytes, content: bytes = b"", *, mode: int = 0o644, inode: int = 0, nlink: int = 1) -> bytes:
    return entry(Header(name, stat.S_IFREG | mode, inode=inode, nlink=nlink), content)


def folder(name: bytes, mode: int = 0o755) -> bytes:
    return entry(Header(name, stat.S_IFDIR | mode))


def symlink(name: bytes, target: bytes) -> bytes:
    return entry(Header(name, stat.S_IFLNK | 0o777), target)


def archive(*entries: bytes) -> bytes:
    return b"".join(entries) + trailer()


def gathered(data: bytes, where: Path) -> Node:
    """The tree that ``data`` brings."""
    receiver = TreeReceiver(Spool(where))
    receive(io.BytesIO(data), receiver)
    return receiver.root


def listing(root: Node) -> dict[bytes, str]:
    """What is in a tree: each path and its mode as ``ls`` shows it."""
    return {path: stat.filemode(node.mode) for path, node in walk(root)}
