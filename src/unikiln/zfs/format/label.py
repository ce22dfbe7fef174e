"""Vdev labels: four copies of 256 KiB, two at the front and two at the end of each device.

8 KiB blank, 8 KiB boot environment, 112 KiB nvlist, 128 KiB ring of uberblocks (sys/vdev_impl.h).
The blocks in a label carry their own checksum, in their last 40 bytes, seeded with their offset on
the device (``zio_eck_t``, ``zio_checksum_label_verifier``).
"""

from __future__ import annotations

import hashlib
import struct

from unikiln.errors import CorruptError

SIZE = 256 << 10
BOOT_SIZE = 7 << 19
"""Between the front labels and the first block that can be allocated: 3.5 MiB."""
START = 2 * SIZE + BOOT_SIZE
"""Where DVA offset 0 lies on the device: 4 MiB (``VDEV_LABEL_START_SIZE``)."""
END = 2 * SIZE
NVLIST_OFFSET = 16 << 10
NVLIST_SIZE = 112 << 10
RING_OFFSET = 128 << 10
RING_SIZE = 128 << 10
MAGIC = 0x0210DA7AB10C7A11
MIN_DEVICE = 64 << 20
"""Smallest device that OpenZFS takes (``SPA_MINDEVSIZE``)."""

_CHECKSUM = 32
_TRAILER = 8 + _CHECKSUM


def offsets(device_size: int) -> tuple[int, int, int, int]:
    """Byte offsets of labels 0 to 3 on a device; what does not fill a label at its end is not used."""
    end = device_size // SIZE * SIZE
    return 0, SIZE, end - 2 * SIZE, end - SIZE


def seal(data: bytes, size: int, offset: int) -> bytes:
    """``data`` padded to ``size`` bytes and checksummed as the block at byte ``offset`` of the device.

    :raises CorruptError: no room for it
    """
    room = size - _TRAILER
    if len(data) > room:
        raise CorruptError(f"{len(data)} bytes do not fit a label block of {room}")
    body = data.ljust(room, b"\0") + struct.pack("<Q", MAGIC)
    return body + _checksum(body, offset)


def _checksum(body: bytes, offset: int, order: str = "<") -> bytes:
    """SHA-256 of the block with the seed (its offset, three zeros) where the checksum goes."""
    seed = struct.pack(f"{order}4Q", offset, 0, 0, 0)
    return struct.pack(f"{order}4Q", *struct.unpack(">4Q", hashlib.sha256(body + seed).digest()))


def is_sealed(block: bytes, offset: int) -> bool:
    """Whether ``block``, from byte ``offset`` of the device, has its magic and checksum; in either order."""
    body, checksum = block[:-_CHECKSUM], block[-_CHECKSUM:]
    order = ">" if body[-8:] == struct.pack(">Q", MAGIC) else "<"
    return body[-8:] == struct.pack(f"{order}Q", MAGIC) and _checksum(body, offset, order) == checksum


def uberblock_size(ashift: int) -> int:
    """Bytes of a slot of the ring: a sector, at least 1 KiB and at most 8 KiB."""
    return 1 << min(max(ashift, 10), 13)
