"""Volumes, for reading: a dataset that is a block device (zvol.c).

Its object 1 holds the blocks, its object 2 (a ZAP) says the size. What lies on it, partitions and
file systems of any kind, is opened like what lies on any other device.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from unikiln.base.device import Buffer, check_range
from unikiln.errors import CorruptError, UnsupportedError
from unikiln.zfs.format.objset import ObjsetType
from unikiln.zfs.objset import DmuObject, ObjectSet
from unikiln.zfs.written import Written
from unikiln.zfs.zap import read_zap

_DATA, _PROPERTIES = 1, 2


class Volume:
    """A volume or a snapshot of one, as a :class:`~unikiln.base.device.BlockDevice` that is read-only.

    ``log`` is what its intent log holds that was not replayed yet.
    """

    def __init__(self, objset: ObjectSet, log: Written | None = None) -> None:
        self.objset = objset
        self.name = objset.name
        self._log = log or Written()

    @cached_property
    def _data(self) -> DmuObject:
        if self.objset.type != ObjsetType.ZVOL:
            raise UnsupportedError(f"{self.name} is not a volume")
        return self.objset.object(_DATA)

    @cached_property
    def size(self) -> int:
        """Size in bytes.

        :raises UnsupportedError: not a volume
        :raises CorruptError: it does not say how large it is
        """
        self._data  # noqa: B018  refuses what is not a volume
        size = read_zap(self.objset, _PROPERTIES).get(b"size")
        if size is None:
            raise CorruptError(f"{self.name}: the volume has no size")
        return size

    @property
    def block_size(self) -> int:
        """Bytes in a block (``volblocksize``)."""
        return self._data.block_size

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset``; zeros where nothing was ever written.

        :raises ImageError: the range is not inside the volume
        :raises ChecksumError: a block of which no copy is good
        """
        check_range(self, offset, length)
        return self._log.over(self._data.read(offset, length), offset)

    def data_ranges(self) -> Iterator[tuple[int, int]]:
        """(offset, length) of what is not a hole, in order."""
        yield from self._log.ranges(self._stored(), self.size)

    def _stored(self) -> Iterator[tuple[int, int]]:
        step = self._data.block_size
        for number in self._data.data_blocks():
            if number * step < self.size:
                yield number * step, min(step, self.size - number * step)

    def write_at(self, offset: int, data: Buffer) -> None:
        """Pools are only read.

        :raises UnsupportedError: always
        """
        raise UnsupportedError(
            f"{self.name}: volumes can only be read", hint="copy it to a file and change that"
        )

    def flush(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do: the pool stays open."""
