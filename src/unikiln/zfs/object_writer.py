"""Objects and object sets, written in order: blocks become indirect trees, dnodes become the meta-dnode."""

from __future__ import annotations

from collections.abc import Sequence

from unikiln.zfs.block_writer import BlockWriter, Policy, Usage, encode
from unikiln.zfs.format import blkptr, dnode
from unikiln.zfs.format.blkptr import HOLE
from unikiln.zfs.format.dmu import ObjectType
from unikiln.zfs.format.dnode import Dnode
from unikiln.zfs.format.objset import Objset, ObjsetType

_MAX_OBJECT_SHIFT = 48
"""log2 of the number of objects that an object set can have (``DN_MAX_OBJECT_SHIFT``)."""


def levels_for(blocks: int, pointers: int, indirect_shift: int) -> int:
    """Levels of the tree of an object of ``blocks`` blocks whose dnode has ``pointers`` pointers."""
    levels, reach = 1, pointers
    while reach < blocks:
        levels, reach = levels + 1, reach << indirect_shift - 7
    return levels


def meta_levels(indirect_shift: int) -> int:
    """Levels of a file system's meta-dnode, enough for every object number (``dmu_objset_create_impl``)."""
    return levels_for((1 << _MAX_OBJECT_SHIFT) // dnode.PER_BLOCK, 3, indirect_shift)


def pointer_count(bonus_length: int) -> int:
    """Block pointers in a dnode with so long a bonus (``dnode_allocate``)."""
    return 1 + min((dnode.MAX_BONUS - bonus_length) >> 7, 2)


class Context:
    """What all objects of one object set share: the writer, the space used, their redundancy and shape.

    Indirect blocks have ``1 << indirect_shift`` bytes.
    """

    def __init__(
        self, writer: BlockWriter, policy: Policy, copies: int, indirect_shift: int = dnode.INDIRECT_SHIFT
    ) -> None:
        self.writer = writer
        self.policy = policy
        self.copies = copies
        self.indirect_shift = indirect_shift
        self.usage = Usage()

    def place(self, data: bytes, kind: int, usage: Usage, *, level: int = 0, fill: int = 1) -> bytes:
        """Write a metadata block with its copies; zeros become a hole."""
        policy = (
            self.policy if level == 0 and kind not in _NEVER_EMBEDDED else _without_embedding(self.policy)
        )
        block = encode(data, policy)
        if block is None:
            return HOLE
        return self.writer.place(block, kind, usage, level=level, fill=fill, copies=self.copies)


_NEVER_EMBEDDED = (ObjectType.DNODE, ObjectType.OBJSET)


def _without_embedding(policy: Policy) -> Policy:
    return Policy(policy.compress, policy.ashift)


class Tree:
    """The indirect blocks above one object's blocks, which are added in order.

    No more than one unfinished indirect block a level is held; one of holes only is not written.
    """

    def __init__(self, context: Context, kind: int, levels: int, usage: Usage, pointers: int = 1) -> None:
        self._context = context
        self._kind = kind
        self._usage = usage
        self._pending = [bytearray() for _ in range(levels)]
        self._fills = [0] * levels
        self._top = levels - 1
        self._fan_out = 1 << context.indirect_shift - 7
        self._pointers = pointers

    def add(self, pointer: bytes, fill: int = 1, level: int = 0) -> None:
        """The next pointer at ``level`` of the tree: the next block of the object, for level 0."""
        self._pending[level] += pointer
        self._fills[level] += fill
        if level < self._top and len(self._pending[level]) == self._fan_out * blkptr.SIZE:
            self._close(level)

    def add_holes(self, count: int, level: int = 0) -> None:
        """``count`` blocks that were never written; whole indirect blocks of them cost nothing."""
        while count:
            room = self._fan_out - len(self._pending[level]) // blkptr.SIZE
            if level < self._top and room == self._fan_out and count >= self._fan_out:
                self.add_holes(count // self._fan_out, level + 1)
                count %= self._fan_out
                continue
            step = min(count, room) if level < self._top else count
            self._pending[level] += HOLE * step
            count -= step
            if level < self._top and step == room:
                self._close(level)

    def _close(self, level: int) -> None:
        block = bytes(self._pending[level]).ljust(self._fan_out * blkptr.SIZE, b"\0")
        fill = self._fills[level]
        self._pending[level] = bytearray()
        self._fills[level] = 0
        pointer = self._context.place(block, self._kind, self._usage, level=level + 1, fill=fill)
        self.add(pointer, fill, level + 1)

    def finish(self) -> tuple[bytes, ...]:
        """Write the unfinished indirect blocks and give the dnode's own pointers."""
        for level in range(self._top):
            if self._pending[level]:
                self._close(level)
        raw = bytes(self._pending[self._top]).ljust(self._pointers * blkptr.SIZE, b"\0")
        return tuple(raw[i : i + blkptr.SIZE] for i in range(0, len(raw), blkptr.SIZE))

    @property
    def fill(self) -> int:
        """Fill count of all that the top level points to."""
        return self._fills[self._top]


def write_object(
    context: Context,
    kind: int,
    blocks: Sequence[bytes],
    *,
    bonus_type: int = ObjectType.NONE,
    bonus: bytes = b"",
    flags: int = dnode.USED_BYTES,
) -> Dnode:
    """Write an object's blocks, all of one size (or none, for a bonus alone), and give its dnode."""
    usage = Usage()
    pointers = 1 if bonus_type == ObjectType.SA else pointer_count(len(bonus))
    levels = levels_for(len(blocks), pointers, context.indirect_shift)
    tree = Tree(context, kind, levels, usage, pointers)
    for block in blocks:
        pointer = context.place(block, kind, usage)
        tree.add(pointer, 0 if pointer == HOLE else 1)
    result = Dnode(
        kind,
        block_size=len(blocks[0]) if blocks else 512,
        indirect_shift=context.indirect_shift,
        levels=levels,
        bonus_type=bonus_type,
        bonus=bonus,
        flags=flags,
        max_block=max(len(blocks) - 1, 0),
        pointers=tree.finish(),
        used=usage.used,
    )
    context.usage.add(usage)
    return result


class ObjsetWriter:
    """A file system's object set: dnodes are put in ascending order and leave as blocks of 32."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._usage = Usage()
        self._levels = meta_levels(context.indirect_shift)
        self._tree = Tree(context, ObjectType.DNODE, self._levels, self._usage, 3)
        self._block: list[bytes] = [bytes(dnode.SIZE)]
        self._fill = 0
        self._blocks = 0

    @property
    def next_object(self) -> int:
        """The number that the next dnode gets."""
        return self._blocks * dnode.PER_BLOCK + len(self._block)

    def put(self, entry: Dnode) -> int:
        """Add the next object's dnode and give its number."""
        number = self.next_object
        self._block.append(entry.pack())
        self._fill += 1
        if len(self._block) == dnode.PER_BLOCK:
            self._flush()
        return number

    def _flush(self) -> None:
        data = b"".join(self._block).ljust(dnode.BLOCK, b"\0")
        pointer = self.context.place(data, ObjectType.DNODE, self._usage, fill=self._fill)
        self._tree.add(pointer, self._fill)
        self._block, self._fill, self._blocks = [], 0, self._blocks + 1

    def finish(self, kind: ObjsetType, flags: int, user_used: Dnode, group_used: Dnode) -> bytes:
        """Write what is left and the object set itself; gives the packed pointer to it."""
        if self._block:
            self._flush()
        meta = Dnode(
            ObjectType.DNODE,
            block_size=dnode.BLOCK,
            indirect_shift=self.context.indirect_shift,
            levels=self._levels,
            max_block=self._blocks - 1,
            pointers=self._tree.finish(),
            used=self._usage.used,
        )
        objset = Objset(meta, kind, flags, user_used=user_used, group_used=group_used)
        fill = self._tree.fill
        pointer = self.context.place(objset.pack(), ObjectType.OBJSET, self._usage, fill=fill)
        self.context.usage.add(self._usage)
        return pointer
