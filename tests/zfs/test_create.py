"""The writer's own promises: sizes, room, sameness, refusals. Whether it is ZFS, others judge."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.zfs.pools import make_pool
from unikiln.base.device import FileDevice
from unikiln.base.tree import Node
from unikiln.errors import HostError, NoSpaceError, UnsupportedError, UsageError
from unikiln.zfs import ingest, znode
from unikiln.zfs.alloc import slop
from unikiln.zfs.block_writer import Policy
from unikiln.zfs.pool import open_pool
from unikiln.zfs.sizing import usable_size

MIB = 1 << 20


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "noise").write_bytes(os.urandom(3 * MIB))
    (folder / "tiny").write_bytes(b"tiny")
    return folder


def test_least_size(source: Path, tmp_path: Path) -> None:
    assert make_pool(source, tmp_path / "pool.img").size == 64 * MIB


def test_default_size_leaves_the_slack_usable(source: Path, tmp_path: Path) -> None:
    (source / "more").write_bytes(os.urandom(60 * MIB))
    for slack in (0.0, 0.1, 0.5):
        result = make_pool(source, tmp_path / "pool.img", slack=slack)
        usable = usable_size(result.size)
        assert usable - slop(usable) >= result.bytes_out * (1 + slack)
        assert (tmp_path / "pool.img").stat().st_size == result.size


def test_a_pool_that_is_too_small_is_full(source: Path, tmp_path: Path) -> None:
    (source / "more").write_bytes(os.urandom(60 * MIB))
    with pytest.raises(NoSpaceError, match="pool is full"):
        make_pool(source, tmp_path / "pool.img", size=64 * MIB)


def test_a_pool_can_be_filled_to_the_brim(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_bytes(os.urandom(53 * MIB))
    result = make_pool(source, tmp_path / "pool.img", size=64 * MIB)
    assert result.bytes_out > 53 * MIB
    with open_pool(FileDevice(tmp_path / "pool.img")) as pool:
        assert pool.allocated == result.bytes_out


def test_below_what_openzfs_takes(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="64M"):
        make_pool(source, tmp_path / "pool.img", size=63 * MIB)


def test_above_what_we_lay_out(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="too large"):
        make_pool(source, tmp_path / "pool.img", size=20 << 60)


def test_same_seed_same_bytes(source: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one.img", tmp_path / "two.img"
    make_pool(source, one)
    make_pool(source, two)
    assert one.read_bytes() == two.read_bytes()
    assert make_pool(source, two, seed=2).pool_guid != make_pool(source, one).pool_guid


def test_only_osv_features_are_active_unless_asked(source: Path, tmp_path: Path) -> None:
    known = {"com.delphix:async_destroy", "com.delphix:empty_bpobj", "org.illumos:lz4_compress"}
    for profile in ("osv", "openzfs"):
        make_pool(source, tmp_path / "pool.img", profile=profile)
        with open_pool(FileDevice(tmp_path / "pool.img")) as pool:
            active = {name for name, count in pool.features.items() if count}
            assert (active <= known) == (profile == "osv")


def test_tiny_files_are_embedded(source: Path, tmp_path: Path) -> None:
    (source / "tiny").write_bytes(b"tiny " * 100)
    blocks = {}
    for profile in ("osv", "openzfs"):
        make_pool(source, tmp_path / "pool.img", profile=profile)
        with open_pool(FileDevice(tmp_path / "pool.img")) as pool:
            inode = pool.filesystem().path(b"/tiny")
            assert inode.read(0, 1000) == b"tiny " * 100
            blocks[profile] = inode.attributes.blocks
    assert blocks == {"osv": 8, "openzfs": 0}


def test_too_many_extended_attributes(tmp_path: Path) -> None:
    node = Node(0o100644, xattrs={b"user.%d" % number: bytes(4000) for number in range(20)})
    with pytest.raises(UnsupportedError, match="extended attributes"):
        znode.encode(node, znode.Place(5, 1, 0, 4), znode.Layouts(), b"big")


def test_a_file_that_shrinks_while_read(source: Path, tmp_path: Path) -> None:
    request = ingest.Request(1, os.fspath(source / "tiny"), 8)
    with pytest.raises(HostError, match="shorter"):
        list(ingest.read_files([request], 131072, Policy(True, 12)))


@pytest.mark.parametrize(
    "pool", ["", "1st", "a/b", "a@b", "mirror", "mirror2", "raidz1", "spare", "log", "ü"]
)
def test_names_that_no_pool_has(source: Path, tmp_path: Path, pool: str) -> None:
    with pytest.raises(UsageError, match="no name for a pool"):
        make_pool(source, tmp_path / "pool.img", pool=pool)


@pytest.mark.parametrize("dataset", ["a@b", "a/../b", "a#b", "%a", "x" * 300, "/".join("d" * 60)])
def test_names_that_no_dataset_has(source: Path, tmp_path: Path, dataset: str) -> None:
    with pytest.raises(UsageError, match="dataset"):
        make_pool(source, tmp_path / "pool.img", dataset=dataset)
