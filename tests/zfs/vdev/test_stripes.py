"""RAID-Z and dRAID: blocks written by the maps are read back, with devices gone and with devices that lie."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from unikiln.base.device import MemoryDevice
from unikiln.errors import CorruptError
from unikiln.zfs.codec import raidz as codec
from unikiln.zfs.codec.checksum import fletcher_4
from unikiln.zfs.format import label
from unikiln.zfs.vdev.attempt import Vdev
from unikiln.zfs.vdev.draid import DistributedSpare, Draid, Layout, permutations
from unikiln.zfs.vdev.leaf import Absent, Leaf
from unikiln.zfs.vdev.mirror import Mirror
from unikiln.zfs.vdev.raidz import Raidz
from unikiln.zfs.vdev.stripes import Row

SECTOR = 4096
Striped = Raidz | Draid


def disks(count: int, size: int = 2 << 20) -> list[Leaf]:
    return [Leaf(MemoryDevice(bytes(label.START + size), f"disk{n}"), n) for n in range(count)]


def rows_of(vdev: Striped, offset: int, size: int, birth: int) -> list[Row]:
    return vdev.rows(offset, size, birth) if isinstance(vdev, Raidz) else vdev.rows(offset, size)


def write(vdev: Striped, leaves: Sequence[Leaf], data: bytes, offset: int, birth: int = 0) -> None:
    """What a pool would have on its disks."""
    for row in rows_of(vdev, offset, len(data), birth):
        length = row.parity[0].size
        padded = data + bytes(length)
        columns = [
            np.frombuffer(padded[c.at : c.at + c.size].ljust(length, b"\0"), dtype=np.uint8) for c in row.data
        ]
        for number, column in enumerate(row.parity):
            content = codec.parity_of(columns, number).tobytes()
            leaves[column.child].device.write_at(label.START + column.offset, content)
        for column in row.data:
            piece = padded[column.at : column.at + column.size]
            leaves[column.child].device.write_at(label.START + column.offset, piece)


def read(vdev: Vdev, data: bytes, offset: int, birth: int = 0) -> tuple[bytes, tuple[str, ...]]:
    """The first attempt that is right, and whom it accuses."""
    for attempt in vdev.attempts(offset, len(data), birth):
        try:
            found = attempt.read()
        except CorruptError:
            continue
        if fletcher_4(found) == fletcher_4(data):
            return found, attempt.without
    raise AssertionError("no attempt is right")


def content(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def without(vdev: Striped, gone: Sequence[int]) -> Striped:
    children = [Absent(f"gone{n}") if n in gone else child for n, child in enumerate(vdev.children)]
    return replace(vdev, children=children)


@pytest.mark.parametrize("width", [3, 5, 8])
@pytest.mark.parametrize("nparity", [1, 2, 3])
@pytest.mark.parametrize("sectors", [1, 2, 3, 7, 16, 33])
def test_raidz_reads_with_any_disks_gone_or_lying(width: int, nparity: int, sectors: int) -> None:
    if width <= nparity:
        return
    leaves = disks(width)
    vdev = Raidz("raidz", leaves, nparity, 12)
    data = content(sectors * SECTOR)
    for offset in (5 * SECTOR, (1 << 20) + 2 * SECTOR):
        write(vdev, leaves, data, offset)
        assert read(vdev, data, offset) == (data, ())
        for count in range(1, nparity + 1):
            for gone in combinations(range(width), count):
                assert read(without(vdev, gone), data, offset)[0] == data
        lying(vdev, leaves, data, offset, nparity)


def lying(vdev: Striped, leaves: Sequence[Leaf], data: bytes, offset: int, count: int) -> None:
    held = [bytes(leaf.device.read_at(0, leaf.device.size)) for leaf in leaves[:count]]
    for leaf in leaves[:count]:
        leaf.device.write_at(label.START, b"\x55" * (leaf.device.size - label.START))
    found, accused = read(vdev, data, offset)
    assert found == data
    assert set(accused) <= {leaf.name for leaf in leaves[:count]}
    for leaf, before in zip(leaves, held, strict=False):
        leaf.device.write_at(0, before)


def test_single_parity_changes_sides_every_mebibyte() -> None:
    vdev = Raidz("raidz", disks(3), 1, 12)
    (low,), (high,) = vdev.rows(0, 2 * SECTOR, 0), vdev.rows(3 << 20, 2 * SECTOR, 0)
    assert low.parity[0].child == 0
    assert [column.child for column in low.data] == [1, 2]
    assert high.parity[0].child == (high.data[1].child + 2) % 3


def test_sizes_below_a_sector_are_read() -> None:
    leaves = disks(4)
    vdev = Raidz("raidz", leaves, 1, 12)
    data = content(512)
    write(vdev, leaves, data.ljust(SECTOR, b"\0"), 0)
    assert read(vdev, data, 0) == (data, ())
    assert list(vdev.problems(0, 512, 0, lambda found: found == data)) == []


@pytest.mark.parametrize("sectors", [1, 2, 3, 5, 8, 9, 20, 32])
@pytest.mark.parametrize("nparity", [1, 2])
def test_old_blocks_of_an_expanded_raidz_flow_over_more_disks(sectors: int, nparity: int) -> None:
    leaves = disks(nparity + 4)
    vdev = Raidz("raidz", leaves, nparity, 12, expansions=(50, 90))
    data = content(sectors * SECTOR)
    for birth, width in ((10, nparity + 2), (50, nparity + 3), (89, nparity + 3), (90, nparity + 4)):
        assert vdev.logical_width(birth) == width
        offset = 24 * SECTOR * birth
        write(vdev, leaves, data, offset, birth)
        assert read(vdev, data, offset, birth)[0] == data
        for gone in combinations(range(len(leaves)), nparity):
            assert read(without(vdev, gone), data, offset, birth)[0] == data


def test_an_old_block_covers_the_same_sectors_as_before() -> None:
    """Adding a disk moves sector n of the address space to disk n % width, row n // width."""
    vdev = Raidz("raidz", disks(5), 1, 12, expansions=(50,))
    first, count = 13, 10
    rows = vdev.rows(first * SECTOR, 7 * SECTOR, 1)
    places = {
        column.offset // SECTOR * 5 + column.child
        for row in rows
        for column in (*row.parity, *row.data)
        if column.size
    }
    assert places == set(range(first, first + count))


