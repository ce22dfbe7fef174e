"""Find a block: every way that the vdevs have to read it, which of them is right, and what was bad on the
way.

A block has up to three addresses, each of them is on a vdev that may have several ways to read it; an
address can also be that of a gang's header, whose members hold the block in pieces (zio.c, zio_checksum.c).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from unikiln.errors import ChecksumError, CorruptError
from unikiln.zfs.codec import checksum, crypt_block
from unikiln.zfs.format import blkptr
from unikiln.zfs.format.blkptr import BlockPointer, Dva
from unikiln.zfs.format.dmu import ObjectType
from unikiln.zfs.format.label import MAGIC
from unikiln.zfs.vdev.attempt import Attempt
from unikiln.zfs.vdev.top import TopVdev

GANG_HEADER = 512
"""Bytes of a gang's header (``SPA_OLD_GANGBLOCKSIZE``), unless the pool has ``dynamic_gang_header``."""
_TRAILER = 40
_GANG_DEPTH = 8
_DAMAGE_MAX = 10_000
"""More damage than this is not listed."""


@dataclass(slots=True, frozen=True)
class Copy:
    """One way to read all of a block; ``dva`` is the address it stands for."""

    attempt: Attempt
    dva: Dva


class Damage(NamedTuple):
    """A block of which ``device`` holds something else than was written; another way to read it was right."""

    block: str
    device: str


