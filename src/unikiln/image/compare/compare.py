"""Two orderly sequences of files to the differences between them; neither is held in memory."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from unikiln.image.compare.item import Item

_PIECE = 1 << 20

Value = str | int | bytes | list[int] | None

FIELDS = (
    "type", "mode", "uid", "gid", "device", "target", "links", "xattrs", "size", "content", "mtime",
)  # fmt: skip
"""In what two files can differ."""


@dataclass(frozen=True, slots=True)
class Difference:
    """At ``path``; ``field`` is one of :data:`FIELDS`, or ``only`` where one side has nothing (None)."""

    path: bytes
    field: str
    left: Value
    right: Value

    def __str__(self) -> str:
        """In a line: ``/path: mode 0644, 0755``; ``- /path`` where only the left side has it."""
        path = shown(self.path)
        if self.field == "only":
            return f"{'+' if self.left is None else '-'} {path}"
        if self.field == "content":
            return f"! {path}: content, from byte {_told(self.left)}"
        return f"! {path}: {self.field} {_told(self.left)}, {_told(self.right)}"


def shown(name: bytes) -> str:
    """A path as text; bytes that are no UTF-8 are those of ``os.fsdecode``."""
    return name.decode("utf-8", "surrogateescape")


def _told(value: Value) -> str:
    if isinstance(value, bytes):
        return repr(shown(value))
    return "none" if value is None else str(value)


def compare(
    left: Iterator[Item], right: Iterator[Item], ignore: frozenset[str] = frozenset()
) -> Iterator[Difference]:
    """All differences between two sides, in order; ``ignore`` are fields that do not count.

    :raises HostError: a file of either side cannot be read
    """
    one, other = next(left, None), next(right, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one.names < other.names):
            assert one is not None
            yield Difference(one.path, "only", _kind(one), None)
            one = next(left, None)
        elif one is None or other.names < one.names:
            yield Difference(other.path, "only", None, _kind(other))
            other = next(right, None)
        else:
            yield from _differences(one, other, ignore)
            one, other = next(left, None), next(right, None)


def _differences(one: Item, other: Item, ignore: frozenset[str]) -> Iterator[Difference]:
    if one.kind != other.kind:
        if "type" not in ignore:
            yield Difference(one.path, "type", _kind(one), _kind(other))
        return
    for field, value in _VALUES.items():
        if field not in ignore and value(one) != value(other):
            yield Difference(one.path, field, value(one), value(other))
    if "xattrs" not in ignore and one.xattrs != other.xattrs:
        yield from _xattrs(one, other)
    if "content" not in ignore and one.size == other.size and stat.S_ISREG(one.mode):
        where = _first_difference(one, other)
        if where is not None:
            yield Difference(one.path, "content", where, where)


def _mode(item: Item) -> Value:
    return None if stat.S_ISLNK(item.mode) else f"{stat.S_IMODE(item.mode):04o}"


def _device(item: Item) -> Value:
    is_device = stat.S_ISCHR(item.mode) or stat.S_ISBLK(item.mode)
    return [os.major(item.rdev), os.minor(item.rdev)] if is_device else None


def _links(item: Item) -> Value:
    return b"/" + b"/".join(item.first)


_VALUES: dict[str, Callable[[Item], Value]] = {
    "mode": _mode,
    "uid": lambda item: item.uid,
    "gid": lambda item: item.gid,
    "device": _device,
    "target": lambda item: item.target,
    "links": _links,
    "size": lambda item: item.size,
    "mtime": lambda item: item.mtime_ns,
}


def _xattrs(one: Item, other: Item) -> Iterator[Difference]:
    for name in sorted(one.xattrs.keys() | other.xattrs.keys()):
        if one.xattrs.get(name) != other.xattrs.get(name):
            yield Difference(one.path, f"xattr {shown(name)}", one.xattrs.get(name), other.xattrs.get(name))


def _first_difference(one: Item, other: Item) -> int | None:
    """The first byte at which the content differs; 0 where only checksums tell that it does."""
    if one.checksum is not None or other.checksum is not None:
        return None if _checksum(one) == _checksum(other) else 0
    for offset in range(0, one.size, _PIECE):
        length = min(_PIECE, one.size - offset)
        left, right = one.read(offset, length), other.read(offset, length)
        if left != right:
            return offset + _first_unequal(left, right)
    return None


def _first_unequal(left: bytes, right: bytes) -> int:
    """By halves: as many comparisons as the length has bits."""
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high) // 2
        if left[low : middle + 1] == right[low : middle + 1]:
            low = middle + 1
        else:
            high = middle
    return low


def _checksum(item: Item) -> int:
    if item.checksum is not None:
        return item.checksum
    checksum = 0
    for offset in range(0, item.size, _PIECE):
        checksum = zlib.crc32(item.read(offset, min(_PIECE, item.size - offset)), checksum)
    return checksum


def _kind(item: Item) -> str:
    return {
        stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFIFO: "fifo",
        stat.S_IFCHR: "character device", stat.S_IFBLK: "block device", stat.S_IFSOCK: "socket",
    }.get(item.kind, "unknown")  # fmt: skip
