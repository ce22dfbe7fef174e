"""How large a device must be for what is in a pool: labels, metaslabs, and what OpenZFS keeps back."""

from __future__ import annotations

from unikiln.base.size import format_size, round_up
from unikiln.errors import UsageError
from unikiln.zfs.alloc import REGION, Allocator, metaslab_shift, slop
from unikiln.zfs.format import label
from unikiln.zfs.mos_writer import COPIES

MAX_DEVICE = 1 << 48
"""256 TiB: 16,384 metaslabs of 16 GiB, whose array is one block."""
_MIB = 1 << 20


def least_size(allocator: Allocator, slack: float) -> int:
    """The least device, in whole MiB, that holds what is allocated with ``slack`` of it to spare.

    To spare is what a user can fill: above the slop space, which OpenZFS lets nobody have. A pool
    without it would import and be full.
    """
    size = label.MIN_DEVICE
    while not _is_roomy(size, allocator, slack):
        size += max(size >> 8 >> 20, 1) * _MIB
    return size


def _is_roomy(size: int, allocator: Allocator, slack: float) -> bool:
    usable = usable_size(size)
    late = late_bytes(usable, metaslab_shift(vdev_asize(size)), allocator.ashift)
    wanted = (allocator.allocated + late) * (1 + slack)
    return usable >= allocator.end + late + REGION and usable - slop(usable) >= wanted


def vdev_asize(size: int) -> int:
    """Bytes of a device of ``size`` bytes between its labels."""
    return size // label.SIZE * label.SIZE - label.START - label.END


def usable_size(size: int) -> int:
    """Bytes of a device of ``size`` bytes that whole metaslabs cover.

    :raises UsageError: below OpenZFS's least device, 64 MiB, or above :data:`MAX_DEVICE`
    """
    if size < label.MIN_DEVICE:
        raise UsageError(f"a pool of {format_size(size)} is too small", hint="OpenZFS needs 64M")
    if size > MAX_DEVICE:
        raise UsageError(
            f"a pool of {format_size(size)} is too large", hint=f"at most {format_size(MAX_DEVICE)}"
        )
    asize = vdev_asize(size)
    shift = metaslab_shift(asize)
    return asize >> shift << shift


def late_bytes(usable: int, shift: int, ashift: int) -> int:
    """An upper bound of what is allocated after the size is fixed: space maps, dnodes, configuration."""
    maps = usable >> shift
    each = max(4096, 1 << ashift)
    dnodes = round_up(maps + 128, 32) // 32 * (16 << 10)
    return COPIES * (maps * each + dnodes + 4 * max(16 << 10, 1 << ashift) + (64 << 10))
