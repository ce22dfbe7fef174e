"""System attributes: how a file's attributes lie in its bonus and spill buffers (sys/sa_impl.h, zfs_sa.c).

A buffer starts with a header that names a *layout*, a list of attributes in order, which the file
system registers in a ZAP; attributes of variable size have their lengths in the header.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from unikiln.base.size import round_up
from unikiln.errors import CorruptError

MAGIC = 0x2F505A
_HEAD = struct.Struct("<IH")


class Attribute(NamedTuple):
    """A registered attribute; ``length`` 0 is variable; ``byteswap`` as in ``sa_bswap_type_t``."""

    name: str
    number: int
    length: int
    byteswap: int = 0


_TABLE = (
    Attribute("ZPL_ATIME", 0, 16),
    Attribute("ZPL_MTIME", 1, 16),
    Attribute("ZPL_CTIME", 2, 16),
    Attribute("ZPL_CRTIME", 3, 16),
    Attribute("ZPL_GEN", 4, 8),
    Attribute("ZPL_MODE", 5, 8),
    Attribute("ZPL_SIZE", 6, 8),
    Attribute("ZPL_PARENT", 7, 8),
    Attribute("ZPL_LINKS", 8, 8),
    Attribute("ZPL_XATTR", 9, 8),
    Attribute("ZPL_RDEV", 10, 8),
    Attribute("ZPL_FLAGS", 11, 8),
    Attribute("ZPL_UID", 12, 8),
    Attribute("ZPL_GID", 13, 8),
    Attribute("ZPL_PAD", 14, 32),
    Attribute("ZPL_ZNODE_ACL", 15, 88, 3),
    Attribute("ZPL_DACL_COUNT", 16, 8),
    Attribute("ZPL_SYMLINK", 17, 0, 3),
    Attribute("ZPL_SCANSTAMP", 18, 32, 3),
    Attribute("ZPL_DACL_ACES", 19, 0, 4),
    Attribute("ZPL_DXATTR", 20, 0, 3),
)
ATTRIBUTES: Mapping[str, Attribute] = {attribute.name: attribute for attribute in _TABLE}
"""What the ZPL registers (``zfs_attr_table``, zfs_sa.c), by name."""


def encode_registration(attribute: Attribute) -> int:
    """The value in the registry ZAP (``ATTR_ENCODE``)."""
    return attribute.length << 24 | attribute.byteswap << 16 | attribute.number


def decode_registration(name: str, value: int) -> Attribute:
    """The attribute that a registry entry describes."""
    return Attribute(name, value & 0xFFFF, value >> 24 & 0xFFFF, value >> 16 & 0xFF)


@lru_cache(maxsize=1024)
def header(layout: int, lengths: tuple[int, ...]) -> bytes:
    """The header of a buffer: its layout's number, and the bytes of each attribute of variable size."""
    size = header_size(len(lengths))
    head = _HEAD.pack(MAGIC, size >> 3 << 10 | layout)
    return (head + struct.pack(f"<{len(lengths)}H", *lengths)).ljust(size, b"\0")


def header_size(variable: int) -> int:
    """Bytes of a header with room for ``variable`` lengths."""
    return round_up(_HEAD.size + 2 * max(variable, 1), 8)


def layout_of(data: bytes) -> int:
    """The number of the layout of a buffer.

    :raises CorruptError: no header
    """
    if len(data) < 8 or _HEAD.unpack_from(data)[0] != MAGIC:
        raise CorruptError("system attributes without their header")
    return int(_HEAD.unpack_from(data)[1]) & 0x3FF


def decode(data: bytes, layout: Sequence[Attribute]) -> Iterator[tuple[str, bytes]]:
    """(name, value) of every attribute of a buffer whose layout is ``layout``.

    :raises CorruptError: the buffer is too short for it
    """
    position = (_HEAD.unpack_from(data)[1] >> 10) * 8
    index = 0
    for attribute in layout:
        length = attribute.length
        if length == 0:
            if _HEAD.size + 2 * index + 2 > len(data):
                raise CorruptError("system attributes with more lengths than their header has")
            (length,) = struct.unpack_from("<H", data, _HEAD.size + 2 * index)
            index += 1
        if position + length > len(data):
            raise CorruptError(f"{attribute.name} ends after its buffer")
        yield attribute.name, data[position : position + length]
        position += round_up(length, 8)
