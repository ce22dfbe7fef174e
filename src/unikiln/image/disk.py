"""Small changes to a disk, and questions about it, as OSv's ``imgedit.py`` has them: a few bytes in place."""

from __future__ import annotations

from unikiln.base.device import BlockDevice
from unikiln.errors import ImageError, UsageError
from unikiln.image import kernel, mbr
from unikiln.image.partition import SECTOR


def get_args(device: BlockDevice) -> str:
    """The command line that is stored in the disk or kernel image; empty when it has none.

    :raises ImageError: there is no place for one, or what is there is no text
    """
    _require_room(device, 1)
    text = mbr.read_text(device)
    if text is None:
        raise ImageError(f"{device.name}: what is at byte {mbr.CMDLINE_START} is no command line")
    return text


def set_args(device: BlockDevice, text: str) -> None:
    """Store ``text`` as the command line.

    :raises ImageError: there is no room for it
    :raises UsageError: it is too long for the boot loader, or no C string
    """
    data = mbr.encode_cmdline(text)
    _require_room(device, len(data))
    device.write_at(mbr.CMDLINE_START, data)


def set_size(device: BlockDevice, size: int, arch: str | None) -> None:
    """Store the kernel's ``size`` in bytes where the boot loader of ``arch`` (None: as it shows) reads it.

    :raises ImageError: the image does not begin with a kernel
    """
    found = kernel.arch_of(_first_sector(device))
    if found is None or arch not in (None, found):
        wanted = arch or "either architecture"
        raise ImageError(f"{device.name}: does not begin as a kernel for {wanted} does")
    device.write_at(kernel.SIZE_WORD, kernel.encode_size(size, found))


def set_partition(device: BlockDevice, number: int, start: int, size: int) -> None:
    """Let partition ``number`` be ``size`` bytes, rounded down to sectors, from byte ``start``.

    It may reach beyond the disk, which may still be made longer; a disk of zeros gets a table.

    :raises UsageError: ``start`` is not that of a sector, or no such partition
    :raises ImageError: there is no MBR, or one that stands for a GUID partition table
    """
    sector = _first_sector(device)
    if not any(sector) and len(sector) == SECTOR:
        sector = mbr.EMPTY
    if not mbr.is_boot_sector(sector):
        raise ImageError(f"{device.name}: sector 0 is no master boot record")
    if any(entry.type == mbr.PROTECTIVE for entry in mbr.decode(sector)):
        raise ImageError(f"{device.name}: has a GUID partition table, which the MBR only protects")
    if start < SECTOR:
        raise UsageError(f"a partition at byte {start} would be in sector 0, the partition table's")
    device.write_at(0, mbr.with_entry(sector, number, start, size // SECTOR * SECTOR))


def _first_sector(device: BlockDevice) -> bytes:
    return device.read_at(0, min(SECTOR, device.size))


def _require_room(device: BlockDevice, size: int) -> None:
    if kernel.arch_of(_first_sector(device)) is None:
        raise ImageError(
            f"{device.name}: has no place for a command line: it begins neither with a boot sector nor with "
            "an AArch64 kernel"
        )
    room = mbr.cmdline_room(device)
    if size > room:
        raise ImageError(
            f"{device.name}: no room for a command line of {size} bytes: between sector 0 and what follows "
            f"are {room}",
            hint="unikiln build --cmdline makes room for one",
        )
