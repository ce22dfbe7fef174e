"""A file system as it is once its intent log is replayed, without writing anything (zfs_replay.c).

The records of the log change nodes that stand for the objects they are about; an inode that has such
a node answers from it, and from what is stored for the rest. Times are only those that the log
tells: a replay by OpenZFS sets the time of that replay where the log has none.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from unikiln.base.filesystem import NamedEntry as DirectoryEntry
from unikiln.errors import CorruptError
from unikiln.zfs.attributes import Attributes, host_device
from unikiln.zfs.filesystem import FileSystem, Inode
from unikiln.zfs.format import blkptr
from unikiln.zfs.format.dmu import ObjectType
from unikiln.zfs.format.dnode import Dnode
from unikiln.zfs.format.zil import Record, Tx, decode_create, nanoseconds, object_of
from unikiln.zfs.objset import DmuObject, ObjectSet
from unikiln.zfs.written import Source, Written

WRITE_HEAD = 192
"""Bytes of a write before its data (``lr_write_t``); one that is no longer refers to a block."""
_WRITE_POINTER = 64
_CLONE_POINTERS = 72
_SETATTR_NAMES = 48
_REMOVE_NAME = 40
_LINK_NAME = 48
_RENAME_NAMES = 48
_WHITEOUT_NAMES = 112
_ACL_DATA = 80
_ACL_V0_DATA = 48
_MODE, _UID, _GID, _SIZE, _ATIME, _MTIME = (1 << bit for bit in range(6))
"""Bits of ``lr_mask``, Linux's ``ATTR_*``."""
_IS_XATTR = 0x1
_END = 1 << 63
_NEW_BLOCK = 512
_OUT_OF_ORDER = frozenset(
    {Tx.WRITE, Tx.TRUNCATE, Tx.SETATTR, Tx.ACL_V0, Tx.ACL, Tx.WRITE2, Tx.SETSAXATTR, Tx.CLONE_RANGE}
)
"""Such records may be about files that are gone (``TX_OOO``)."""


@dataclass(slots=True)
class Node:
    """An object as the log leaves it: ``entries`` by name (None: gone) and ``xattrs`` are changes only.

    ``stored`` is False for an object that only the log knows; ``aces`` are (count, bytes) of its ACL.
    """

    attributes: Attributes
    stored: bool
    written: Written = field(default_factory=Written)
    entries: dict[bytes, DirectoryEntry | None] = field(default_factory=dict)
    xattrs: dict[bytes, bytes | None] = field(default_factory=dict)
    target: bytes | None = None
    aces: tuple[int, bytes] | None = None

    @property
    def is_directory(self) -> bool:
        """Whether it has entries."""
        return stat.S_ISDIR(self.attributes.mode)

    def touch(self, now: int) -> None:
        """Its content changed at ``now`` (in nanoseconds)."""
        self.attributes.mtime_ns = max(self.attributes.mtime_ns, now)
        self.attributes.ctime_ns = max(self.attributes.ctime_ns, now)