def test_while_a_disk_is_added_what_was_not_moved_is_in_its_old_place() -> None:
    leaves = disks(4)
    vdev = Raidz("raidz", leaves, 1, 12, is_expanding=True, reflowed=100 * SECTOR)
    assert {c.child for row in vdev.rows(200 * SECTOR, 20 * SECTOR, 9) for c in row.data} <= {0, 1, 2}
    assert 3 in {c.child for row in vdev.rows(0, 20 * SECTOR, 9) for c in row.data}
    (row,) = replace(vdev, in_scratch=True).rows(0, SECTOR, 9)
    assert row.parity[0].offset == -label.BOOT_SIZE


def test_a_raidz_of_nonsense_is_refused() -> None:
    for nparity, width in ((0, 3), (4, 9), (2, 2)):
        with pytest.raises(CorruptError):
            Raidz("raidz", disks(width, 4096), nparity, 12)


@pytest.mark.parametrize(("disk_count", "sums"), [(2, 0x433D433D), (4, 0x1819D7C69), (255, 0)])
def test_permutations_are_those_that_pools_use(disk_count: int, sums: int) -> None:
    rows = permutations(disk_count)
    assert all(sorted(row) == list(range(disk_count)) for row in rows)
    if sums:
        assert fletcher_4(b"".join(rows))[0] == sums


LAYOUTS = [Layout(4, 2, 1, 1, 1), Layout(7, 3, 1, 1, 3), Layout(10, 3, 2, 2, 8), Layout(9, 4, 3, 2, 1)]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("sectors", [1, 3, 4, 17])
def test_draid_reads_with_any_disks_gone_or_lying(layout: Layout, sectors: int) -> None:
    leaves = disks(layout.disks)
    vdev = Draid("draid", leaves, layout, 12)
    data = content(sectors * SECTOR)
    offset = 3 * layout.width * SECTOR
    write(vdev, leaves, data, offset)
    assert read(vdev, data, offset) == (data, ())
    for gone in combinations(range(layout.disks), layout.nparity):
        assert read(without(vdev, gone), data, offset)[0] == data
    lying(vdev, leaves, data, offset, layout.nparity)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_no_two_sectors_of_a_draid_share_a_place(layout: Layout) -> None:
    vdev = Draid("draid", disks(layout.disks, 4096), layout, 12)
    seen: set[tuple[int, int]] = set()
    for number in range(0, 40_000, 997):
        for row in vdev.rows(number * layout.width * SECTOR, layout.ndata * SECTOR):
            places = {(column.child, column.offset) for column in (*row.parity, *row.data)}
            assert len({child for child, _ in places}) == layout.width
            assert not places & seen
            seen |= places


