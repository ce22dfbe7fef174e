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
_ENTRIES = 4
POOL_ENTRY = 2
"""The partition that OSv mounts."""
EMPTY = bytes(510) + _SIGNATURE
"""A first sector without code and without partitions."""
_LINUX = 0x83
_EXTENDED = frozenset({0x05, 0x0F, 0x85})
_MOST_SECTORS = 1 << 32
CMDLINE_START = SECTOR
"""Byte of a disk at which its command line is stored."""
_CMDLINE_SIZE = 63 * SECTOR
_BLANK = 8 << 10
_HEADS, _SECTORS_PER_TRACK, _LAST_CYLINDER = 255, 63, 1023


def with_rootfs(cmdline: str, fs: str) -> str:
    """``cmdline`` with the option in front that tells the kernel what to mount, unless it has one."""
    has_one = any(word == "--rootfs" or word.startswith("--rootfs=") for word in cmdline.split())
    return cmdline if has_one else f"--rootfs={fs} {cmdline}"


def pool_start(cmdline: str | None) -> int:
    """Byte at which the pool's partition begins."""
    return POOL_START if cmdline is None else POOL_START_AFTER_CMDLINE


def encode(start: int, size: int) -> bytes:
    """Sector 0 of a disk without a kernel, whose partition 2 is ``size`` bytes from byte ``start``.

    :raises UsageError: not whole sectors, or none
    :raises ImageError: more sectors than the 32 bits of an entry can tell
    """
    if size <= 0:
        raise UsageError(f"a partition of {size} bytes")
    return with_entry(EMPTY, POOL_ENTRY, start, size)


def with_entry(sector: bytes, number: int, start: int, size: int) -> bytes:
    """``sector``, the first of a disk, with partition ``number`` of ``size`` bytes from byte ``start``.

    :param size: 0 for a partition that has a place and nothing in it
    :raises UsageError: not whole sectors, or none of the four partitions
    :raises ImageError: more sectors than the 32 bits of an entry can tell
    """
    if not 1 <= number <= _ENTRIES:
        raise UsageError(f"an MBR has partitions 1 to {_ENTRIES}, not {number}")
    if start % SECTOR or size % SECTOR or size < 0 or start < 0:
        raise UsageError(f"a partition of {size} bytes at {start} is not whole sectors of {SECTOR} bytes")
    first, count = start // SECTOR, size // SECTOR
    if first + count > _MOST_SECTORS:
        raise ImageError("a partition beyond 2 TiB does not fit an MBR", hint="use --layout bare")
    at = _TABLE + (number - 1) * _ENTRY.size
    last = first + max(count, 1) - 1
    entry = _ENTRY.pack(sector[at], chs(first), _LINUX, chs(last), first, count)
    return sector[:at] + entry + sector[at + _ENTRY.size :]


def is_boot_sector(sector: bytes) -> bool:
    """Whether ``sector`` has the signature of one."""
    return sector[510:512] == _SIGNATURE


def chs(sector: int) -> bytes:
    """The three bytes of a sector's cylinder, head and sector; the last address when it has none."""
    track, within = divmod(sector, _SECTORS_PER_TRACK)
    cylinder, head = divmod(track, _HEADS)
    if cylinder > _LAST_CYLINDER:
        cylinder, head, within = _LAST_CYLINDER, _HEADS - 1, _SECTORS_PER_TRACK - 1
    return bytes((head, (within + 1) | (cylinder >> 8) << 6, cylinder & 0xFF))


def decode(sector: bytes) -> list[Partition]:
    """Primary partitions that sector 0 describes; none when it is no MBR."""
    if not is_boot_sector(sector):
        return []
    entries = list(_ENTRY.iter_unpack(sector[_TABLE : _TABLE + _ENTRIES * _ENTRY.size]))
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


def write_disk(
    device: BlockDevice, start: int, size: int, cmdline: str | None, sector: bytes = EMPTY
) -> None:
    """Write sector 0, which is ``sector`` and partition 2, and the command line if there is one."""
    device.write_at(0, with_entry(sector, POOL_ENTRY, start, size))
    if cmdline is not None:
        device.write_at(CMDLINE_START, encode_cmdline(cmdline))


def cmdline_room(device: BlockDevice) -> int:
    """Bytes that a stored command line may take: up to the first partition, or what the boot loader reads.

    A partition that begins right there leaves room if it begins with 8 KiB of nothing, as a pool does
    (``VDEV_PAD_SIZE``); OSv's scripts write into that, and read it again.
    """
    starts = [entry.start for entry in read(device)]
    if CMDLINE_START in starts and _is_blank(device):
        return _BLANK
    return max(0, min([*starts, device.size, CMDLINE_START + _CMDLINE_SIZE]) - CMDLINE_START)


def _is_blank(device: BlockDevice) -> bool:
    if device.size < CMDLINE_START + _BLANK:
        return False
    text, _, rest = device.read_at(CMDLINE_START, _BLANK).partition(b"\0")
    return not any(rest) and len(text) < _BLANK and text.decode("utf-8", "replace").isprintable()


def read_text(device: BlockDevice) -> str | None:
    """The C string at byte 512; None when there is no room for one or the text is no text."""
    room = cmdline_room(device)
    text, end, _ = device.read_at(CMDLINE_START, room).partition(b"\0") if room else (b"", b"", b"")
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return decoded if end and (decoded.isprintable() or not decoded) else None


def read_cmdline(device: BlockDevice) -> str | None:
    """The command line of a disk with partitions; None when it has no place for one or none in it."""
    entries = read(device)
    if not entries or any(entry.type == PROTECTIVE for entry in entries):
        return None
    return read_text(device) or None
