"""Where on a disk the file system goes, and what stands before it.

======================  =========================================================================
a kernel                the kernel from sector 0, the command line in it at byte 512, the file system
                        in partition 2 from the kernel's end, rounded up to 2 MiB
a command line alone    sector 0, the command line at byte 512, partition 2 from 1 MiB
neither                 sector 0, partition 2 from byte 512
bare                    the file system, and nothing else
======================  =========================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unikiln.base.size import round_up
from unikiln.errors import UsageError
from unikiln.image import kernel as kernels
from unikiln.image import mbr
from unikiln.image.growing import GrowingDevice
from unikiln.image.partition import SECTOR

BARE = ("bare", "pool")
"""Two words for a file system without a disk around it."""


@dataclass(frozen=True, slots=True)
class Layout:
    """``start`` is the byte of the disk at which the file system begins; ``partitioned``, whether
    there is a table that says so.
    """

    start: int
    partitioned: bool
    cmdline: str | None = None
    kernel: Path | None = None

    def begin(self, device: GrowingDevice) -> None:
        """Write what stands before the file system, except what must tell its size."""
        if self.kernel is not None:
            kernels.copy(self.kernel, device)

    def finish(self, device: GrowingDevice, size: int, disk_size: int | None) -> None:
        """Write the table around a file system of ``size`` bytes; the disk becomes as long as asked."""
        end = self.start + (round_up(size, SECTOR) if self.partitioned else size)
        device.truncate(end if disk_size is None else max(end, disk_size // SECTOR * SECTOR))
        if self.partitioned:
            sector = mbr.EMPTY if self.kernel is None else device.read_at(0, SECTOR)
            mbr.write_disk(device, self.start, end - self.start, self.cmdline, sector)

    def room(self, disk_size: int) -> int:
        """Bytes for the file system on a disk of ``disk_size``.

        :raises UsageError: none
        """
        room = disk_size // SECTOR * SECTOR - self.start
        if room <= 0:
            raise UsageError(
                f"a disk of {disk_size} bytes has no room for a file system that begins at byte {self.start}"
            )
        return room


def plan(layout: str, arch: str, fs: str, cmdline: str | None, kernel: Path | None) -> Layout:
    """The layout that these options mean; ``cmdline`` gets ``--rootfs=FS`` in front.

    :raises UsageError: they contradict each other
    :raises ImageError: the kernel is none
    """
    if layout in BARE:
        if cmdline is not None or kernel is not None:
            what = "kernel" if cmdline is None else "command line"
            raise UsageError(f"a bare {fs} has no place for a {what}", hint="use --layout disk")
        return Layout(0, partitioned=False)
    if kernel is not None:
        if arch != "x86_64":
            raise UsageError(
                f"a disk for {arch} has no kernel on it",
                hint="leave --kernel away: who boots the disk, such as QEMU, loads the kernel itself",
            )
        start = kernels.partition_start(kernel)
        cmdline = kernels.stored_cmdline(kernel) if cmdline is None else cmdline
    else:
        start = mbr.pool_start(cmdline)
    if cmdline is not None:
        cmdline = mbr.with_rootfs(cmdline, fs)
        mbr.encode_cmdline(cmdline)  # too long a one is refused before the work, not after
    return Layout(start, True, cmdline, kernel)
