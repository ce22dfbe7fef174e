"""The bootfs that is linked into an OSv kernel: finding it there, and putting other files in its place.

The linker puts it between other data, so what takes its place can be shorter and not longer. It is found by
what it says of itself: records whose content follows them without a gap. In a compressed kernel, as
``loader.img`` for x86-64 is, there is none to be found.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from unikiln.base.device import FileDevice
from unikiln.base.tree import Node
from unikiln.bootfs import format as disk
from unikiln.bootfs.writer import files, write
from unikiln.errors import ImageError, NoSpaceError
from unikiln.image.growing import GrowingDevice, GrowingSlice
from unikiln.image.kernel import arch_of
from unikiln.image.partition import SECTOR

_FIRST_RECORD = re.compile(rb"(?=\0{4}[\0\1]/)")
_BEFORE_MATCH = 12
"""From the start of a record to the upper half of its offset, which is zero."""
_LARGEST_KERNEL = 1 << 30


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a kernel its bootfs is, in bytes."""

    start: int
    size: int


def holds_files(kernel: Path) -> bool:
    """Whether ``kernel`` is of a kind that is loaded as it is, not through a boot sector."""
    with FileDevice(kernel) as device:
        return arch_of(device.read_at(0, min(SECTOR, device.size))) != "x86_64"


def find(kernel: Path) -> tuple[bytes, Place]:
    """The kernel, and where its bootfs is.

    :raises ImageError: there is none, or there are several
    """
    with FileDevice(kernel) as device:
        if device.size > _LARGEST_KERNEL:
            raise ImageError(f"{kernel}: {device.size} bytes are no kernel")
        content = device.read_at(0, device.size)
    places = [
        place
        for match in _FIRST_RECORD.finditer(content)
        if (place := _place(content, match.start() - _BEFORE_MATCH)) is not None
    ]
    first = places[0] if places else None
    outer = [each for each in places if first is None or each.start >= first.start + first.size]
    if first is None or outer:
        count = len(outer) + 1 if first else 0
        raise ImageError(
            f"{kernel}: {count} bootfs in it, and there must be one to put files into",
            hint="build OSv with a bootfs that has at least as much in it",
        )
    return content, first


def replace(kernel: Path, tree: Node, device: GrowingDevice) -> int:
    """Write ``kernel`` to ``device`` with ``tree`` in place of its files; bytes that these take.

    :raises ImageError: it has no bootfs, or what a bootfs cannot hold is in the tree
    :raises NoSpaceError: they take more than what is there
    """
    content, place = find(kernel)
    device.write_at(0, content[: place.start] + bytes(place.size))
    size = write(GrowingSlice(device, place.start), files(tree)).size
    if size > place.size:
        raise NoSpaceError(
            f"the files take {size} bytes as a bootfs, and the kernel {kernel} has {place.size} for them",
            hint="link the bootfs into the kernel: unikiln build --fs ramfs -o bootfs.bin makes it",
        )
    device.write_at(place.start + place.size, content[place.start + place.size :])
    return size


def _place(content: bytes, start: int) -> Place | None:
    """The bootfs at ``start``, if its records are followed by their content without a gap."""
    if start < 0 or start + disk.RECORD > len(content):
        return None
    try:
        first = disk.decode(content, start)
        if first is None or content[start + first.offset - disk.RECORD : start + first.offset] != disk.END:
            return None
        end = first.offset
        for at in range(0, first.offset - disk.RECORD, disk.RECORD):
            record = disk.decode(content, start + at)
            if record is None or record.offset != end or not record.name.startswith(b"/"):
                return None
            end += record.size
    except ImageError:
        return None
    return Place(start, end) if start + end <= len(content) else None
