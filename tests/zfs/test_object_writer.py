"""The shape of indirect trees, without a disk."""

from __future__ import annotations

import pytest

from unikiln.base.device import MemoryDevice
from unikiln.zfs.alloc import Allocator
from unikiln.zfs.block_writer import BlockWriter, Policy, Usage, encode, encode_plain
from unikiln.zfs.format import blkptr, dnode, label
from unikiln.zfs.format.blkptr import HOLE
from unikiln.zfs.format.dmu import ObjectType
from unikiln.zfs.object_writer import Context, Tree, levels_for, meta_levels, pointer_count


@pytest.mark.parametrize(
    ("blocks", "pointers", "shift", "levels"),
    [
        (0, 1, 17, 1),
        (1, 1, 17, 1),
        (2, 1, 17, 2),
        (1024, 1, 17, 2),
        (1025, 1, 17, 3),
        (3, 3, 14, 1),
        (129, 1, 14, 3),
    ],
)
def test_levels(blocks: int, pointers: int, shift: int, levels: int) -> None:
    assert levels_for(blocks, pointers, shift) == levels


def test_levels_of_a_meta_dnode_are_those_of_zfs() -> None:
    """Six with indirect blocks of 128 KiB, as ``zdb`` shows of OpenZFS, seven with 16 KiB."""
    assert (meta_levels(dnode.INDIRECT_SHIFT), meta_levels(dnode.OLD_INDIRECT_SHIFT)) == (6, 7)


def test_pointers_share_room_with_the_bonus() -> None:
    assert [pointer_count(length) for length in (0, 24, 64, 65, 192, 193, 320)] == [3, 3, 3, 2, 2, 1, 1]


def make_context() -> Context:
    device = MemoryDevice(bytes(label.START + (8 << 20)))
    return Context(BlockWriter(device, Allocator(9), 4), Policy(True, 9), 1, 14)


def test_a_tree_of_holes_is_a_hole() -> None:
    context, usage = make_context(), Usage()
    tree = Tree(context, ObjectType.PLAIN_FILE_CONTENTS, 4, usage)
    tree.add_holes(128**3)
    assert tree.finish() == (HOLE,)
    assert usage.used == 0


@pytest.mark.parametrize("before", [0, 1, 127, 128, 129, 128 * 128, 128 * 128 * 3 + 5])
def test_a_block_after_holes_is_where_it_should_be(before: int) -> None:
    context, usage = make_context(), Usage()
    block = context.writer.place(encode_plain(b"x" * 512), ObjectType.PLAIN_FILE_CONTENTS, usage)
    tree = Tree(context, ObjectType.PLAIN_FILE_CONTENTS, 4, usage)
    tree.add_holes(before)
    tree.add(block)
    (top,) = tree.finish()
    assert find(context, top, before) == block
    assert find(context, top, before + 1) in (HOLE, None)


def find(context: Context, pointer: bytes, number: int) -> bytes | None:
    """The pointer to block ``number`` below ``pointer``, by walking down."""
    from unikiln.zfs.codec.compression import decompress

    context.writer.flush()
    here = blkptr.unpack(pointer)
    assert here.fill == 1
    if here.level == 0:
        return pointer
    raw = context.writer.device.read_at(label.START + here.dvas[0].offset, here.psize)
    block = decompress(here.compression, raw, here.lsize)
    index = number >> 7 * (here.level - 1) & 127
    below = block[128 * index : 128 * (index + 1)]
    return below if below == HOLE or here.level == 1 else find(context, below, number)


@pytest.mark.parametrize("ashift", [9, 12])
def test_a_block_is_compressed_only_if_that_saves_a_sector(ashift: int) -> None:
    policy = Policy(True, ashift)
    assert encode(bytes(4096), policy) is None
    small = encode(b"abcd" * 256, policy)
    assert small is not None
    assert (len(small.data) < 1024) == (ashift == 9)
    assert len(small.data) % 512 == 0


def test_embedding() -> None:
    block = encode(b"abcd" * 256, Policy(True, 12, embed=True))
    assert block is not None
    assert block.embedded
    assert len(block.data) <= blkptr.EMBEDDED_MAX
