"""Name-value lists, encoded in XDR: labels, the pool's configuration, extended attributes.

A Python dict stands for a list: ``int`` is uint64, ``str`` a string, ``bytes`` a byte array, ``dict`` a
nested list, ``list`` an array of one of these, ``True`` a boolean without a value (nvpair.c, RFC 4506).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping

from unikiln.base.size import round_up
from unikiln.errors import CorruptError, UnsupportedError

Value = bool | int | str | bytes | list[int] | list[str] | list["NvList"] | dict[str, "Value"]
NvList = dict[str, Value]

ENCODE_NATIVE, ENCODE_XDR = 0, 1
_LITTLE = 1
_HEADER = bytes((ENCODE_XDR, _LITTLE, 0, 0))
_NV_VERSION, _NV_UNIQUE_NAME = 0, 1
_MAX_DEPTH = 16

BOOLEAN, BYTE, INT16, UINT16, INT32, UINT32, INT64, UINT64, STRING, BYTE_ARRAY = range(1, 11)
UINT64_ARRAY, STRING_ARRAY, HRTIME, NVLIST, NVLIST_ARRAY, BOOLEAN_VALUE = 16, 17, 18, 19, 20, 21
INT8, UINT8, BOOLEAN_ARRAY, INT8_ARRAY, UINT8_ARRAY = 22, 23, 24, 25, 26
_INT_ARRAYS = {11: "i", 12: "I", 13: "i", 14: "I", 15: "q", 16: "Q", 24: "i", 25: "i", 26: "I"}
_SCALARS = {2: "i", 3: "i", 4: "I", 5: "i", 6: "I", 7: "q", 8: "Q", 18: "q", 21: "i", 22: "i", 23: "I"}


def encode(pairs: Mapping[str, Value]) -> bytes:
    """The packed list with its four-byte header."""
    return _HEADER + _encode_list(pairs)


def _encode_list(pairs: Mapping[str, Value]) -> bytes:
    head = struct.pack(">II", _NV_VERSION, _NV_UNIQUE_NAME)
    return head + b"".join(_encode_pair(name, value) for name, value in pairs.items()) + bytes(8)


def _encode_pair(name: str, value: Value) -> bytes:
    kind, count, body = _encode_value(value)
    packed = _xdr_string(os.fsencode(name)) + struct.pack(">II", kind, count) + body
    return (
        struct.pack(">II", len(packed) + 8, _decoded_size(len(os.fsencode(name)), kind, count, value))
        + packed
    )


def _encode_value(value: Value) -> tuple[int, int, bytes]:
    match value:
        case bool():
            return BOOLEAN, 0, b""
        case int():
            return UINT64, 1, struct.pack(">Q", value)
        case str():
            return STRING, 1, _xdr_string(os.fsencode(value))
        case bytes():
            return BYTE_ARRAY, len(value), value.ljust(round_up(len(value), 4), b"\0")
        case dict():
            return NVLIST, 1, _encode_list(value)
        case list():
            return _encode_array(value)


def _encode_array(values: list[int] | list[str] | list[NvList]) -> tuple[int, int, bytes]:
    count = len(values)
    lists = [_encode_list(each) for each in values if isinstance(each, dict)]
    if lists:
        return NVLIST_ARRAY, count, b"".join(lists)
    strings = [_xdr_string(os.fsencode(each)) for each in values if isinstance(each, str)]
    if strings:
        return STRING_ARRAY, count, b"".join(strings)
    return UINT64_ARRAY, count, struct.pack(f">I{count}Q", count, *values)


def _xdr_string(text: bytes) -> bytes:
    return struct.pack(">I", len(text)) + text.ljust(round_up(len(text), 4), b"\0")


def _decoded_size(name_length: int, kind: int, count: int, value: Value) -> int:
    """What the pair takes in memory, which is stated on disk (``NVP_SIZE_CALC``, nvpair.c)."""
    match kind:
        case 1:
            size = 0
        case 9:
            size = len(os.fsencode(str(value))) + 1
        case 10:
            size = count
        case 16:
            size = 8 * count
        case 17:
            strings = value if isinstance(value, list) else []
            size = 8 * count + sum(len(os.fsencode(str(each))) + 1 for each in strings)
        case 19:
            size = 24
        case 20:
            size = (8 + 24) * count
        case _:
            size = 8
    return round_up(16 + name_length + 1, 8) + round_up(size, 8)


def decode(data: bytes) -> NvList:
    """The list packed in ``data``; what follows it is ignored.

    :raises CorruptError: cut off, or nonsense
    :raises UnsupportedError: an encoding that we do not know
    """
    if len(data) < 12:
        raise CorruptError("an nvlist is cut off")
    if data[0] == ENCODE_NATIVE:
        from unikiln.zfs.format import nvlist_native

        return nvlist_native.decode(data)
    if data[0] != ENCODE_XDR:
        raise UnsupportedError(f"an nvlist in encoding {data[0]}, neither native nor XDR")
    try:
        return _Decoder(data, 4).pairs(0)
    except (struct.error, IndexError, RecursionError) as error:
        raise CorruptError("an nvlist is cut off") from error


class _Decoder:
    """A cursor over XDR; every method reads one thing and moves on."""

    def __init__(self, data: bytes, position: int) -> None:
        self.data = data
        self.position = position

    def unpack(self, layout: str) -> tuple[int, ...]:
        values: tuple[int, ...] = struct.unpack_from(">" + layout, self.data, self.position)
        self.position += struct.calcsize(">" + layout)
        return values

    def bytes(self, length: int) -> bytes:
        start, end = self.position, self.position + length
        if end > len(self.data):
            raise CorruptError(f"an nvlist has an item of {length} bytes and ends before it")
        self.position = start + round_up(length, 4)
        return self.data[start:end]

    def string(self) -> str:
        return os.fsdecode(self.bytes(self.unpack("I")[0]))

    def pairs(self, depth: int) -> NvList:
        if depth > _MAX_DEPTH:
            raise CorruptError("an nvlist is nested too deep")
        self.unpack("II")
        found: NvList = {}
        while True:
            start = self.position
            size, _ = self.unpack("II")
            if size == 0:
                return found
            name = self.string()
            kind, count = self.unpack("II")
            found[name] = self.value(kind, count, depth)
            if self.position > start + size:
                raise CorruptError(f"nvlist pair {name!r} is longer than it says")
            self.position = start + size

    def value(self, kind: int, count: int, depth: int) -> Value:
        scalar = _SCALARS.get(kind)
        if scalar is not None:
            return self.unpack(scalar)[0]
        if kind in _INT_ARRAYS:
            return self.array(_INT_ARRAYS[kind], count)
        other: dict[int, Callable[[], Value]] = {
            BOOLEAN: lambda: True,
            STRING: self.string,
            BYTE_ARRAY: lambda: self.bytes(count),
            STRING_ARRAY: lambda: [self.string() for _ in range(count)],
            NVLIST: lambda: self.pairs(depth + 1),
            NVLIST_ARRAY: lambda: [self.pairs(depth + 1) for _ in range(count)],
        }
        if kind not in other:
            raise CorruptError(f"an nvlist pair of type {kind}")
        return other[kind]()

    def array(self, code: str, count: int) -> list[int]:
        if self.unpack("I")[0] != count or count > len(self.data):
            raise CorruptError(f"an nvlist array of {count} items that do not fit")
        values = self.unpack(f"{count}{code}")
        return [*values]
