"""Removed devices: blocks in one piece and in several, copied to others removed later, and maps that lie."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest

from unikiln.base.device import MemoryDevice
from unikiln.errors import CorruptError
from unikiln.zfs.format import label
from unikiln.zfs.vdev.attempt import Vdev
from unikiln.zfs.vdev.indirect import Indirect, Segment, decode_mapping
from unikiln.zfs.vdev.leaf import Leaf
from unikiln.zfs.vdev.mirror import Mirror
from unikiln.zfs.vdev.top import Parts, TopVdev

K = 1024


def entry(source: int, size: int, vdev: int, offset: int) -> bytes:
    return struct.pack("<3Q", source >> 9 | 1 << 63, vdev << 32 | size >> 9, offset >> 9)


def leaf(name: str, **at: bytes) -> Leaf:
    device = MemoryDevice(bytes(label.START + 64 * K), name)
    for offset, data in at.items():
        device.write_at(label.START + int(offset[1:]), data)
    return Leaf(device, 1)


def removed(segments: Sequence[Segment], **vdevs: Vdev) -> Indirect:
    return Indirect("indirect-0", lambda: segments, lambda which: vdevs[f"v{which}"])


def test_the_map_on_disk() -> None:
    data = entry(0, 8 * K, 1, 4 * K) + entry(16 * K, 512, 2, 1 << 40)
    assert decode_mapping(data) == [Segment(0, 8 * K, 1, 4 * K), Segment(16 * K, 512, 2, 1 << 40)]
    with pytest.raises(CorruptError, match="order"):
        decode_mapping(entry(4 * K, 8 * K, 1, 0) + entry(8 * K, K, 1, 0))


def test_a_block_in_one_piece_and_in_two() -> None:
    one, two = leaf("one", o4096=b"a" * 4 * K), leaf("two", o8192=b"b" * 4 * K)
    vdev = removed([Segment(0, 4 * K, 1, 4 * K), Segment(4 * K, 4 * K, 2, 8 * K)], v1=one, v2=two)
    assert [attempt.read() for attempt in vdev.attempts(K, K, 0)] == [b"a" * K]
    (attempt,) = vdev.attempts(3 * K, 2 * K, 0)
    assert attempt.read() == b"a" * K + b"b" * K
    assert attempt.name == "one and two"


def test_every_combination_of_the_pieces_sides_is_tried() -> None:
    good, bad = b"a" * 2 * K + b"b" * 2 * K, b"x" * 4 * K
    left = Mirror("left", [leaf("l0", o0=bad), leaf("l1", o0=good[: 2 * K])])
    right = Mirror("right", [leaf("r0", o0=good[2 * K :]), leaf("r1", o0=bad)])
    vdev = removed([Segment(0, 2 * K, 1, 0), Segment(2 * K, 2 * K, 2, 0)], v1=left, v2=right)
    assert good in [attempt.read() for attempt in vdev.attempts(0, 4 * K, 0)]
    assert list(vdev.problems(0, 4 * K, 0, lambda data: data == good)) == []
    assert list(vdev.problems(0, 4 * K, 0, lambda data: False)) != []
    found = list(vdev.problems(0, K, 0, lambda data: data == good[:K]))
    assert found == ["on l0 fails its checksum"]


def test_a_removed_device_copied_to_one_that_was_removed_later() -> None:
    last = leaf("last", o1024=b"z" * K)
    middle = removed([Segment(2 * K, K, 3, K)], v3=last)
    first = removed([Segment(0, K, 2, 2 * K)], v2=middle)
    assert [attempt.read() for attempt in first.attempts(512, 512, 0)] == [b"z" * 512]


def test_what_is_not_in_the_map_is_corrupt() -> None:
    vdev = removed([Segment(4 * K, K, 1, 0)], v1=leaf("one"))
    for offset, size in ((0, K), (4 * K, 2 * K), (9 * K, 512)):
        with pytest.raises(CorruptError, match="not in the map"):
            list(vdev.attempts(offset, size, 0))
    with pytest.raises(CorruptError, match="not in the map"):
        list(removed([]).attempts(0, 512, 0))


def test_a_removed_device_needs_its_map() -> None:
    top = TopVdev({"type": "indirect", "id": 3, "ashift": 12}, Parts())
    assert not top.has_space
    with pytest.raises(CorruptError, match="vdev 3 was removed"):
        list(top.vdev.attempts(0, 512, 0))
