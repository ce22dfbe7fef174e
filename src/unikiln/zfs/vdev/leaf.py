"""A leaf: one disk or file, whose allocatable bytes begin after the front labels."""

from __future__ import annotations

from collections.abc import Iterator

from unikiln.base.device import BlockDevice
from unikiln.errors import CorruptError, ImageError
from unikiln.zfs.format import label
from unikiln.zfs.vdev.attempt import Attempt, Verdict, copy_problems


class Leaf:
    """A disk or file that holds whole copies of blocks."""

    is_plain = True

    def __init__(self, device: BlockDevice, guid: int) -> None:
        self.device = device
        self.guid = guid

    @property
    def name(self) -> str:
        """The device's name, for messages."""
        return self.device.name

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes from DVA offset ``offset``, which is negative in the boot area before it.

        :raises CorruptError: the device ends before them
        """
        if offset < -label.BOOT_SIZE or offset + length > self.device.size - label.START:
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

    def attempts(self, offset: int, size: int, birth: int) -> Iterator[Attempt]:
        """The one copy."""
        yield Attempt(self.name, lambda: self.read(offset, size))

    def problems(self, offset: int, size: int, birth: int, verdict: Verdict) -> Iterator[str]:
        """Whether the copy is bad."""
        return copy_problems(self, offset, size, birth, verdict)


class Absent:
    """A device that was not given, or a hole: it has no blocks to read."""

    is_plain = True

    def __init__(self, name: str) -> None:
        self.name = name

    def attempts(self, offset: int, size: int, birth: int) -> Iterator[Attempt]:
        """None."""
        return iter(())

    def problems(self, offset: int, size: int, birth: int, verdict: Verdict) -> Iterator[str]:
        """None: that it is missing is known."""
        return iter(())
