"""A whole tree into a file system: the master node, every file and directory, and who uses how much.

Object numbers are given out first, parents before children, so that every directory knows the
numbers of its entries when its turn comes, and dnodes leave in ascending order.
"""

from __future__ import annotations

import stat
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from unikiln.base.progress import Progress
from unikiln.base.tree import Node
from unikiln.zfs import ingest, znode
from unikiln.zfs.block_writer import Policy, Usage
from unikiln.zfs.format import dnode, fatzap, sa, zap
from unikiln.zfs.format.dmu import ObjectType
from unikiln.zfs.format.dnode import Dnode
from unikiln.zfs.format.objset import USERACCOUNTING_COMPLETE, ObjsetType
from unikiln.zfs.object_writer import Context, ObjsetWriter, Tree, levels_for, write_object

MASTER, SA_MASTER, UNLINKED, REGISTRY, ROOT = 1, 2, 3, 4, 5
ZPL_VERSION = 5
_FLAGS = dnode.USED_BYTES | dnode.USERUSED_ACCOUNTED


@dataclass(slots=True)
class _Numbered:
    """A node with its object number and its place in the tree; ``links`` grows as names are found."""

    node: Node
    object: int
    parent: int
    name: bytes
    links: int = 1


def number_nodes(root: Node) -> list[_Numbered]:
    """Every distinct node, in ascending order of object number, the root first."""
    top = _Numbered(root, ROOT, ROOT, b"/", links=2)
    found, by_node, level = [top], {id(root): top}, [top]
    while level:
        below: list[_Numbered] = []
        for parent in level:
            for name, node in parent.node.children.items():
                known = by_node.get(id(node))
                if known is not None:
                    known.links += 1
                    continue
                directory = node.is_directory
                entry = _Numbered(node, ROOT + len(found), parent.object, name, 2 if directory else 1)
                parent.links += directory
                found.append(entry)
                by_node[id(node)] = entry
                if directory:
                    below.append(entry)
        level = below
    return found


