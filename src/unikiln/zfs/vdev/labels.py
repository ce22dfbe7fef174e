"""Read what the four labels of a device say: its configuration, and its rings of uberblocks.

A label is believed when its own checksum holds (``vdev_label_read_config``, vdev_label.c).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from unikiln.base.device import BlockDevice
from unikiln.errors import UnikilnError
from unikiln.zfs.format import label, nvlist, uberblock
from unikiln.zfs.format.nvlist import NvList
from unikiln.zfs.format.uberblock import Uberblock

_SMALLEST = 4 * label.SIZE
_MAX_ASHIFT = 16


@dataclass(slots=True)
class Label:
    """One of the four labels: ``config`` is None, and ``problem`` says why, when it cannot be used."""

    index: int
    offset: int
    config: NvList | None = None
    problem: str = ""
    uberblocks: list[Uberblock] = field(default_factory=list)
    unsealed: list[int] = field(default_factory=list)
    """Slots of the ring that hold an uberblock whose checksum fails."""


def read_labels(device: BlockDevice) -> list[Label]:
    """All four labels, usable or not; none when the device is too small to have them."""
    if device.size < _SMALLEST:
        return []
    labels = [Label(index, offset) for index, offset in enumerate(label.offsets(device.size))]
    for each in labels:
        _read_config(device, each)
        if each.config is not None:
            _read_ring(device, each, number(each.config.get("vdev_tree"), "ashift"))
    return labels


def has_config(device: BlockDevice) -> bool:
    """Whether any label's configuration has a valid checksum."""
    if device.size < _SMALLEST:
        return False
    return any(_sealed_nvlist(device, offset) is not None for offset in label.offsets(device.size))


def number(tree: object, name: str, default: int = 0) -> int:
    """The integer ``name`` of a nested list, or ``default`` when there is none."""
    value = tree.get(name) if isinstance(tree, dict) else None
    return value if isinstance(value, int) else default


def _sealed_nvlist(device: BlockDevice, offset: int) -> bytes | None:
    start = offset + label.NVLIST_OFFSET
    block = device.read_at(start, label.NVLIST_SIZE)
    return block if label.is_sealed(block, start) else None


def _read_config(device: BlockDevice, target: Label) -> None:
    try:
        block = _sealed_nvlist(device, target.offset)
        if block is None:
            target.problem = "its configuration fails its checksum"
        else:
            target.config = nvlist.decode(block)
    except UnikilnError as error:
        target.problem = f"its configuration cannot be read: {error.message}"


def _read_ring(device: BlockDevice, target: Label, ashift: int) -> None:
    start = target.offset + label.RING_OFFSET
    ring = device.read_at(start, label.RING_SIZE)
    size = label.uberblock_size(min(ashift, _MAX_ASHIFT))
    for slot, block in enumerate(_slots(ring, size)):
        found = uberblock.unpack(block)
        if found is None:
            continue
        if label.is_sealed(block, start + slot * size):
            target.uberblocks.append(found)
        else:
            target.unsealed.append(slot)


def _slots(ring: bytes, size: int) -> Iterator[bytes]:
    return (ring[at : at + size] for at in range(0, len(ring), size))
