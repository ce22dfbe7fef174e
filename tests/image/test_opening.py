"""Which file system is in an image, and where: on the whole disk, or in a partition of either table."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.image.test_partitions import gpt_disk
from tests.rofs.trees import empty_device, small
from tests.zfs.pools import make_pool
from unikiln.base.device import FileDevice, MemoryDevice
from unikiln.bootfs.filesystem import FileSystem as Bootfs
from unikiln.bootfs.writer import files
from unikiln.bootfs.writer import write as write_bootfs
from unikiln.errors import ImageError, PoolNotFoundError, UnikilnError
from unikiln.image import mbr
from unikiln.image.opening import only_volume, open_plain, volumes
from unikiln.rofs.filesystem import FileSystem as Rofs
from unikiln.rofs.writer import write as write_rofs

MIB = 1 << 20


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The same tree as each of the small file systems."""
    folder = tmp_path_factory.mktemp("images")
    with empty_device(folder / "rofs") as device:
        write_rofs(device, small(folder))
    with empty_device(folder / "ramfs") as device:
        write_bootfs(device, files(small(folder)))
    return {name: (folder / name).read_bytes() for name in ("rofs", "ramfs")}


@pytest.mark.parametrize(("kind", "opened"), [("rofs", Rofs), ("ramfs", Bootfs)])
def test_the_whole_disk(images: dict[str, bytes], kind: str, opened: type) -> None:
    volume = only_volume(MemoryDevice(images[kind]))
    assert (volume.kind, volume.partition) == (kind, None)
    found = open_plain(volume)
    assert isinstance(found, opened)
    assert found.path(b"/d/l").read(0, 9) == b"abc"
    assert found.contents.bytes == 516


def test_partitions_of_a_gpt(images: dict[str, bytes]) -> None:
    device = gpt_disk((34, 99), (100, 199), (200, 299))
    device.write_at(200 * 512, images["rofs"])
    device.write_at(100 * 512, images["ramfs"])
    found = [(each.kind, each.partition.number) for each in volumes(device) if each.partition]
    assert found == [("ramfs", 2), ("rofs", 3)]
    assert only_volume(device).device.size == 100 * 512


def test_a_pool(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    make_pool(tmp_path / "source", tmp_path / "pool.img")
    with FileDevice(tmp_path / "pool.img") as device:
        assert (only_volume(device).kind, only_volume(device).partition) == ("zfs", None)


def test_a_truncated_disk_still_shows_what_is_on_it(images: dict[str, bytes]) -> None:
    device = MemoryDevice(bytes(MIB))
    mbr.write_disk(device, 512, 64 * MIB, None)
    device.write_at(512, images["rofs"])
    assert only_volume(device).device.size == MIB - 512
    cut = MemoryDevice(device.content[: 512 + len(images["rofs"]) - 512])
    with pytest.raises(ImageError, match="truncated"):
        open_plain(only_volume(cut))


def test_an_empty_bootfs() -> None:
    for size in (128, 512):
        assert only_volume(MemoryDevice(bytes(size))).kind == "ramfs"


@pytest.mark.parametrize("size", [0, 1, 127, 513, 4096, MIB])
def test_nothing(size: int) -> None:
    with pytest.raises(PoolNotFoundError, match=r"no ZFS pool on it, .* and there are no partitions"):
        only_volume(MemoryDevice(bytes(size)))


def test_nothing_in_partitions() -> None:
    with pytest.raises(PoolNotFoundError, match="nor in its 1 partitions"):
        only_volume(gpt_disk((34, 99)))


@given(st.binary(min_size=500, max_size=1500), st.sampled_from([b"", b"\xad\xbe\xad\xde" + bytes(4)]))
def test_any_bytes_are_looked_at_without_harm(content: bytes, head: bytes) -> None:
    device = MemoryDevice(mbr.encode(512, MIB) + head + content)
    with contextlib.suppress(UnikilnError):
        open_plain(only_volume(device))
