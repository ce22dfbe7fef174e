"""Fat ZAPs: an extensible hash table of any names and integer arrays, over several blocks.

Block 0 is the header with (in its second half) a table of pointers from hash prefixes to leaves;
larger tables take blocks of their own. A leaf is a small hash table over 24-byte chunks
(sys/zap_impl.h, sys/zap_leaf.h).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np

from unikiln.errors import CorruptError
from unikiln.zfs.format.zap import HASH_BITS, HEADER, Entry, encode_micro, fits_micro, hash_name

MAGIC = 0x2F52AB2AB
LEAF = 1 << 63
LEAF_MAGIC = 0x2AB1EAF
BLOCK_SHIFT = 14
"""Blocks of 16 KiB (``fzap_default_block_shift``)."""

_HEAD = struct.Struct("<13Q")
_LEAF_HEAD = struct.Struct("<3QI4HB11x")
_ENTRY_CHUNK = struct.Struct("<BBHHHHHIQ")
_ARRAY_CHUNK = struct.Struct("<B21sH")
_CHUNK = 24
_ARRAY_BYTES = 21
_ENTRY, _ARRAY, _FREE = 252, 251, 253
_END = 0xFFFF
_SORTED = 1
_INT = {1: "B", 2: "H", 4: "I", 8: "Q"}
_HASH64, _WORD_KEYS, _PRE_HASHED = 1, 2, 4
"""``ZAP_FLAG_*``: more bits of the hash count, keys are 64-bit words, the first of them is the hash."""
_MANY_BITS = 48

Hashed = tuple[int, Entry]


def encode(
    entries: Sequence[Entry], salt: int, normalization: int = 0, shift: int = BLOCK_SHIFT
) -> list[bytes]:
    """The blocks, each of ``1 << shift`` bytes, of a fat ZAP with these entries.

    The table is built in one go: entries are sorted by hash and split by prefix until each
    group fits a leaf, which gives the leaves that one insertion after another would.
    """
    hashed = sorted(((hash_name(entry.name, salt), entry) for entry in entries), key=lambda pair: pair[0])
    groups = list(_split(hashed, 0, 0, shift))
    embedded_shift = shift - 4
    table_shift = max(embedded_shift, *(length for _, length, _ in groups))
    table_blocks = 0 if table_shift == embedded_shift else 1 << table_shift + 3 - shift
    first_leaf = 1 + table_blocks
    table = np.empty(1 << table_shift, dtype="<u8")
    for number, (prefix, length, _) in enumerate(groups):
        span = table_shift - length
        table[prefix << span : prefix + 1 << span] = first_leaf + number
    header = _HEAD.pack(
        HEADER, MAGIC,
        1 if table_blocks else 0, table_blocks, table_shift, 0, 0,
        first_leaf + len(groups), len(groups), len(hashed), salt, normalization, 0,
    )  # fmt: skip
    leaves = [_encode_leaf(prefix, length, group, shift) for prefix, length, group in groups]
    half = 1 << shift - 1
    if not table_blocks:
        return [header.ljust(half, b"\0") + table.tobytes(), *leaves]
    raw = table.tobytes()
    tables = [raw[i : i + (1 << shift)] for i in range(0, len(raw), 1 << shift)]
    return [header.ljust(1 << shift, b"\0"), *tables, *leaves]


def encode_words(entries: Mapping[bytes, int], salt: int, normalization: int = 0) -> list[bytes]:
    """The blocks of a ZAP of single 64-bit values: a micro one if names and number allow, else a fat one."""
    if fits_micro(entries):
        return [encode_micro(entries, salt, normalization)]
    return encode([Entry(name, (value,)) for name, value in entries.items()], salt, normalization)


def _split(
    group: Sequence[Hashed], prefix: int, length: int, shift: int
) -> Iterator[tuple[int, int, Sequence[Hashed]]]:
    """Groups of (prefix, its length in bits, entries) that each fit a leaf, in order of prefix."""
    if sum(_chunks(entry) for _, entry in group) <= _leaf_chunks(shift):
        yield prefix, length, group
        return
    if length >= 28:
        raise CorruptError("too many names with equal hashes for a ZAP")
    boundary = (prefix << 1 | 1) << 63 - length
    middle = next((i for i, (digest, _) in enumerate(group) if digest >= boundary), len(group))
    yield from _split(group[:middle], prefix << 1, length + 1, shift)
    yield from _split(group[middle:], prefix << 1 | 1, length + 1, shift)


def _leaf_chunks(shift: int) -> int:
    """Chunks in a leaf (``ZAP_LEAF_NUMCHUNKS``)."""
    return ((1 << shift) - 2 * (1 << shift - 5)) // _CHUNK - 2


def _chunks(entry: Entry) -> int:
    name, value = len(entry.name) + 1, len(entry.values) * entry.width
    return 1 + -(-name // _ARRAY_BYTES) + -(-value // _ARRAY_BYTES)


def _encode_leaf(prefix: int, length: int, group: Sequence[Hashed], shift: int) -> bytes:
    total, hash_shift = _leaf_chunks(shift), shift - 5
    buckets = [_END] * (1 << hash_shift)
    tails: dict[int, int] = {}
    seen: dict[int, int] = {}
    chunks: list[bytes] = []
    links: dict[int, int] = {}
    for digest, entry in group:
        cd = seen[digest] = seen.get(digest, -1) + 1
        at = len(chunks)
        bucket = digest >> 64 - hash_shift - length & (1 << hash_shift) - 1
        if bucket in tails:
            links[tails[bucket]] = at
        else:
            buckets[bucket] = at
        tails[bucket] = at
        _append_entry(chunks, digest, entry, cd)
    for at, following in links.items():
        chunks[at] = chunks[at][:2] + struct.pack("<H", following) + chunks[at][4:]
    used = len(chunks)
    chunks += [_ARRAY_CHUNK.pack(_FREE, b"", n + 1 if n + 1 < total else _END) for n in range(used, total)]
    head = _LEAF_HEAD.pack(
        LEAF, 0, prefix, LEAF_MAGIC, total - used, len(group), length, used if used < total else _END, _SORTED
    )
    block = head + struct.pack(f"<{len(buckets)}H", *buckets) + b"".join(chunks)
    return block.ljust(1 << shift, b"\0")


def _append_entry(chunks: list[bytes], digest: int, entry: Entry, cd: int) -> None:
    at = len(chunks)
    name = entry.name + b"\0"
    value = struct.pack(f">{len(entry.values)}{_INT[entry.width]}", *entry.values)
    name_chunks = _arrays(name, at + 1)
    value_chunks = _arrays(value, at + 1 + len(name_chunks))
    value_at = at + 1 + len(name_chunks) if value_chunks else _END
    chunks.append(
        _ENTRY_CHUNK.pack(
            _ENTRY, entry.width, _END, at + 1, len(name), value_at, len(entry.values), cd, digest
        )
    )
    chunks += name_chunks
    chunks += value_chunks


def _arrays(data: bytes, at: int) -> list[bytes]:
    pieces = [data[i : i + _ARRAY_BYTES] for i in range(0, len(data), _ARRAY_BYTES)]
    last = len(pieces) - 1
    return [
        _ARRAY_CHUNK.pack(_ARRAY, piece, _END if i == last else at + i + 1) for i, piece in enumerate(pieces)
    ]


class Header:
    """Block 0 of a fat ZAP, decoded.

    :raises CorruptError: not a fat ZAP
    """

    def __init__(self, block: bytes) -> None:
        if len(block) < 512:
            raise CorruptError(f"a fat ZAP header of {len(block)} bytes")
        (
            kind, magic, self.table_block, self.table_blocks, self.table_shift, _, _,
            self.free_block, self.leaves, self.count, self.salt, self.normalization, self.flags,
        ) = _HEAD.unpack_from(block)  # fmt: skip
        if kind != HEADER or magic != MAGIC:
            raise CorruptError("not a fat ZAP")
        if self.table_shift > 40 or (not self.table_blocks and 16 << self.table_shift > len(block)):
            raise CorruptError(f"a fat ZAP with a pointer table of 2^{self.table_shift} entries")
        self.block_size = len(block)
        self._embedded = block[len(block) // 2 :]

    @property
    def has_word_keys(self) -> bool:
        """Whether its keys are 64-bit words: their names are these, the most significant byte first."""
        return bool(self.flags & _WORD_KEYS)

    def digest(self, name: bytes) -> int:
        """The hash of ``name``, by which its leaf is found (``zap_hash``)."""
        bits = _MANY_BITS if self.flags & _HASH64 else HASH_BITS
        if self.flags & _PRE_HASHED:
            return int.from_bytes(name[:8], "big") >> 64 - bits << 64 - bits
        if self.has_word_keys:
            count = len(name) // 8
            name = struct.pack(f"<{count}Q", *struct.unpack(f">{count}Q", name[: 8 * count]))
        return hash_name(name, self.salt, bits)

    def leaf_of(self, digest: int, read_block: Callable[[int], bytes]) -> int:
        """The block number of the leaf for a hash; ``read_block`` reads blocks of the ZAP's object."""
        index = digest >> 64 - self.table_shift if self.table_shift else 0
        if not self.table_blocks:
            (leaf,) = struct.unpack_from("<Q", self._embedded, 8 * index)
            return int(leaf)
        per_block = self.block_size // 8
        (leaf,) = struct.unpack_from(
            "<Q", read_block(self.table_block + index // per_block), index % per_block * 8
        )
        return int(leaf)

    def leaf_blocks(self, read_block: Callable[[int], bytes]) -> list[int]:
        """Block numbers of all leaves, each once, in order of hash."""
        if not self.table_blocks:
            pointers = np.frombuffer(self._embedded, dtype="<u8", count=1 << self.table_shift)
        else:
            blocks = range(self.table_block, self.table_block + self.table_blocks)
            pointers = np.frombuffer(b"".join(read_block(number) for number in blocks), dtype="<u8")
        values: list[int] = pointers.tolist()
        return [new for old, new in pairwise([0, *values]) if new != old]


def decode_leaf(block: bytes, *, word_keys: bool = False) -> list[tuple[int, Entry]]:
    """(hash, entry) of every entry of a leaf; names without their NUL, or as words when those are the keys.

    :raises CorruptError: not a leaf, or chains that lead nowhere
    """
    shift = len(block).bit_length() - 1
    if (
        len(block) < 512
        or _LEAF_HEAD.unpack_from(block)[0] != LEAF
        or struct.unpack_from("<I", block, 24)[0] != LEAF_MAGIC
    ):
        raise CorruptError("not a leaf of a fat ZAP")
    start = 48 + 2 * (1 << shift - 5)
    total = _leaf_chunks(shift)
    found: list[tuple[int, Entry]] = []
    for number in range(total):
        if block[start + number * _CHUNK] == _ENTRY:
            found.append(_decode_entry(block, start, total, number, word_keys=word_keys))
    return found


def _decode_entry(block: bytes, start: int, total: int, number: int, *, word_keys: bool) -> tuple[int, Entry]:
    _, width, _, name_at, name_length, value_at, count, _, digest = _ENTRY_CHUNK.unpack_from(
        block, start + number * _CHUNK
    )
    if width not in _INT:
        raise CorruptError(f"a ZAP entry with integers of {width} bytes")
    name = _gather(block, start, total, name_at, name_length * (8 if word_keys else 1))
    value = _gather(block, start, total, value_at, count * width)
    values = struct.unpack(f">{count}{_INT[width]}", value)
    if not word_keys:
        name = name.removesuffix(b"\0")
    return digest, Entry(name, values, width)


def _gather(block: bytes, start: int, total: int, at: int, length: int) -> bytes:
    pieces: list[bytes] = []
    if length > total * _ARRAY_BYTES:
        raise CorruptError(f"a ZAP entry of {length} bytes, which no leaf has room for")
    for _ in range(-(-length // _ARRAY_BYTES)):
        if at >= total:
            raise CorruptError("a chain of ZAP chunks leads out of its leaf")
        _, piece, at = _ARRAY_CHUNK.unpack_from(block, start + at * _CHUNK)
        pieces.append(piece)
    return b"".join(pieces)[:length]