def test_a_block_over_the_end_of_a_group_goes_on_in_the_next() -> None:
    layout = Layout(7, 3, 1, 1, 3)
    vdev = Draid("draid", disks(7, 4096), layout, 12)
    first, second = vdev.rows(layout.group_size - 2 * layout.width * SECTOR, 9 * SECTOR)
    assert [c.size for c in first.data] == [2 * SECTOR] * 3
    assert [c.at for c in second.data] == [6 * SECTOR, 7 * SECTOR, 8 * SECTOR]


def test_a_distributed_spare_serves_for_a_disk() -> None:
    layout = Layout(5, 3, 1, 1, 1)
    leaves = disks(5)
    vdev = Draid("draid", leaves, layout, 12)
    data, offset = content(9 * SECTOR), 0
    write(vdev, leaves, data, offset)
    (row,) = vdev.rows(offset, len(data))
    column = row.data[1]
    spare = DistributedSpare("spare", 0)
    children: list[Vdev] = list(leaves)
    children[column.child] = Mirror("spare-1", [Absent("gone"), spare])
    rebuilt = Draid("draid", children, layout, 12)
    spare.draid = rebuilt
    # what a resilver does: the column's bytes onto the disk whose turn it is to have the spare space
    home = layout.disk(column.offset // layout.slice_size, layout.disks - 1)
    assert home not in {c.child for c in (*row.parity, *row.data)}
    leaves[home].device.write_at(label.START + column.offset, data[column.at : column.at + column.size])
    first = next(iter(rebuilt.attempts(offset, len(data), 0)))
    assert first.read() == data
    other = row.data[0].child
    assert read(without(rebuilt, [other]), data, offset)[0] == data


def test_a_spare_that_leads_to_itself_gives_nothing() -> None:
    layout = Layout(3, 1, 1, 1, 1)
    spares = [DistributedSpare(f"spare{n}", 0) for n in range(3)]
    vdev = Draid("draid", spares, layout, 12)
    for spare in spares:
        spare.draid = vdev
    assert list(spares[0].attempts(0, 4096, 0)) == []


def test_a_draid_of_nonsense_is_refused() -> None:
    for fields in ((4, 2, 1, 4, 1), (4, 0, 1, 1, 1), (4, 2, 1, 1, 0), (4, 8, 1, 1, 1), (5, 2, 1, 1, 1)):
        with pytest.raises(CorruptError):
            Layout(*fields)
    with pytest.raises(CorruptError):
        permutations(300)


def test_problems_name_the_disk_and_what_is_wrong_on_it() -> None:
    leaves = disks(4)
    vdev = Raidz("raidz", leaves, 2, 12)
    data = content(4 * SECTOR)
    write(vdev, leaves, data, 0)
    assert list(vdev.problems(0, len(data), 0, lambda found: found == data)) == []
    leaves[0].device.write_at(label.START, b"\xff")
    leaves[2].device.write_at(label.START + SECTOR, b"\xff" * 9)
    found = list(vdev.problems(0, len(data), 0, lambda found: found == data))
    assert found == ["on disk0: its parity is wrong", "on disk2: its data is wrong"]
    leaves[3].device.write_at(label.START, b"\xff" * 9)
    assert list(vdev.problems(0, len(data), 0, lambda found: found == data)) == [
        "on raidz cannot be reconstructed"
    ]


def test_a_disk_that_is_being_replaced_has_two_sides() -> None:
    leaves = disks(4)
    vdev = Raidz("raidz", leaves[:3], 1, 12)
    data = content(6 * SECTOR)
    write(vdev, leaves, data, 0)
    old, new = leaves[1], leaves[3]
    new.device.write_at(label.START, old.device.read_at(label.START, old.device.size - label.START))
    old.device.write_at(label.START, b"\x55" * 65536)
    leaves[2].device.write_at(label.START, b"\x55" * 65536)
    replacing = replace(vdev, children=[leaves[0], Mirror("replacing", [old, new]), leaves[2]])
    with pytest.raises(AssertionError):
        read(replace(vdev, children=[leaves[0], old, leaves[2]]), data, 0)
    assert read(replacing, data, 0)[0] == data
