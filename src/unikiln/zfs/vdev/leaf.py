"""A leaf: one disk or file, whose allocatable bytes begin after the front labels."""

from __future__ import annotations

from unikiln.base.device import BlockDevice
from unikiln.errors import CorruptError, ImageError
from unikiln.zfs.format import label


class Leaf:
    """A disk or file that holds whole copies of blocks."""

    def __init__(self, device: BlockDevice, guid: int) -> None:
        self.device = device
        self.guid = guid

    @property
    def name(self) -> str:
        """The device's name, for messages."""
        return self.device.name

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes from DVA offset ``offset``.

        :raises CorruptError: the device ends before them
        """
        if offset < 0 or offset + length > self.device.size - label.START:
            raise CorruptError(
                f"{self.name}: bytes {offset:#x}..{offset + length:#x} of the vdev lie outside the device",
                hint="the image is truncated, or a block pointer is damaged",
            )
        try:
            return self.device.read_at(label.START + offset, length)
        except ImageError as error:
            raise CorruptError(error.message, hint=error.hint) from error
        except OSError as error:
            raise CorruptError(f"{self.name}: {error.strerror} at byte {label.START + offset:#x}") from error
