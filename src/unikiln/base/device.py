"""Block devices: bytes at an offset, whatever holds them.

A device is anything with :meth:`~BlockDevice.read_at`, :meth:`~BlockDevice.write_at`, a size in
bytes and a name for messages. :class:`FileDevice` is a host file, :class:`SliceDevice` a range of
another device (a partition), :class:`MemoryDevice` bytes in memory.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from unikiln.errors import HostError, ImageError

Buffer = bytes | bytearray | memoryview


class BlockDevice(Protocol):
    """Random access to ``size`` bytes."""

    name: str

    @property
    def size(self) -> int:
        """Size in bytes."""

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset``.

        :raises ImageError: the range is not inside the device
        """

    def write_at(self, offset: int, data: Buffer) -> None:
        """Write all of ``data`` at ``offset``."""

    def flush(self) -> None:
        """Make what was written durable."""

    def close(self) -> None:
        """Release what the device holds open."""


def check_range(device: BlockDevice, offset: int, length: int) -> None:
    """Refuse a range that is not inside ``device``."""
    if offset < 0 or length < 0 or offset + length > device.size:
        raise ImageError(
            f"{device.name}: bytes {offset:#x}..{offset + length:#x} are outside its {device.size:#x} bytes",
            hint="the image is truncated, or what points there is damaged",
        )


class FileDevice:
    """A host file (or block special file) as a device; reads and writes take no shared position."""

    def __init__(self, path: str | os.PathLike[str], *, writable: bool = False) -> None:
        self.name = os.fspath(path)
        try:
            self._fd = os.open(self.name, os.O_RDWR if writable else os.O_RDONLY)
            self._size = os.lseek(self._fd, 0, os.SEEK_END)
        except OSError as error:
            raise HostError(f"{self.name}: {error.strerror}") from error
        if Path(self.name).is_dir():
            self.close()
            raise HostError(f"{self.name}: is a directory, not an image")

    @property
    def size(self) -> int:
        """Size in bytes; grows as the device is written past its end."""
        return self._size

    def fileno(self) -> int:
        """The descriptor, for ``fstat`` and ``lseek`` to data and holes."""
        return self._fd

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset``."""
        check_range(self, offset, length)
        data = os.pread(self._fd, length, offset)
        while len(data) < length:
            more = os.pread(self._fd, length - len(data), offset + len(data))
            if not more:
                raise ImageError(f"{self.name}: ended at byte {offset + len(data)} while being read")
            data += more
        return data

    def write_at(self, offset: int, data: Buffer) -> None:
        """Write all of ``data`` at ``offset``, growing the file as needed."""
        view = memoryview(data)
        try:
            done = 0
            while done < len(view):
                done += os.pwrite(self._fd, view[done:], offset + done)
        except OSError as error:
            raise HostError(f"{self.name}: {error.strerror} while writing at byte {offset}") from error
        self._size = max(self._size, offset + len(view))

    def truncate(self, size: int) -> None:
        """Set the size; what is new reads as zeros and takes no space."""
        os.ftruncate(self._fd, size)
        self._size = size

    def flush(self) -> None:
        """``fsync`` the file."""
        os.fsync(self._fd)

    def close(self) -> None:
        """Close the descriptor; closing twice is harmless."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class SliceDevice:
    """``size`` bytes of another device from ``start``: a partition, or a file cut out of a disk."""

    def __init__(self, below: BlockDevice, start: int, size: int) -> None:
        self.name = below.name
        self._below = below
        self.start = start
        self._size = size

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self._size

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset`` of the slice."""
        check_range(self, offset, length)
        return self._below.read_at(self.start + offset, length)

    def write_at(self, offset: int, data: Buffer) -> None:
        """Write all of ``data`` at ``offset`` of the slice."""
        check_range(self, offset, len(data))
        self._below.write_at(self.start + offset, data)

    def flush(self) -> None:
        """Flush the device below."""
        self._below.flush()

    def close(self) -> None:
        """Close the device below."""
        self._below.close()


class MemoryDevice:
    """Bytes in memory as a device of fixed size."""

    def __init__(self, content: Buffer, name: str = "memory") -> None:
        self.name = name
        self.content = bytearray(content)

    @property
    def size(self) -> int:
        """Size in bytes."""
        return len(self.content)

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset``."""
        check_range(self, offset, length)
        return bytes(self.content[offset : offset + length])

    def write_at(self, offset: int, data: Buffer) -> None:
        """Write all of ``data`` at ``offset``."""
        check_range(self, offset, len(data))
        self.content[offset : offset + len(data)] = data

    def flush(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""
