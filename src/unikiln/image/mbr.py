"""The master boot record, as OSv's scripts lay it out, and the command line that may follow it.

Sector 0 holds four entries of 16 bytes from 0x1be and the signature 55 AA. OSv's pool is in entry 2,
type 0x83. On a disk without a kernel it begins at byte 512; where a command line is stored (a C string
at byte 512, as in OSv's x86-64 images), at 1 MiB. The boot loader reads 63 sectors of command line.
Source: OSv's ``scripts/imgedit.py`` and ``arch/x64/boot16.S``. Theirs gets the cylinder bits of the
CHS fields wrong above cylinder 0, and the end one sector too far; nothing reads them, so ours are right.
"""

from __future__ import annotations

import struct

from unikiln.base.device import BlockDevice
from unikiln.errors import ImageError, UsageError
from unikiln.image.partition import SECTOR, Partition

PROTECTIVE = "ee"
"""Type of the entry that stands for a whole disk with a GUID partition table."""

POOL_START = SECTOR
POOL_START_AFTER_CMDLINE = 1 << 20

_TABLE = 0x1BE
_SIGNATURE = b"\x55\xaa"
_ENTRY = struct.Struct("<B3sB3sII")
_POOL_ENTRY = 2
_LINUX = 0x83
_EXTENDED = frozenset({0x05, 0x0F, 0x85})
_MOST_SECTORS = 1 << 32
_CMDLINE_START = SECTOR
_CMDLINE_SIZE = 63 * SECTOR
_HEADS, _SECTORS_PER_TRACK, _LAST_CYLINDER = 255, 63, 1023


def pool_start(cmdline: str | None) -> int:
    """Byte at which the pool's partition begins."""
    return POOL_START if cmdline is None else POOL_START_AFTER_CMDLINE


def encode(start: int, size: int) -> bytes:
    """Sector 0 of a disk whose partition 2 is ``size`` bytes from byte ``start``.

    :raises UsageError: not whole sectors
    :raises ImageError: more sectors than the 32 bits of an entry can tell
    """
    if start % SECTOR or size % SECTOR or size <= 0:
        raise UsageError(f"a partition of {size} bytes at {start} is not whole sectors of {SECTOR} bytes")
    first, count = start // SECTOR, size // SECTOR
    if first + count > _MOST_SECTORS:
        raise ImageError("a partition beyond 2 TiB does not fit an MBR", hint="use --layout pool")
    entry = _ENTRY.pack(0, chs(first), _LINUX, chs(first + count - 1), first, count)
    before = bytes(_TABLE + (_POOL_ENTRY - 1) * _ENTRY.size)
    after = bytes((4 - _POOL_ENTRY) * _ENTRY.size)
    return before + entry + after + _SIGNATURE


def chs(sector: int) -> bytes:
    """The three bytes of a sector's cylinder, head and sector; the last address when it has none."""
    track, within = divmod(sector, _SECTORS_PER_TRACK)
    cylinder, head = divmod(track, _HEADS)
    if cylinder > _LAST_CYLINDER:
        cylinder, head, within = _LAST_CYLINDER, _HEADS - 1, _SECTORS_PER_TRACK - 1
    return bytes((head, (within + 1) | (cylinder >> 8) << 6, cylinder & 0xFF))


def decode(sector: bytes) -> list[Partition]:
    """Primary partitions that sector 0 describes; none when it is no MBR."""
    if sector[510:512] != _SIGNATURE:
        return []
    entries = list(_ENTRY.iter_unpack(sector[_TABLE : _TABLE + 4 * _ENTRY.size]))
    if any(status & 0x7F for status, *_ in entries):
        return []  # a boot sector of something else: bytes of its code, not a table
    return [
        Partition(number, first * SECTOR, count * SECTOR, f"{kind:02x}", "mbr")
        for number, (_, _, kind, _, first, count) in enumerate(entries, start=1)
        if kind and count and kind not in _EXTENDED
    ]


def read(device: BlockDevice) -> list[Partition]:
    """Primary partitions of ``device``; extended ones are not looked into."""
    return decode(device.read_at(0, SECTOR)) if device.size >= SECTOR else []


def encode_cmdline(text: str) -> bytes:
    """The C string that is stored at byte 512.

    :raises UsageError: it has a NUL, or is longer than the boot loader reads
    """
    data = text.encode("utf-8", "surrogateescape") + b"\0"
    if b"\0" in data[:-1]:
        raise UsageError("a command line cannot have a NUL in it")
    if len(data) > _CMDLINE_SIZE:
        raise UsageError(f"a command line of {len(data)} bytes does not fit {_CMDLINE_SIZE}")
    return data


def write_disk(device: BlockDevice, start: int, size: int, cmdline: str | None) -> None:
    """Write sector 0, and the command line if there is one."""
    device.write_at(0, encode(start, size))
    if cmdline is not None:
        device.write_at(_CMDLINE_START, encode_cmdline(cmdline))


def read_cmdline(device: BlockDevice) -> str | None:
    """The stored command line; None when the disk has no place for one or the text is no text."""
    entries = read(device)
    room = min((entry.start for entry in entries), default=0) - _CMDLINE_START
    if room <= 0 or any(entry.type == PROTECTIVE for entry in entries):
        return None
    data = device.read_at(_CMDLINE_START, min(room, _CMDLINE_SIZE, device.size - _CMDLINE_START))
    text, end, _ = data.partition(b"\0")
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return decoded if end and decoded.isprintable() and decoded else None
