"""Name-value lists in the native encoding: as they lie in the memory of some machine (nvpair.c).

A pair is its size, the length of its name, how many values and their type, then name and value, each padded
to eight bytes. A nested list is a header in the pair, of which nothing is needed; its pairs follow behind the
pair. A list ends with a size of 0.
"""

from __future__ import annotations

import os
import struct

from unikiln.base.size import round_up
from unikiln.errors import CorruptError
from unikiln.zfs.format import nvlist
from unikiln.zfs.format.nvlist import NvList, Value

_HEAD = 12
"""The encoding, the byte order and two bytes of nothing; version and flags of the list."""
_PAIR = struct.calcsize("ihhii")
_SCALARS = {2: "B", 3: "h", 4: "H", 5: "i", 6: "I", 7: "q", 8: "Q", 18: "q", 21: "i", 22: "b", 23: "B"}
_ARRAYS = {11: "h", 12: "H", 13: "i", 14: "I", 15: "q", 16: "Q", 24: "i", 25: "b", 26: "B"}
_POINTER = 8
_MAX_DEPTH = 16


def decode(data: bytes) -> NvList:
    """The list packed in ``data``, whose second byte tells the byte order.

    :raises CorruptError: cut off, or nonsense
    """
    try:
        return _Cursor(data, "<" if data[1] else ">").pairs(0)
    except (struct.error, IndexError) as error:
        raise CorruptError("an nvlist is cut off") from error


class _Cursor:
    """A place in a packed list, from which pairs are read."""

    def __init__(self, data: bytes, order: str) -> None:
        self.data = data
        self.order = order
        self.position = _HEAD

    def pairs(self, depth: int) -> NvList:
        if depth > _MAX_DEPTH:
            raise CorruptError("an nvlist is nested too deep")
        found: NvList = {}
        while True:
            start = self.position
            (size,) = struct.unpack_from(f"{self.order}i", self.data, start)
            if size == 0:
                self.position = start + 4
                return found
            name, value = self._pair(start, size, depth)
            found[name] = value

    def _pair(self, start: int, size: int, depth: int) -> tuple[str, Value]:
        _, length, _, count, kind = struct.unpack_from(f"{self.order}ihhii", self.data, start)
        at, end = start + round_up(_PAIR + max(0, length), 8), start + size
        if length <= 0 or count < 0 or size < 0 or at > end or end > len(self.data):
            raise CorruptError(f"an nvlist pair of {size} bytes with a name of {length}")
        name = os.fsdecode(self.data[start + _PAIR : start + _PAIR + length - 1])
        self.position = end
        return name, self._value(kind, count, self.data[at:end], depth)

    def _value(self, kind: int, count: int, raw: bytes, depth: int) -> Value:
        if kind == nvlist.BOOLEAN:
            return True
        if kind in _SCALARS:
            value: int = struct.unpack_from(f"{self.order}{_SCALARS[kind]}", raw)[0]
            return value
        if count > len(raw):
            raise CorruptError(f"an nvlist array of {count} items in {len(raw)} bytes")
        if kind in _ARRAYS:
            return list(struct.unpack_from(f"{self.order}{count}{_ARRAYS[kind]}", raw))
        if kind == nvlist.BYTE_ARRAY:
            return raw[:count]
        if kind == nvlist.NVLIST:
            return self.pairs(depth + 1)
        if kind == nvlist.NVLIST_ARRAY:
            return [self.pairs(depth + 1) for _ in range(count)]
        return self._strings(kind, count, raw)

    @staticmethod
    def _strings(kind: int, count: int, raw: bytes) -> Value:
        if kind == nvlist.STRING:
            return os.fsdecode(raw.partition(b"\0")[0])
        if kind != nvlist.STRING_ARRAY:
            raise CorruptError(f"an nvlist pair of type {kind}")
        found = raw[_POINTER * count :].split(b"\0")[:count]
        if len(found) != count:
            raise CorruptError(f"an nvlist array of {count} strings that are not there")
        return [os.fsdecode(each) for each in found]