class ReplayedFileSystem(FileSystem):
    """A file system with the records of its log laid over it."""

    def __init__(self, objset: ObjectSet, records: Iterable[Record]) -> None:
        super().__init__(objset)
        self.nodes: dict[int, Node] = {}
        self._gone: set[int] = set()
        try:
            for record in records:
                self._replay(record)
        except CorruptError as error:
            raise CorruptError(
                f"{self.name}: its intent log cannot be replayed: {error.message}",
                hint="look without it, by open_pool(..., zil=False)",
            ) from error

    def inode(self, number: int) -> Inode:
        """The inode that is object ``number``.

        :raises CorruptError: there is none
        """
        node = self.nodes.get(number)
        if node is None:
            if number in self._gone:
                raise CorruptError(f"{self.name}: object {number} is gone by the intent log")
            return super().inode(number)
        return ReplayedInode(self, self._object(number, node), node)

    def _object(self, number: int, node: Node) -> DmuObject:
        if node.stored:
            return self.objset.object(number)
        empty = Dnode(ObjectType.PLAIN_FILE_CONTENTS, _NEW_BLOCK)
        return DmuObject(self.objset.reader, number, empty)

    def _replay(self, record: Record) -> None:
        step = _STEPS.get(record.type)
        if step is None:
            return
        if record.type in _OUT_OF_ORDER and not self._exists(object_of(record.words(1)[0])):
            return
        step(self, record)

    def _exists(self, number: int) -> bool:
        try:
            self.node(number)
        except CorruptError:
            return False
        return True

    def node(self, number: int) -> Node:
        """The node of object ``number``, from what is stored if the log did not change it yet.

        :raises CorruptError: there is no such object
        """
        found = self.nodes.get(number)
        if found is None:
            found = self.nodes[number] = Node(replace(self.inode(number).attributes), stored=True)
        return found

    # Names

    def _entry(self, directory: int, name: bytes) -> DirectoryEntry | None:
        self.node(directory)
        return self.inode(directory).find(name)

    def _link(self, directory: int, name: bytes, number: int) -> None:
        """Give object ``number`` another name; its links are counted by the caller."""
        parent, child = self.node(directory), self.node(number)
        parent.entries[name] = DirectoryEntry(name, number, child.attributes.mode >> 12)
        parent.attributes.size += 1
        parent.attributes.nlink += child.is_directory
        child.attributes.parent = directory

    def _unlink(self, directory: int, entry: DirectoryEntry) -> None:
        """Take a name away; the object stays."""
        parent = self.node(directory)
        parent.entries[entry.name] = None
        parent.attributes.size -= 1
        parent.attributes.nlink -= self.node(entry.object).is_directory

    def _drop(self, directory: int, name: bytes) -> None:
        """Take a name away, and the object with its last one."""
        entry = self._entry(directory, name)
        if entry is None:
            return
        self._unlink(directory, entry)
        node = self.node(entry.object)
        node.attributes.nlink -= 1
        if node.is_directory or node.attributes.nlink <= 0:
            del self.nodes[entry.object]
            self._gone.add(entry.object)

    def _create(self, record: Record) -> None:
        made = decode_create(record)
        directory = stat.S_ISDIR(made.mode) or record.type == Tx.MKXATTR
        attributes = Attributes(
            made.object, made.mode, made.uid & 0xFFFFFFFF, made.gid & 0xFFFFFFFF,
            size=2 if directory else len(made.target), nlink=2 if directory else 1,
            rdev=host_device(made.rdev), parent=made.directory, gen=made.gen, flags=0,
            atime_ns=made.created_ns, mtime_ns=made.created_ns, ctime_ns=made.created_ns,
            crtime_ns=made.created_ns, block_size=_NEW_BLOCK, blocks=1,
        )  # fmt: skip
        parent = self.node(made.directory)
        self._gone.discard(made.object)
        self.nodes[made.object] = Node(attributes, stored=False, target=made.target or None, aces=made.aces)
        if record.type == Tx.MKXATTR:
            attributes.flags |= _IS_XATTR
            parent.attributes.xattr_object = made.object
            return
        attributes.flags |= parent.attributes.flags & _IS_XATTR
        self._link(made.directory, made.name, made.object)
        parent.touch(made.created_ns)

    def _remove(self, record: Record) -> None:
        (directory,) = record.words(1)
        self._drop(directory, record.names(1, _REMOVE_NAME)[0])

    def _add_link(self, record: Record) -> None:
        directory, number = record.words(2)
        self.node(number).attributes.nlink += 1
        self._link(directory, record.names(1, _LINK_NAME)[0], number)

    def _rename(self, record: Record) -> None:
        source, target = record.words(2)
        old, new = record.names(2, _WHITEOUT_NAMES if record.type == Tx.RENAME_WHITEOUT else _RENAME_NAMES)
        self._move(source, old, target, new)
        if record.type == Tx.RENAME_WHITEOUT:
            self._white_out(record, source, old)

    def _move(self, source: int, old: bytes, target: int, new: bytes) -> None:
        entry, there = self._entry(source, old), self._entry(target, new)
        if entry is None:
            raise CorruptError(f"it renames {old!r}, which is not there")
        if there is not None and there.object == entry.object and there.name != entry.name:
            self._drop(source, old)
            return
        if there is not None and there.object != entry.object:
            self._drop(target, new)
        self._unlink(source, entry)
        self._link(target, new, entry.object)

    def _white_out(self, record: Record, directory: int, name: bytes) -> None:
        """Leave a character device 0:0 where a name was, which hides what an overlay has below."""
        number, mode, uid, gid, gen, seconds, rest, rdev = record.words(8, _RENAME_NAMES)
        now = nanoseconds(seconds, rest)
        self.nodes[object_of(number)] = Node(
            Attributes(
                object_of(number), mode, uid, gid, 0, 1, host_device(rdev), directory, gen, 0,
                now, now, now, now, _NEW_BLOCK, 1,
            ),
            stored=False,
        )  # fmt: skip
        self._link(directory, name, object_of(number))

    def _exchange(self, record: Record) -> None:
        source, target = record.words(2)
        old, new = record.names(2, _RENAME_NAMES)
        one, other = self._entry(source, old), self._entry(target, new)
        if one is None or other is None:
            raise CorruptError(f"it exchanges {old!r} and {new!r}, which are not there")
        self._unlink(source, one)
        self._unlink(target, other)
        self._link(source, one.name, other.object)
        self._link(target, other.name, one.object)

    # Contents and attributes

    def _write(self, record: Record) -> None:
        number, offset, length = record.words(3)
        node = self.node(object_of(number))
        end = offset + length
        if len(record.data) == WRITE_HEAD:
            offset, length, source = block_of(self.objset, record)
            # OpenZFS writes the whole block, and ends the file with it if the write was within the file.
            end = end if node.attributes.size < end else offset + length
        else:
            source = data_of(record, length)
        node.written.write(offset, length, source)
        node.attributes.size = max(node.attributes.size, end)

    def _extend(self, record: Record) -> None:
        number, offset, length = record.words(3)
        attributes = self.node(object_of(number)).attributes
        attributes.size = max(attributes.size, offset + length)

    def _truncate(self, record: Record) -> None:
        number, offset, length = record.words(3)
        self._free(self.node(object_of(number)), offset, length)

    def _free(self, node: Node, offset: int, length: int) -> None:
        """Make a hole, or set the size when there is no ``length`` (``zfs_freesp``)."""
        node.written.write(offset, length or _END - offset, None)
        size = node.attributes.size
        node.attributes.size = max(size, offset + length) if length else offset

    def _set_attributes(self, record: Record) -> None:
        number, mask, mode, uid, gid, size, *times = record.words(10)
        node = self.node(object_of(number))
        found = node.attributes
        if mask & _SIZE:
            self._free(node, size, 0)
        if mask & _MODE:
            found.mode = stat.S_IFMT(found.mode) | mode & 0o7777
        found.uid = uid & 0xFFFFFFFF if mask & _UID else found.uid
        found.gid = gid & 0xFFFFFFFF if mask & _GID else found.gid
        found.atime_ns = nanoseconds(times[0], times[1]) if mask & _ATIME else found.atime_ns
        found.mtime_ns = nanoseconds(times[2], times[3]) if mask & (_MTIME | _SIZE) else found.mtime_ns

    def _set_xattr(self, record: Record) -> None:
        number, size = record.words(2)
        (name,) = record.names(1, _SETATTR_NAMES)
        start = _SETATTR_NAMES + len(name) + 1
        value = record.data[start : start + size]
        self.node(object_of(number)).xattrs[name] = value if size else None

    def _set_acl(self, record: Record) -> None:
        number, count, _, _, length, _ = record.words(6)
        self.node(object_of(number)).aces = count, record.data[_ACL_DATA : _ACL_DATA + length]

    def _clone(self, record: Record) -> None:
        number, offset, length = record.words(3)
        node = self.node(object_of(number))
        for piece in cloned(self.objset, record):
            node.written.write(*piece)
        node.attributes.size = max(node.attributes.size, offset + length)