class ZplWriter:
    """Writes one file system (ZPL version 5, system attributes) into an object set."""

    def __init__(self, context: Context, data_policy: Policy, recordsize: int, random: Random) -> None:
        self._context = context
        self._data_policy = data_policy
        self._recordsize = recordsize
        self._random = random
        self._objset = ObjsetWriter(context)
        self._layouts = znode.Layouts()
        self._used: tuple[dict[int, int], dict[int, int]] = (defaultdict(int), defaultdict(int))
        self._numbers: dict[int, int] = {}
        self.large_blocks = False

    def write(self, root: Node, progress: Progress) -> bytes:
        """Write the tree; gives the packed pointer to the object set.

        :raises HostError: a source file cannot be read
        :raises NoSpaceError: the pool is full
        """
        nodes = number_nodes(root)
        self._numbers = {id(entry.node): entry.object for entry in nodes}
        self._write_master(layouts_object=ROOT + len(nodes))
        self._write_nodes(nodes, progress)
        self._put_zap_words(ObjectType.SA_ATTR_LAYOUTS, self._layouts.items())
        counts = [self._usage_object(used) for used in self._used]
        return self._objset.finish(ObjsetType.ZFS, USERACCOUNTING_COMPLETE, *counts)

    def _write_master(self, layouts_object: int) -> None:
        master = {
            b"normalization": 0, b"utf8only": 0, b"casesensitivity": 0, b"VERSION": ZPL_VERSION,
            b"SA_ATTRS": SA_MASTER, b"DELETE_QUEUE": UNLINKED, b"ROOT": ROOT,
        }  # fmt: skip
        self._put_zap(ObjectType.MASTER_NODE, master)
        self._put_zap(ObjectType.SA_MASTER_NODE, {b"REGISTRY": REGISTRY, b"LAYOUTS": layouts_object})
        self._put_zap(ObjectType.UNLINKED_SET, {})
        registry = {name.encode(): sa.encode_registration(each) for name, each in sa.ATTRIBUTES.items()}
        self._put_zap(ObjectType.SA_ATTR_REGISTRATION, registry)

    def _put_zap(self, kind: ObjectType, entries: dict[bytes, int]) -> None:
        blocks = fatzap.encode_words(entries, self._salt())
        self._objset.put(write_object(self._context, kind, blocks, flags=_FLAGS))

    def _put_zap_words(self, kind: ObjectType, items: Sequence[tuple[int, tuple[int, ...]]]) -> None:
        entries = [zap.Entry(str(number).encode(), attributes, 2) for number, attributes in items]
        blocks = fatzap.encode(entries, self._salt())
        self._objset.put(write_object(self._context, kind, blocks, flags=_FLAGS))

    def _salt(self) -> int:
        return self._random.getrandbits(64) | 1

    def _write_nodes(self, nodes: Sequence[_Numbered], progress: Progress) -> None:
        """All nodes in order, while threads read ahead what the regular files among them hold."""
        content = self._content(nodes)
        for entry in nodes:
            node = entry.node
            if node.is_directory:
                made = self._directory(entry)
            elif node.is_file and node.size:
                made = self._file(entry, content, progress)
            else:
                made = self._empty(entry)
            self._objset.put(made)
            progress.advance(1, 0)

    def _content(self, nodes: Sequence[_Numbered]) -> Iterator[ingest.Blocks]:
        files = (entry for entry in nodes if entry.node.is_file)
        requests = (ingest.Request(entry.object, entry.node.source, entry.node.size) for entry in files)
        return ingest.read_files(requests, self._recordsize, self._data_policy)

    def _file(self, entry: _Numbered, content: Iterator[ingest.Blocks], progress: Progress) -> Dnode:
        size = ingest.block_size(entry.node.size, self._recordsize)
        self.large_blocks |= size > 128 << 10
        blocks, usage = -(-entry.node.size // size), Usage()
        shift = self._context.indirect_shift
        levels = levels_for(blocks, 1, shift)
        tree = Tree(self._context, ObjectType.PLAIN_FILE_CONTENTS, levels, usage)
        place = self._context.writer.place
        for batch in content:
            for block in batch.blocks:
                if block is None:
                    tree.add_holes(1)
                else:
                    tree.add(place(block, ObjectType.PLAIN_FILE_CONTENTS, usage))
            tree.add_holes(batch.holes)
            progress.advance(0, batch.size)
            if batch.last:
                break
        made = Dnode(ObjectType.PLAIN_FILE_CONTENTS, size, shift, levels, max_block=blocks - 1)
        made.pointers = tree.finish()
        made.used = usage.used
        self._context.usage.add(usage)
        return self._with_attributes(made, entry, entry.node.size)

    def _empty(self, entry: _Numbered) -> Dnode:
        made = Dnode(ObjectType.PLAIN_FILE_CONTENTS, 512, self._context.indirect_shift)
        return self._with_attributes(made, entry, len(entry.node.target))

    def _directory(self, entry: _Numbered) -> Dnode:
        children = entry.node.children
        values = {name: _dirent(node, self._numbers[id(node)]) for name, node in children.items()}
        blocks = fatzap.encode_words(values, self._salt())
        made = write_object(
            self._context, ObjectType.DIRECTORY_CONTENTS, blocks, bonus_type=ObjectType.SA, flags=_FLAGS
        )
        return self._with_attributes(made, entry, len(children) + 2)

    def _with_attributes(self, made: Dnode, entry: _Numbered, size: int) -> Dnode:
        place = znode.Place(entry.parent, entry.links, size, self._context.writer.txg)
        bonus, spill = znode.encode(entry.node, place, self._layouts, entry.name)
        made.bonus_type, made.bonus, made.flags = ObjectType.SA, bonus, _FLAGS
        if spill is not None:
            usage = Usage()
            made.spill = self._context.place(spill, ObjectType.SA, usage)
            made.used += usage.used
            self._context.usage.add(usage)
        for used, who in zip(self._used, (entry.node.uid, entry.node.gid), strict=True):
            used[who] += dnode.SIZE + made.used
        return made

    def _usage_object(self, used: dict[int, int]) -> Dnode:
        """What every user, or group, takes: a ZAP by hexadecimal id (``do_userquota_update``)."""
        entries = {f"{who:x}".encode(): size for who, size in used.items()}
        return write_object(
            self._context, ObjectType.USERGROUP_USED, fatzap.encode_words(entries, self._salt())
        )


def _dirent(node: Node, number: int) -> int:
    """A directory entry's value: the type in the upper four bits (``ZFS_DIRENT_MAKE``)."""
    return stat.S_IFMT(node.mode) >> 12 << 60 | number
