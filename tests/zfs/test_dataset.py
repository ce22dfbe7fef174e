"""Datasets of a pool, against what ``zfs get``, ``zfs userspace``, ``zfs holds`` and ``zfs allow`` said."""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.zfs import corpus
from unikiln.base.device import BlockDevice
from unikiln.errors import ImageError, PoolNotFoundError, UnsupportedError
from unikiln.image.pools import open_pool
from unikiln.zfs.dataset import Dataset
from unikiln.zfs.pool import Pool
from unikiln.zfs.records import Delegation

NAMES = [name for name in corpus.names() if "zil" not in name]
CHANGED_BY_THE_EXPORT = frozenset(
    {
        "used", "available", "referenced", "logicalused", "logicalreferenced", "compressratio", "written",
        "refcompressratio", "usedbychildren", "usedbydataset", "usedbysnapshots", "usedbyrefreservation",
    }
)  # fmt: skip
"""The manifest was made while the pool was mounted: what was written then counts only later."""
NOT_ON_DISK = frozenset({"mounted", "receive_resume_token"})
USERS = {"root": 0, "user1": 1001, "user2": 1002, "nobody": 65534, "nogroup": 65534}


@pytest.fixture(scope="module", params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def pool(name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    yield from opened(name, tmp_path_factory.mktemp("pool"))


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    yield from opened("datasets", tmp_path_factory.mktemp("pool"))


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    yield from opened("zvol", tmp_path_factory.mktemp("pool"))


def opened(name: str, folder: Path) -> Iterator[Pool]:
    with open_pool(corpus.unpack_all(name, folder), key=corpus.keys(name)) as pool:
        yield pool


def expected(name: str, kind: str = "") -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = corpus.manifest(name)["datasets"]
    return {
        key: value for key, value in found.items() if value["type"] != "bookmark" and kind in value["type"]
    }


def test_every_property_is_as_zfs_get_says(name: str, pool: Pool) -> None:
    wrong = []
    for dataset, entry in expected(name).items():
        stated = {key: tuple(value) for key, value in entry["props"].items() if key not in NOT_ON_DISK}
        found = {key: tuple(value) for key, value in pool.dataset(dataset).properties.items()}
        for key in stated.keys() | found.keys():
            if not same(key, found.get(key), stated.get(key)):
                wrong.append(f"{dataset} {key}: {found.get(key)}, not {stated.get(key)}")
    assert wrong == []


def same(key: str, found: tuple[str, ...] | None, stated: tuple[str, ...] | None) -> bool:
    if key == "xattr" and found and stated:
        return found[1] == stated[1]  # 2.3 shows sa as on
    if key == "snapshots_changed" and found is None:
        return True  # a pool of version 1 keeps it in memory only
    if key in CHANGED_BY_THE_EXPORT and found and stated:
        tolerance = max(1 << 20, float(stated[0]) / 10) if "ratio" not in key else 2
        return abs(float(found[0]) - float(stated[0])) <= 2 * tolerance
    return found == stated


def test_space_of_users_groups_and_projects(name: str, pool: Pool) -> None:
    for dataset, entry in expected(name, "filesystem").items():
        if "mount_error" in entry:
            continue
        for kind in ("user", "group", "project"):
            rows = [line.split("\t") for line in entry[f"{kind}space_raw"].splitlines()]
            stated = {(int(USERS.get(row[1], row[1])), *(numbers(row[2:6]))) for row in rows}
            found = {tuple(each)[1:] for each in pool.dataset(dataset).space() if each.kind == kind}
            assert found == stated, (dataset, kind)


def numbers(cells: list[str]) -> tuple[int, ...]:
    return tuple(int(cell) if cell.isdigit() else 0 for cell in cells)


def test_holds(name: str, pool: Pool) -> None:
    for dataset, entry in expected(name, "snapshot").items():
        stated = {line.split("\t")[1] for line in entry["holds_raw"].splitlines()}
        found = pool.dataset(dataset).holds()
        assert found.keys() == stated
        assert all(when > 1_700_000_000 for when in found.values())


def test_bookmarks(name: str, pool: Pool) -> None:
    listed = corpus.manifest(name)["datasets"]
    for dataset in expected(name):
        prefix = f"{dataset}#"
        stated = {
            key[len(prefix) :]: value["props"] for key, value in listed.items() if key.startswith(prefix)
        }
        found = pool.dataset(dataset).bookmarks()
        assert found.keys() == stated.keys()
        for key, props in stated.items():
            for field in ("guid", "createtxg", "creation", "referenced", "logicalreferenced"):
                if field in props:
                    assert getattr(found[key], field) == int(props[field][0])


def test_delegations(datasets: Pool) -> None:
    assert datasets.dataset("ref_datasets/a").delegations() == [
        Delegation("create", "", local=True, descendent=False, permissions=("destroy",)),
        Delegation("set", "@set", local=True, descendent=False, permissions=("clone", "mount")),
        Delegation("user", "1001", local=True, descendent=True, permissions=("create", "mount", "snapshot")),
    ]
    assert datasets.dataset("ref_datasets/clone").delegations() == []


def test_clones_and_origins(datasets: Pool) -> None:
    clone = datasets.dataset("ref_datasets/clone")
    assert clone.origin == "ref_datasets/snap@s5"
    assert datasets.dataset("ref_datasets/a").origin is None
    assert datasets.dataset(clone.origin).properties["clones"].value == "ref_datasets/clone"


def test_snapshots_by_name(datasets: Pool) -> None:
    head = datasets.dataset("ref_datasets/snap")
    assert [each.name.partition("@")[2] for each in head.snapshots()] == ["s1", "s2", "s5"]
    assert head.snapshot("s2").object == datasets.dataset("ref_datasets/snap@s2").object
    assert head.snapshot("s2").snapshots() == []
    assert head.snapshot("s2").type == "snapshot"
    assert head.snapshot("s2").kind == head.type == "filesystem"
    with pytest.raises(PoolNotFoundError):
        head.snapshot("s3")
    with pytest.raises(PoolNotFoundError):
        datasets.dataset("ref_datasets/nothing")


def test_snapshots_below_dot_zfs(datasets: Pool) -> None:
    head = datasets.dataset("ref_datasets/snap")
    below, direct = head.path("/.zfs/snapshot/s2"), head.snapshot("s2").path()
    assert sorted(map(str, below.iterdir())) == sorted(map(str, direct.iterdir()))
    for path in direct.iterdir():
        assert head.path(f".zfs/snapshot/s2/{path.name}").lstat() == path.lstat()
    with pytest.raises(PoolNotFoundError):
        head.path("/.zfs/snapshot/none")


def test_as_many_files_are_of_a_project_as_it_counts(datasets: Pool) -> None:
    quota = datasets.dataset("ref_datasets/quota")
    counted = {each.id: each.objects for each in quota.space() if each.kind == "project"}
    found: Counter[int] = Counter()
    for directory, names, others in quota.path().walk():
        found.update((directory / name).inode(follow_symlinks=False).attributes.project for name in others)
        found[directory.inode().attributes.project] += 1
        assert isinstance(names, list)
    assert found[4242] == counted[4242] == 54


def test_volumes_are_devices(volumes: Pool) -> None:
    for name, entry in expected("zvol").items():
        if "volume" in entry:
            volume: BlockDevice = volumes.dataset(name).volume
            assert volume.size == entry["volume"]["size"]
            assert content(volume) == entry["volume"]["sha256"]


def content(volume: BlockDevice) -> str:
    digest = hashlib.sha256()
    for at in range(0, volume.size, 1 << 24):
        digest.update(volume.read_at(at, min(1 << 24, volume.size - at)))
    return digest.hexdigest()


def test_what_is_between_data_ranges_of_a_volume_is_zeros(volumes: Pool) -> None:
    volume = volumes.dataset("ref_zvol/sparse").volume
    ranges = list(volume.data_ranges())
    assert ranges
    assert sum(length for _, length in ranges) < volume.size
    end = 0
    for start, length in ranges:
        assert not any(volume.read_at(end, start - end))
        assert any(volume.read_at(start, length))
        end = start + length
    assert end <= volume.size


def test_a_file_system_lies_on_a_volume(volumes: Pool) -> None:
    volume = volumes.dataset("ref_zvol/ext4").volume
    (magic,) = struct.unpack_from("<H", volume.read_at(1024, 64), 56)
    assert magic == 0xEF53
    assert volume.block_size == 8192


def test_volumes_are_only_read(volumes: Pool) -> None:
    volume = volumes.dataset("ref_zvol/v512").volume
    with pytest.raises(UnsupportedError, match="only be read"):
        volume.write_at(0, b"x")
    with pytest.raises(ImageError):
        volume.read_at(volume.size - 1, 2)
    volume.flush()
    volume.close()
    assert volume.read_at(0, 0) == b""


def test_one_is_not_the_other(volumes: Pool) -> None:
    with pytest.raises(UnsupportedError, match="no filesystem"):
        volumes.dataset("ref_zvol/v512").path("/")
    with pytest.raises(UnsupportedError, match="no volume"):
        _ = volumes.dataset("ref_zvol").volume
    assert repr(volumes.dataset("ref_zvol")) == "<Dataset ref_zvol>"
    assert isinstance(volumes.dataset("ref_zvol"), Dataset)