def data_of(record: Record, length: int) -> Source:
    """The bytes that came with a write."""
    data = record.data[WRITE_HEAD : WRITE_HEAD + length]
    return lambda: data


def block_of(objset: ObjectSet, record: Record) -> tuple[int, int, Source | None]:
    """(offset, length, source) of a write whose data is a block of its own; always the whole block."""
    _, offset, length = record.words(3)
    pointer = blkptr.unpack(record.data, _WRITE_POINTER)
    if length < pointer.lsize:
        offset, length = offset - offset % pointer.lsize, pointer.lsize
    if pointer.is_hole:
        return offset, length, None
    return offset, length, lambda: objset.reader.read(pointer)


def cloned(objset: ObjectSet, record: Record) -> Iterator[tuple[int, int, Source | None]]:
    """(offset, length, source) of each block of a range that was cloned."""
    _, offset, length, block_size, count = record.words(5)
    if _CLONE_POINTERS + count * blkptr.SIZE > len(record.data):
        raise CorruptError(f"it clones {count} blocks and lists fewer")
    for index in range(count):
        pointer = blkptr.unpack(record.data, _CLONE_POINTERS + index * blkptr.SIZE)
        start = index * block_size
        if start < length:
            source: Source | None = None
            if not pointer.is_hole:
                source = lambda pointer=pointer: objset.reader.read(pointer)  # noqa: E731
            yield offset + start, min(block_size, length - start), source


