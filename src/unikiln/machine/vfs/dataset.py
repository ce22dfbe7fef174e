"""The image's file system as nodes: read-only, so every lookup can be remembered."""

from __future__ import annotations

from collections.abc import Iterable

from unikiln.base.filesystem import FileSystem, Inode
from unikiln.machine.vfs.node import Entry, Node, Stat

DEVICE = 0x10
_REMEMBERED = 1 << 16


class DatasetNode(Node):
    """An inode of the image."""

    immutable = True

    def __init__(self, inode: Inode, mount: DatasetMount) -> None:
        self._inode = inode
        self._mount = mount
        self.number = inode.object
        attributes = inode.attributes
        self._size = attributes.size
        self._mode = attributes.mode
        self._stat: Stat | None = None

    @property
    def mode(self) -> int:
        """Type and permissions."""
        return self._mode

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self._size

    def stat(self) -> Stat:
        """What ``stat`` tells."""
        if self._stat is None:
            a = self._inode.attributes
            self._stat = Stat(
                DEVICE, self.number, a.mode, a.nlink, a.uid, a.gid, a.rdev, a.size,
                a.atime_ns, a.mtime_ns, a.ctime_ns,
            )  # fmt: skip
        return self._stat

    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes; short at the end."""
        return self._inode.read(offset, length) if self.is_regular else super().read(offset, length)

    def readlink(self) -> bytes:
        """The target of a symbolic link."""
        return self._inode.readlink() if self.is_link else super().readlink()

    def entries(self) -> Iterable[Entry]:
        """The names in a directory."""
        if not self.is_directory:
            return super().entries()
        return (Entry(each.name, each.object, each.type) for each in self._inode.entries())

    def lookup(self, name: bytes) -> Node | None:
        """The node that ``name`` stands for in this directory."""
        return self._mount.lookup(self._inode, name) if self.is_directory else super().lookup(name)

    def xattrs(self) -> dict[bytes, bytes]:
        """Extended attributes by full name."""
        return self._inode.xattrs()


class DatasetMount:
    """Makes the nodes, one an inode, and remembers lookups, misses too."""

    def __init__(self, filesystem: FileSystem) -> None:
        self._names: dict[tuple[int, bytes], DatasetNode | None] = {}
        self._nodes: dict[int, DatasetNode] = {}
        self.root = self._node(filesystem.root)

    def lookup(self, directory: Inode, name: bytes) -> DatasetNode | None:
        """The node called ``name`` in ``directory``."""
        key = (directory.object, name)
        if key not in self._names:
            if len(self._names) >= _REMEMBERED:
                self._names.clear()
                self._nodes.clear()
            inode = directory.lookup(name)
            self._names[key] = self._node(inode) if inode is not None else None
        return self._names[key]

    def _node(self, inode: Inode) -> DatasetNode:
        node = self._nodes.get(inode.object)
        if node is None:
            node = self._nodes[inode.object] = DatasetNode(inode, self)
        return node
