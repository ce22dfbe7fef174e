"""What ROFS has on disk: little-endian records, in blocks of 512 bytes. Pure: bytes to records and back.

::

    block 0             superblock: eight u64
    block 1 ...         content of files, each from the start of a block
    structures          directory entries: u64 inode number, u16 length, name
                        symbolic links: u16 length, target
                        inodes: four u64, number 1 (the root) first

The counts of the superblock tell where one table ends and the next begins: nothing is aligned in them.
The numbers of inodes count from 1, places in the other tables from 0.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from unikiln.errors import ImageError

MAGIC = 0xDEADBEAD
VERSION = 1
BLOCK = 512

DIRECTORY, FILE, SYMLINK = 0x4000, 0x8000, 0xA000
"""All that an inode's mode tells: there are no permissions in it."""
LONGEST = 0xFFFF
"""Bytes of the longest name or target: their length is a u16."""
MOST_STRUCTURES = 64 << 20
"""Bytes of structures, a million files: more is no image, but a superblock that lies."""

_SUPERBLOCK = struct.Struct("<8Q")
_ENTRY = struct.Struct("<QH")
_SYMLINK = struct.Struct("<H")
_INODE = struct.Struct("<4Q")


class Superblock(NamedTuple):
    """Where the structures are, and how many there are of each; in blocks of 512 bytes."""

    first_block: int
    blocks: int
    entries: int
    symlinks: int
    inodes: int


class Entry(NamedTuple):
    """A name in a directory, and the number of its inode."""

    inode: int
    name: bytes


class Inode(NamedTuple):
    """``offset`` and ``length`` are a file's first block and its bytes, a directory's first entry and
    number of entries, a symbolic link's place in their table and 1.
    """

    mode: int
    number: int
    offset: int
    length: int


class Structures(NamedTuple):
    """The three tables."""

    entries: list[Entry]
    symlinks: list[bytes]
    inodes: list[Inode]


def encode_superblock(block: Superblock) -> bytes:
    """Block 0, whole."""
    words = _SUPERBLOCK.pack(MAGIC, VERSION, BLOCK, *block)
    return words.ljust(BLOCK, b"\0")


def decode_superblock(data: bytes, name: str) -> Superblock:
    """The superblock in ``data``, the first bytes of the device ``name``.

    :raises ImageError: it is none, or of another version or block size
    """
    if not has_magic(data):
        raise ImageError(f"{name}: no ROFS superblock")
    _, version, block_size, *rest = _SUPERBLOCK.unpack_from(data)
    if version != VERSION:
        raise ImageError(f"{name}: ROFS of version {version}, where only {VERSION} is known")
    if block_size != BLOCK:
        raise ImageError(f"{name}: ROFS with blocks of {block_size} bytes, where OSv reads {BLOCK}")
    return Superblock(*rest)


def has_magic(data: bytes) -> bool:
    """Whether ``data`` begins as a superblock does."""
    return len(data) >= _SUPERBLOCK.size and data[:8] == MAGIC.to_bytes(8, "little")


def encode_structures(tables: Structures) -> Iterator[bytes]:
    """The tables, one record after another, without what fills the last block."""
    for entry in tables.entries:
        yield _ENTRY.pack(entry.inode, len(entry.name)) + entry.name
    for target in tables.symlinks:
        yield _SYMLINK.pack(len(target)) + target
    for inode in tables.inodes:
        yield _INODE.pack(*inode)


def decode_structures(data: bytes, block: Superblock, name: str) -> Structures:
    """The tables in ``data``, the blocks that the superblock tells of.

    :raises ImageError: they end before they are complete, or have a name or a link of no bytes
    """
    least = block.entries * _ENTRY.size + block.symlinks * _SYMLINK.size + block.inodes * _INODE.size
    if least > len(data):
        raise ImageError(f"{name}: {len(data)} bytes of ROFS structures cannot hold {least}")
    at, entries, symlinks = 0, [], []
    try:
        for _ in range(block.entries):
            number, length = _ENTRY.unpack_from(data, at)
            entries.append(Entry(number, _text(data, at + _ENTRY.size, length)))
            at += _ENTRY.size + length
        for _ in range(block.symlinks):
            (length,) = _SYMLINK.unpack_from(data, at)
            symlinks.append(_text(data, at + _SYMLINK.size, length))
            at += _SYMLINK.size + length
        table = _taken(data, at, block.inodes * _INODE.size)
    except struct.error as error:
        raise ImageError(f"{name}: its ROFS structures end, or make no sense, at byte {at}") from error
    return Structures(entries, symlinks, [Inode(*fields) for fields in _INODE.iter_unpack(table)])


def _text(data: bytes, at: int, length: int) -> bytes:
    if not length:
        raise struct.error("a name of no bytes")
    return _taken(data, at, length)


def _taken(data: bytes, at: int, length: int) -> bytes:
    piece = data[at : at + length]
    if len(piece) < length:
        raise struct.error(f"{length} bytes at {at} are more than there are")
    return piece