class Locator:
    """Reads blocks from the top-level vdevs of a pool, from whatever is right; ``damage`` lists what was not.

    ``salt`` is the pool's, for the checksums that are keyed; ``dynamic_gangs`` says that gang headers may be
    as large as the smallest block.
    """

    def __init__(self, vdevs: Mapping[int, TopVdev]) -> None:
        self.vdevs = vdevs
        self.salt = b""
        self.dynamic_gangs = False
        self.damage: list[Damage] = []
        self._known: set[Damage] = set()

    def top(self, dva: Dva) -> TopVdev:
        """The vdev that an address is on.

        :raises CorruptError: there is none of that number
        """
        top = self.vdevs.get(dva.vdev)
        if top is None:
            raise CorruptError(f"a block lies on vdev {dva.vdev}, which is not there")
        return top

    def is_good(self, pointer: BlockPointer, data: bytes) -> bool:
        """Whether ``data``, as it is on disk, has the checksum in its pointer.

        :raises UnsupportedError: a checksum that we do not know
        """
        kind = pointer.checksum_type
        if not checksum.is_verifiable(kind):
            return True
        words = checksum.checksum(kind, data, self.salt, "<" if pointer.little_endian else ">")
        if pointer.encrypted and pointer.type != ObjectType.OBJSET:
            return crypt_block.truncated(kind, words) == pointer.checksum[:2]
        return words == pointer.checksum

    def find(self, pointer: BlockPointer, depth: int = 0) -> bytes:
        """The ``psize`` bytes on disk, from the first copy that is good.

        :raises ChecksumError: none is; the message names the block
        """
        bad: list[str] = []
        reason = ""
        for copy in self.copies(pointer):
            try:
                data = self.read_copy(pointer, copy, depth)
            except CorruptError as error:
                reason = error.message
            else:
                if self.is_good(pointer, data):
                    self._note(pointer, [*bad, *copy.attempt.without])
                    return data
            if copy.attempt.is_copy:
                bad.append(copy.attempt.name)
        where = f", read from {', '.join(dict.fromkeys(bad))}" if bad else ""
        raise ChecksumError(
            f"block {pointer.describe()}: no copy of {len(pointer.dvas)} has its checksum{where}",
            hint=reason or (None if bad else self._absence(pointer)),
        )

    def _absence(self, pointer: BlockPointer) -> str:
        names = [self.vdevs[n].vdev.name if n in self.vdevs else f"vdev {n}" for n, *_ in pointer.dvas]
        return f"all devices that hold it are missing: {', '.join(dict.fromkeys(names))}"

    def _note(self, pointer: BlockPointer, devices: list[str]) -> None:
        for device in devices:
            found = Damage(pointer.describe(), device)
            if found not in self._known and len(self.damage) < _DAMAGE_MAX:
                self._known.add(found)
                self.damage.append(found)

    def copies(self, pointer: BlockPointer) -> Iterator[Copy]:
        """Every way to read the block (or the header of its gang), through each of its addresses."""
        birth = pointer.physical_birth or pointer.birth
        for dva in pointer.dvas:
            if dva.vdev in self.vdevs:
                size = self.header_size(pointer) if dva.gang else pointer.psize
                for attempt in self.vdevs[dva.vdev].vdev.attempts(dva.offset, size, birth):
                    yield Copy(attempt, dva)

    def read_copy(self, pointer: BlockPointer, copy: Copy, depth: int = 0) -> bytes:
        """The ``psize`` bytes of one copy, not yet verified (but a gang's members are).

        :raises CorruptError: it cannot be read
        """
        if not copy.dva.gang:
            return copy.attempt.read()
        if depth >= _GANG_DEPTH:
            raise CorruptError(f"block {pointer.describe()}: gangs nested too deep")
        members = self.gang_members(pointer, copy)
        if sum(member.psize for member in members) != pointer.psize:
            raise CorruptError(f"block {pointer.describe()}: its gang has not its {pointer.psize} bytes")
        return b"".join(self.find(member, depth + 1) for member in members)

    def header_size(self, pointer: BlockPointer) -> int:
        """Bytes of the header of a gang: what its smallest vdev allocates, if the pool has those."""
        if not self.dynamic_gangs:
            return GANG_HEADER
        smallest = (self.vdevs[dva.vdev].min_alloc for dva in pointer.dvas if dva.vdev in self.vdevs)
        return max(GANG_HEADER, min(smallest, default=GANG_HEADER))

    def gang_members(self, pointer: BlockPointer, copy: Copy) -> list[BlockPointer]:
        """The block pointers in the header of a gang (``zio_gbh_phys_t``).

        :raises CorruptError: the header is damaged
        """
        whole = copy.attempt.read()
        for size in dict.fromkeys((len(whole), GANG_HEADER)):
            header = _unsealed(whole[:size], pointer)
            if header is not None:
                count = (size - _TRAILER) // blkptr.SIZE
                members = (blkptr.unpack(header, blkptr.SIZE * i) for i in range(count))
                return [member for member in members if not member.is_hole]
        raise CorruptError(f"block {pointer.describe()}: the gang header at {copy.dva} fails its checksum")

    def problems(self, pointer: BlockPointer, depth: int = 0) -> Iterator[str]:
        """What is bad of any copy, parity or gang member of a block, a line each."""
        birth = pointer.physical_birth or pointer.birth
        members: list[BlockPointer] = []
        for dva in pointer.dvas:
            size = self.header_size(pointer) if dva.gang else pointer.psize

            def verdict(data: bytes, gang: bool = dva.gang) -> bool:
                return _is_header(data, pointer) if gang else self.is_good(pointer, data)

            for problem in self.top(dva).vdev.problems(dva.offset, size, birth, verdict):
                yield f"copy {dva} {problem}"
            if dva.gang and not members and depth < _GANG_DEPTH:
                members = self.members(pointer)
        for member in members:
            for problem in self.problems(member, depth + 1):
                yield f"gang member {member.describe()}: {problem}"

    def members(self, pointer: BlockPointer) -> list[BlockPointer]:
        """The members of a gang, from the first header that is good; none if there is no such header."""
        for copy in self.copies(pointer):
            try:
                return self.gang_members(pointer, copy)
            except CorruptError:
                continue
        return []


def _is_header(data: bytes, pointer: BlockPointer) -> bool:
    return any(_unsealed(data[:size], pointer) is not None for size in (len(data), GANG_HEADER))


def _unsealed(header: bytes, pointer: BlockPointer) -> bytes | None:
    """A gang's header, as little-endian words; None if it fails its checksum.

    That is seeded with where and when the gang was written (``zio_checksum_gang_verifier``).
    """
    order = "<" if header[-_TRAILER:-32] == struct.pack("<Q", MAGIC) else ">"
    first, birth = pointer.dvas[0], pointer.physical_birth or pointer.birth
    seed = struct.pack(f"{order}4Q", first.vdev, first.offset, birth, 0)
    sealed = header[-_TRAILER:-32] == struct.pack(f"{order}Q", MAGIC)
    stated = struct.unpack(f"{order}4Q", header[-32:])
    if not sealed or checksum.sha256(header[:-32] + seed) != stated:
        return None
    return header if order == "<" else np.frombuffer(header, dtype=">u8").astype("<u8").tobytes()
