"""The meta object set: objects that are written when their content is known, and those that must wait.

Space maps record their own allocation, and the root dataset's directory the space of all; what
depends on such totals gets its address first, uncompressed so that its size is sure, and its
content last. OpenZFS reaches the same end by syncing until nothing changes.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from random import Random

from unikiln.base.size import round_up
from unikiln.errors import ZfsError
from unikiln.zfs.block_writer import BlockWriter, Policy, Usage, encode_plain
from unikiln.zfs.format import dnode, fatzap, nvlist, spacemap, zap
from unikiln.zfs.format.blkptr import HOLE
from unikiln.zfs.format.dmu import ObjectType
from unikiln.zfs.format.dnode import Dnode
from unikiln.zfs.format.objset import Objset, ObjsetType
from unikiln.zfs.object_writer import Context, pointer_count, write_object

COPIES = 3
CONFIG_BLOCK = 1 << 14
_POINTERS = 1 << dnode.OLD_INDIRECT_SHIFT - 7
_SPARE_NUMBERS = 32
_SPACE_MAP_SLACK = 64
"""Words kept free in a space map for runs that reserving the last blocks may still add."""


class Reserved:
    """An object of one block that has its address and waits for its content."""

    def __init__(self, writer: BlockWriter, kind: int, size: int, bonus_type: int = 0) -> None:
        self.kind = kind
        self.size = size
        self.bonus_type = bonus_type
        self.offsets = writer.reserve(size, COPIES)
        self.used = COPIES * writer.allocator.asize(size)


class MosWriter:
    """Collects the objects of the meta object set and writes it."""

    def __init__(self, writer: BlockWriter, policy: Policy, random: Random) -> None:
        self.writer = writer
        self.context = Context(writer, policy, COPIES)
        self._random = random
        self._dnodes: dict[int, Dnode] = {}
        self._next = 1

    def number(self) -> int:
        """The next object number, for an object that is added later."""
        self._next += 1
        return self._next - 1

    def add(
        self,
        kind: int,
        blocks: Sequence[bytes] = (),
        *,
        number: int | None = None,
        block_size: int = 512,
        bonus_type: int = ObjectType.NONE,
        bonus: bytes = b"",
    ) -> int:
        """Write an object whose content is known; gives its number."""
        made = write_object(self.context, kind, blocks, bonus_type=bonus_type, bonus=bonus)
        if not blocks:
            made.block_size = block_size
        return self.put(made, number)

    def put(self, made: Dnode, number: int | None = None) -> int:
        """Add an object's dnode, under the next number or one that was given out."""
        chosen = self.number() if number is None else number
        self._dnodes[chosen] = made
        return chosen

    def add_zap(
        self, kind: int, entries: Mapping[bytes, int], *, number: int | None = None, normalization: int = 0
    ) -> int:
        """A ZAP of 64-bit values, micro if it can be; gives its number."""
        return self.add(kind, fatzap.encode_words(entries, self._salt(), normalization), number=number)

    def add_values(self, kind: int, entries: Mapping[bytes, int | str]) -> int:
        """A ZAP of strings, and of 64-bit values beside them; gives its number."""
        items = [_entry(name, value) for name, value in entries.items()]
        return self.add(kind, fatzap.encode(items, self._salt()))

    def add_integers(self, kind: int, values: Sequence[int]) -> int:
        """A ZAP that is a set of integers: hexadecimal names (``zap_add_int``)."""
        return self.add_zap(kind, {f"{value:x}".encode(): value for value in values})

    def micro_zap(self, entries: Mapping[bytes, int]) -> bytes:
        """The block of a small ZAP, for an object that has a bonus of its own."""
        return zap.encode_micro(entries, self._salt())

    def _salt(self) -> int:
        return self._random.getrandbits(64) | 1

    def reserve(self, kind: int, size: int, bonus_type: int = ObjectType.NONE) -> Reserved:
        """An address for an object of one block of ``size`` bytes; its space counts from now."""
        reserved = Reserved(self.writer, kind, size, bonus_type)
        self.context.usage.add(Usage(reserved.used, size, size))
        return reserved

    def fill(self, reserved: Reserved, data: bytes, bonus: bytes = b"", *, number: int) -> None:
        """Write the content of a reserved object as object ``number``."""
        block = encode_plain(data.ljust(reserved.size, b"\0"))
        pointer = self.writer.write_reserved(block, reserved.kind, reserved.offsets)
        holes = (HOLE,) * (pointer_count(len(bonus)) - 1)
        made = Dnode(reserved.kind, reserved.size, bonus_type=reserved.bonus_type, bonus=bonus)
        made.pointers, made.used = (pointer, *holes), reserved.used
        self.put(made, number)

    def reserve_objset(self) -> ReservedObjset:
        """Addresses for the meta-dnode's blocks and the object set, with numbers to spare for space maps
        of metaslabs that come into use by just this.
        """
        return ReservedObjset(self, self._next + _SPARE_NUMBERS)

    def finish(self, reserved: ReservedObjset) -> bytes:
        """Write the object set; gives the packed root block pointer.

        :raises ZfsError: a number was given out and no object put there
        """
        missing = set(range(1, self._next)) - set(self._dnodes)
        if missing:
            raise ZfsError(f"objects {sorted(missing)} of the meta object set were never written")
        return reserved.write(self._dnodes)


