"""Reading a GUID partition table: the primary copy, or the backup at the end of the disk.

Source: UEFI Specification 2.10, section 5.3.
"""

from __future__ import annotations

import struct
import uuid
import zlib

from unikiln.base.device import BlockDevice
from unikiln.errors import ImageError
from unikiln.image.partition import SECTOR, Partition

_MAGIC = b"EFI PART"
_HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")
_ENTRY = struct.Struct("<16s16sQQQ72s")
_MOST_ENTRIES = 4096
_MOST_ENTRY_SIZE = 4096


def read(device: BlockDevice) -> list[Partition]:
    """Partitions of ``device``.

    :raises ImageError: neither the primary nor the backup table can be used
    """
    sectors = device.size // SECTOR
    try:
        return _read_at(device, 1)
    except ImageError as error:
        try:
            return _read_at(device, sectors - 1)
        except ImageError:
            raise error from None


def _read_at(device: BlockDevice, header_sector: int) -> list[Partition]:
    header = _checked_header(device, header_sector)
    table_sector, count, entry_size, checksum = header[10:14]
    if not (0 < count <= _MOST_ENTRIES and _ENTRY.size <= entry_size <= _MOST_ENTRY_SIZE):
        raise ImageError(f"{device.name}: its GPT has {count} entries of {entry_size} bytes")
    table = device.read_at(table_sector * SECTOR, count * entry_size)
    if zlib.crc32(table) != checksum:
        raise ImageError(f"{device.name}: the checksum of its GPT's entries is wrong")
    return _decode(table, entry_size)


def _checked_header(device: BlockDevice, sector: int) -> tuple[int, ...]:
    data = device.read_at(sector * SECTOR, SECTOR)
    fields = _HEADER.unpack_from(data)
    magic, length, checksum = fields[0], fields[2], fields[3]
    if magic != _MAGIC:
        raise ImageError(f"{device.name}: no GPT header in sector {sector}")
    if not _HEADER.size <= length <= SECTOR:
        raise ImageError(f"{device.name}: a GPT header of {length} bytes")
    if zlib.crc32(data[:16] + bytes(4) + data[20:length]) != checksum:
        raise ImageError(f"{device.name}: the checksum of the GPT header in sector {sector} is wrong")
    return fields


def _decode(table: bytes, entry_size: int) -> list[Partition]:
    found = []
    for index in range(len(table) // entry_size):
        kind, _, first, last, _, _ = _ENTRY.unpack_from(table, index * entry_size)
        if any(kind) and last >= first:
            size = (last - first + 1) * SECTOR
            found.append(Partition(index + 1, first * SECTOR, size, str(uuid.UUID(bytes_le=kind)), "gpt"))
    return found
