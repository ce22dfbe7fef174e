"""A partition that is still being made: it begins somewhere on a disk and grows the disk as it grows."""

from __future__ import annotations

from typing import Protocol

from unikiln.base.device import BlockDevice, Buffer, check_range


class GrowingDevice(BlockDevice, Protocol):
    """A device of a new image: written past its end it grows, and its size can be set."""

    def truncate(self, size: int) -> None:
        """Set the size in bytes; what is new reads as zeros and takes no space."""


class GrowingSlice:
    """Everything from byte ``start`` of a growing device to its end."""

    def __init__(self, below: GrowingDevice, start: int) -> None:
        self.name = below.name
        self.start = start
        self._below = below

    @property
    def size(self) -> int:
        """Size in bytes."""
        return max(0, self._below.size - self.start)

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset`` of the slice."""
        check_range(self, offset, length)
        return self._below.read_at(self.start + offset, length)

    def write_at(self, offset: int, data: Buffer) -> None:
        """Write all of ``data`` at ``offset`` of the slice."""
        self._below.write_at(self.start + offset, data)

    def truncate(self, size: int) -> None:
        """Set the size of the slice, and with it that of the device below."""
        self._below.truncate(self.start + size)

    def flush(self) -> None:
        """Flush the device below."""
        self._below.flush()

    def close(self) -> None:
        """Close the device below."""
        self._below.close()
