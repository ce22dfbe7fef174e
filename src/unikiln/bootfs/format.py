"""What a bootfs has in it: records of 128 bytes, one without a name, then content. Pure.

::

    record   u64 size, u64 offset of the content from the start of the bootfs, u8 type, name of 111 bytes

The name is a whole path that ends in NUL. Type 1 is a symbolic link, whose content is its target and a NUL;
type 0 is a file, or, when the name ends in a slash and the size is 0, a directory. Parents need no
record: whoever unpacks makes them. Content is not aligned, and follows in the order of the records.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from unikiln.errors import ImageError

RECORD = 128
"""Bytes of a record."""
LONGEST_NAME = 110
"""Bytes of the longest path, without its NUL."""
MOST_RECORDS = 100_000
"""More files than a kernel would have in it."""
OTHER, SYMLINK = 0, 1
END = bytes(RECORD)
"""What follows the last record."""

_RECORD = struct.Struct("<QQB111s")


class Record(NamedTuple):
    """One file, directory or symbolic link; sizes and offsets in bytes."""

    size: int
    offset: int
    type: int
    name: bytes

    @property
    def is_directory(self) -> bool:
        """Whether it stands for a directory."""
        return self.type == OTHER and self.size == 0 and self.name.endswith(b"/")


def encode(record: Record) -> bytes:
    """The 128 bytes of ``record``.

    :raises ImageError: its name is too long
    """
    if not 0 < len(record.name) <= LONGEST_NAME:
        raise ImageError(
            f"{record.name.decode('utf-8', 'backslashreplace')}: a path of {len(record.name)} bytes, "
            f"and a bootfs has room for {LONGEST_NAME}",
            hint="shorten it, or use --fs rofs",
        )
    return _RECORD.pack(*record)


def decode(data: bytes, offset: int = 0) -> Record | None:
    """The record at ``offset`` of ``data``; None is the end of them.

    :raises ImageError: no NUL ends the name, or a type that is none
    """
    size, start, kind, name = _RECORD.unpack_from(data, offset)
    if name[0] == 0:
        return None
    text, end, _ = name.partition(b"\0")
    if not end or kind not in (OTHER, SYMLINK):
        raise ImageError(f"bootfs record at byte {offset}: type {kind}, name {text[:40]!r}")
    return Record(size, start, kind, text)


def looks_like(data: bytes) -> bool:
    """Whether ``data``, at least 128 bytes, begins as a bootfs with something in it does."""
    if len(data) < RECORD:
        return False
    _, offset, kind, name = _RECORD.unpack_from(data)
    text, _, rest = name.partition(b"\0")
    in_order = offset >= 2 * RECORD and offset % RECORD == 0
    return in_order and kind in (OTHER, SYMLINK) and text[:1] == b"/" and not any(rest)
