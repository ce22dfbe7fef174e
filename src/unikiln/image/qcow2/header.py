"""The header of a qcow2 image and its extensions: big-endian, at the start of the first cluster."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from unikiln.errors import ImageError, UnsupportedError

MAGIC = b"QFI\xfb"

_V2 = struct.Struct(">4sIQIIQIIQQIIQ")
_V3 = struct.Struct(">QQQII")
HEADER_SIZE = _V2.size + _V3.size
"""Bytes of a version 3 header without compression type: 104."""

_BACKING_FORMAT = 0xE2792ACA
_MOST_L1_BYTES = 32 << 20
"""QEMU's own limit on the level 1 table."""
_MOST_BACKING_NAME = 1023

_DIRTY, _CORRUPT, _EXTERNAL_DATA, _COMPRESSION_TYPE, _EXTENDED_L2 = 1, 2, 4, 8, 16
_READABLE = _DIRTY | _COMPRESSION_TYPE
_UNSUPPORTED = {_EXTERNAL_DATA: "an external data file", _EXTENDED_L2: "extended L2 entries"}

ZLIB, ZSTD = 0, 1


@dataclass(frozen=True, slots=True)
class Header:
    """What the header says; offsets in bytes of the file, ``size`` in bytes of the virtual disk.

    ``dirty`` tells that the reference counts may be wrong, ``autoclear`` are feature bits that a writer who
    does not know them must clear, ``refcount_bits`` the width of a reference count.
    """

    version: int
    cluster_bits: int
    size: int
    l1_offset: int
    l1_entries: int
    compression: int = ZLIB
    backing_file: str | None = None
    backing_format: str | None = None
    refcount_offset: int = 0
    refcount_clusters: int = 0
    refcount_bits: int = 16
    snapshots: int = 0
    dirty: bool = False
    autoclear: int = 0


def encode(
    *,
    cluster_bits: int,
    size: int,
    l1_offset: int,
    l1_entries: int,
    refcount_offset: int,
    refcount_clusters: int,
) -> bytes:
    """A version 3 header with 16-bit reference counts and no extension."""
    first = _V2.pack(
        MAGIC, 3, 0, 0, cluster_bits, size, 0, l1_entries, l1_offset, refcount_offset, refcount_clusters, 0, 0
    )
    refcount_order = 4
    end_of_extensions = bytes(8)
    return first + _V3.pack(0, 0, 0, refcount_order, HEADER_SIZE) + end_of_extensions


def decode(data: bytes, name: str) -> Header:
    """The header in ``data``, the first bytes of the file ``name``.

    :raises ImageError: not a header that makes sense
    :raises UnsupportedError: encryption, or a feature that changes how data is found
    """
    if len(data) < _V2.size:
        raise ImageError(f"{name}: {len(data)} bytes are too short for a qcow2 image")
    fields = _V2.unpack_from(data)
    magic, version, backing_at, backing_length, cluster_bits, size, encryption, l1_entries, l1_offset = (
        fields[:9]
    )
    refcount_offset, refcount_clusters, snapshots = fields[9:12]
    if magic != MAGIC or version not in (2, 3):
        raise ImageError(f"{name}: not a qcow2 image of version 2 or 3")
    if not 9 <= cluster_bits <= 21:
        raise ImageError(f"{name}: its qcow2 header tells of clusters of 2^{cluster_bits} bytes")
    if encryption:
        raise UnsupportedError(f"{name}: encrypted qcow2 images are not supported")
    length, compression = _decode_v3(data, name) if version == 3 else (_V2.size, ZLIB)
    incompatible, _, autoclear, order, _ = (
        _V3.unpack_from(data, _V2.size) if version == 3 else (0, 0, 0, 4, 0)
    )
    _check_l1(name, cluster_bits, size, l1_entries, l1_offset)
    backing = _backing_name(data, backing_at, backing_length, 1 << cluster_bits, name)
    form = _backing_format(data, length, backing_at or len(data)) if backing else None
    return Header(
        version, cluster_bits, size, l1_offset, l1_entries, compression, backing, form,
        refcount_offset, refcount_clusters, 1 << min(order, 7), snapshots,
        bool(incompatible & _DIRTY), autoclear,
    )  # fmt: skip


def _decode_v3(data: bytes, name: str) -> tuple[int, int]:
    """Length of the header, and its compression type."""
    if len(data) < HEADER_SIZE:
        raise ImageError(f"{name}: its qcow2 header is cut off")
    incompatible, *_, length = _V3.unpack_from(data, _V2.size)
    if incompatible & _CORRUPT:
        raise ImageError(f"{name}: marked as corrupt", hint="qemu-img check -r all may mend it")
    for bit, feature in _UNSUPPORTED.items():
        if incompatible & bit:
            raise UnsupportedError(f"{name}: qcow2 with {feature} is not supported")
    unknown = incompatible & ~_READABLE
    if unknown:
        raise UnsupportedError(f"{name}: unknown qcow2 features {unknown:#x}")
    if not HEADER_SIZE <= length <= len(data) or length % 8:
        raise ImageError(f"{name}: its qcow2 header says that it is {length} bytes long")
    compression = data[HEADER_SIZE] if incompatible & _COMPRESSION_TYPE and length > HEADER_SIZE else ZLIB
    if compression not in (ZLIB, ZSTD):
        raise UnsupportedError(f"{name}: unknown qcow2 compression {compression}")
    return length, compression


def _check_l1(name: str, cluster_bits: int, size: int, entries: int, offset: int) -> None:
    per_entry = 1 << (2 * cluster_bits - 3)
    if entries * 8 > _MOST_L1_BYTES or entries * per_entry < size:
        raise ImageError(f"{name}: a level 1 table of {entries} entries cannot map its {size} bytes")
    if offset % (1 << cluster_bits):
        raise ImageError(f"{name}: its level 1 table is not at a cluster's start")


def _backing_name(data: bytes, offset: int, length: int, cluster_size: int, name: str) -> str | None:
    if not offset:
        return None
    if not 0 < length <= _MOST_BACKING_NAME or offset + length > min(len(data), cluster_size):
        raise ImageError(f"{name}: the name of its backing file is outside the first cluster")
    return data[offset : offset + length].decode("utf-8", "surrogateescape")


def _backing_format(data: bytes, offset: int, end: int) -> str | None:
    """The extension that tells the backing file's format, if there is one."""
    while offset + 8 <= end:
        kind, length = struct.unpack_from(">II", data, offset)
        if kind == 0:
            return None
        if kind == _BACKING_FORMAT:
            return data[offset + 8 : offset + 8 + length].decode("ascii", "replace")
        offset += 8 + (length + 7 & ~7)
    return None