def replay_volume(objset: ObjectSet, records: Iterable[Record]) -> Written:
    """What the log of a volume writes over its blocks (zvol.c)."""
    written = Written()
    for record in records:
        if record.type == Tx.WRITE and len(record.data) == WRITE_HEAD:
            written.write(*block_of(objset, record))
        elif record.type == Tx.WRITE:
            _, offset, length = record.words(3)
            written.write(offset, length, data_of(record, length))
        elif record.type == Tx.TRUNCATE:
            _, offset, length = record.words(3)
            written.write(offset, length, None)
        elif record.type == Tx.CLONE_RANGE:
            for piece in cloned(objset, record):
                written.write(*piece)
    return written


_Step = Callable[[ReplayedFileSystem, Record], None]
_F = ReplayedFileSystem
_STEPS: Mapping[int, _Step] = {
    **dict.fromkeys(
        (
            Tx.CREATE, Tx.MKDIR, Tx.MKXATTR, Tx.SYMLINK, Tx.CREATE_ACL, Tx.CREATE_ATTR, Tx.CREATE_ACL_ATTR,
            Tx.MKDIR_ACL, Tx.MKDIR_ATTR, Tx.MKDIR_ACL_ATTR,
        ),
        _F._create,
    ),
    Tx.REMOVE: _F._remove,
    Tx.RMDIR: _F._remove,
    Tx.LINK: _F._add_link,
    Tx.RENAME: _F._rename,
    Tx.RENAME_WHITEOUT: _F._rename,
    Tx.RENAME_EXCHANGE: _F._exchange,
    Tx.WRITE: _F._write,
    Tx.WRITE2: _F._extend,
    Tx.TRUNCATE: _F._truncate,
    Tx.SETATTR: _F._set_attributes,
    Tx.SETSAXATTR: _F._set_xattr,
    Tx.ACL: _F._set_acl,
    Tx.CLONE_RANGE: _F._clone,
}  # fmt: skip


class ReplayedInode(Inode):
    """An inode that the log changed or made."""

    def __init__(self, filesystem: FileSystem, obj: DmuObject, node: Node) -> None:
        super().__init__(filesystem, obj)
        self.node = node

    @property
    def attributes(self) -> Attributes:
        """What ``stat`` tells, and more."""
        return self.node.attributes

    def _stored_bytes(self, offset: int, length: int) -> bytes:
        return self.node.written.over(super()._stored_bytes(offset, length), offset)

    def readlink(self) -> bytes:
        """The target of a symbolic link."""
        return super().readlink() if self.node.target is None else self.node.target

    def entries(self) -> Iterator[DirectoryEntry]:
        """The names in a directory, in no particular order, without ``.`` and ``..``."""
        self._require_directory()
        changed = self.node.entries
        if self.node.stored:
            yield from (entry for entry in super().entries() if entry.name not in changed)
        yield from (entry for entry in changed.values() if entry is not None)

    def find(self, name: bytes) -> DirectoryEntry | None:
        """The entry that ``name`` leads to, under the name that it is stored with."""
        rule = self.filesystem.name_rule
        if rule is not None:
            key = rule.key(name)
            return next((entry for entry in self.entries() if rule.key(entry.name) == key), None)
        self._require_directory()
        if name in self.node.entries:
            return self.node.entries[name]
        return super().find(name) if self.node.stored else None

    def xattrs(self) -> dict[bytes, bytes]:
        """Extended attributes by full name."""
        found = super().xattrs()
        for name, value in self.node.xattrs.items():
            if value is None:
                found.pop(name, None)
            else:
                found[name] = value
        return found

    def data_ranges(self) -> Iterator[tuple[int, int]]:
        """(offset, length) of what is not a hole, in order, neighbours joined, within the file's size."""
        yield from self.node.written.ranges(super().data_ranges(), self.attributes.size)
