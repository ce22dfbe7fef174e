"""An OSv kernel at the start of a disk, and the word in it that tells how much the boot loader reads.

``loader.img`` for x86-64 is a boot sector with room for a partition table, 127 sectors of which the
first 63 are for a command line, and from sector 128 the kernel proper, which the boot sector reads in
pieces of 32 KiB: as many as the u16 at 0x10 says. That for AArch64 begins with the header of a Linux
kernel image, whose u64 at 0x10 is the size of the kernel in memory.
Source: OSv's ``arch/x64/boot16.S``, ``arch/aarch64/preboot.S``, ``Makefile`` and ``scripts/imgedit.py``.
"""

from __future__ import annotations

import struct
from pathlib import Path

from unikiln.base.device import BlockDevice, FileDevice
from unikiln.base.size import round_up
from unikiln.errors import ImageError, UsageError
from unikiln.image import mbr
from unikiln.image.partition import SECTOR

SIZE_WORD = 0x10
"""Byte at which the size is, of either architecture."""

_PIECE = 32 << 10
_FIRST = 128 * SECTOR
_ALIGNMENT = 2 << 20
_ARM_MAGIC_AT, _ARM_MAGIC = 56, b"ARM\x64"
_COPIED_AT_ONCE = 1 << 20


def arch_of(sector: bytes) -> str | None:
    """The architecture of the kernel, or disk, that begins with ``sector``, if it shows."""
    if sector[_ARM_MAGIC_AT : _ARM_MAGIC_AT + 4] == _ARM_MAGIC:
        return "aarch64"
    return "x86_64" if mbr.is_boot_sector(sector) else None


def encode_size(size: int, arch: str) -> bytes:
    """What is stored at 0x10 for a kernel of ``size`` bytes.

    :raises UsageError: more than the field can tell
    """
    if size < 0:
        raise UsageError(f"a kernel of {size} bytes")
    if arch == "aarch64":
        if size >= 1 << 64:
            raise UsageError(f"a kernel of {size} bytes does not fit 64 bits")
        return struct.pack("<Q", size)
    pieces = round_up(size, _PIECE) // _PIECE
    if pieces > 0xFFFF:
        raise UsageError(f"a kernel of {size} bytes is more than 65535 pieces of 32 KiB")
    return struct.pack("<H", pieces)


def partition_start(path: Path) -> int:
    """Byte of the disk at which partition 2 begins behind the kernel in ``path``.

    :raises ImageError: it is no kernel that a disk can begin with
    """
    with FileDevice(path) as kernel:
        sector = kernel.read_at(0, min(SECTOR, kernel.size))
        if arch_of(sector) != "x86_64":
            raise ImageError(
                f"{path}: sector 0 is no x86-64 boot sector",
                hint="--kernel wants OSv's loader.img for x86-64",
            )
        if kernel.size <= _FIRST:
            raise ImageError(f"{path}: {kernel.size} bytes, and a kernel begins at byte {_FIRST}")
        encode_size(kernel.size - _FIRST, "x86_64")
        return round_up(kernel.size, _ALIGNMENT)


def stored_cmdline(path: Path) -> str:
    """The command line that is in the kernel itself."""
    with FileDevice(path) as kernel:
        return mbr.read_text(kernel) or ""


def copy(path: Path, device: BlockDevice) -> None:
    """Write the kernel in ``path`` to the start of ``device``, with its size at 0x10."""
    with FileDevice(path) as kernel:
        for offset in range(0, kernel.size, _COPIED_AT_ONCE):
            device.write_at(offset, kernel.read_at(offset, min(_COPIED_AT_ONCE, kernel.size - offset)))
        device.write_at(SIZE_WORD, encode_size(kernel.size - _FIRST, "x86_64"))