class ReservedObjset:
    """The meta-dnode of the meta object set: blocks of dnodes, perhaps one indirect block, and the head."""

    def __init__(self, mos: MosWriter, count: int) -> None:
        self._writer = mos.writer
        self._blocks = [
            mos.reserve(ObjectType.DNODE, dnode.BLOCK) for _ in range(-(-count // dnode.PER_BLOCK))
        ]
        if len(self._blocks) > _POINTERS:
            raise ZfsError(f"{count} objects in the meta object set", hint="nest fewer datasets")
        self._indirect = (
            mos.reserve(ObjectType.DNODE, 1 << dnode.OLD_INDIRECT_SHIFT) if len(self._blocks) > 3 else None
        )
        self._used = sum(each.used for each in self._blocks)
        self._used += self._indirect.used if self._indirect else 0
        self._head = mos.reserve(ObjectType.OBJSET, 2048)

    def write(self, dnodes: Mapping[int, Dnode]) -> bytes:
        """Write everything; gives the packed pointer to the object set."""
        pointers, fill = [], 0
        for index, reserved in enumerate(self._blocks):
            start = index * dnode.PER_BLOCK
            inside = [dnodes.get(number) for number in range(start, start + dnode.PER_BLOCK)]
            data = b"".join(each.pack() if each else bytes(dnode.SIZE) for each in inside)
            count = sum(each is not None for each in inside)
            pointers.append(self._write(reserved, data, fill=count))
            fill += count
        if self._indirect:
            data = b"".join(pointers).ljust(1 << dnode.OLD_INDIRECT_SHIFT, b"\0")
            pointers = [self._write(self._indirect, data, level=1, fill=fill)]
        meta = Dnode(
            ObjectType.DNODE,
            block_size=dnode.BLOCK,
            indirect_shift=dnode.OLD_INDIRECT_SHIFT,
            levels=2 if self._indirect else 1,
            max_block=len(self._blocks) - 1,
            pointers=tuple([*pointers, HOLE, HOLE][:3]),
            used=self._used,
        )
        empty = Dnode(ObjectType.NONE, 0, indirect_shift=0, levels=0, flags=0, pointers=())
        head = Objset(meta, ObjsetType.META, user_used=empty, group_used=empty)
        return self._write(self._head, head.pack(), fill=fill)

    def _write(self, reserved: Reserved, data: bytes, *, level: int = 0, fill: int) -> bytes:
        return self._writer.write_reserved(
            encode_plain(data), reserved.kind, reserved.offsets, level=level, fill=fill
        )


class SpaceMaps:
    """One space map for each metaslab in which something is allocated, these space maps included."""

    def __init__(self, mos: MosWriter, shift: int) -> None:
        self._mos = mos
        self._shift = shift
        self._maps: dict[int, tuple[int, Reserved]] = {}

    def number(self) -> bool:
        """Give numbers and addresses to the maps of metaslabs that came into use; False when none did."""
        used = self._mos.writer.allocator.metaslabs(self._shift)
        fresh = [metaslab for metaslab in used if metaslab not in self._maps]
        for metaslab in fresh:
            words = len(self._entries(metaslab)) // 8 + _SPACE_MAP_SLACK
            size = max(1 << (8 * words - 1).bit_length(), 4096)
            self._maps[metaslab] = (
                self._mos.number(),
                self._mos.reserve(ObjectType.SPACE_MAP, size, ObjectType.SPACE_MAP_HEADER),
            )
        return bool(fresh)

    def _entries(self, metaslab: int) -> bytes:
        allocator = self._mos.writer.allocator
        runs = allocator.runs(metaslab, self._shift)
        return spacemap.encode(runs, metaslab << self._shift, allocator.ashift, self._mos.writer.txg)

    def fill(self) -> None:
        """Write all of them, when nothing will be allocated any more."""
        for metaslab, (number, reserved) in self._maps.items():
            runs = self._mos.writer.allocator.runs(metaslab, self._shift)
            data = self._entries(metaslab)
            header = spacemap.SpaceMapHeader(number, len(data), sum(length for _, length in runs))
            self._mos.fill(reserved, data, header.pack(), number=number)

    def array(self, metaslabs: int) -> bytes:
        """The metaslab array: the object number of each metaslab's space map, or 0."""
        numbers = [self._maps[i][0] if i in self._maps else 0 for i in range(metaslabs)]
        data = struct.pack(f"<{metaslabs}Q", *numbers)
        return data.ljust(round_up(len(data), 512), b"\0")


def pack_config(pairs: nvlist.NvList) -> tuple[bytes, bytes]:
    """The block and the bonus (its packed size) of the ``config`` object."""
    data = nvlist.encode(pairs)
    return data.ljust(CONFIG_BLOCK, b"\0"), struct.pack("<Q", len(data))


def _entry(name: bytes, value: int | str) -> zap.Entry:
    """A string is its bytes and a NUL, one integer each."""
    if isinstance(value, int):
        return zap.Entry(name, (value,), 8)
    return zap.Entry(name, tuple(value.encode() + b"\0"), 1)
