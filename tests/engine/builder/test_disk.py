from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from tests import judges
from unikiln.base.progress import QUIET
from unikiln.base.tree import Node, directory
from unikiln.engine.builder.choice import Choice, guest_for
from unikiln.engine.builder.disk import DiskPlan, pool_partition, write_disk
from unikiln.engine.builder.machine import EmbeddedGuest
from unikiln.engine.builder.pool import Pool
from unikiln.errors import ImageError, MachineError, UsageError
from unikiln.image import mbr
from unikiln.image.container import create_image, open_image
from unikiln.image.layout import Layout

MIB = 1 << 20


def filled() -> Pool:
    pool = Pool("osv", "/zfs", "/", 0)
    dataset = pool.create("osv/zfs")
    dataset.root.children[b"file"] = Node(0o100644, uid=3)
    return pool


def start_of(path: Path) -> tuple[int, int, int]:
    with closing(open_image(path)) as disk:
        partition = pool_partition(disk)
        return partition.start, partition.size, disk.size


def before(path: Path, form: str, size: int = 70 * MIB) -> Path:
    """A disk with something in front of partition 2, something behind it, and something old in it."""
    device = create_image(path, form)
    device.truncate(size)
    mbr.write_disk(device, 2 * MIB, 66 * MIB, "--rootfs=zfs /app", mbr.EMPTY)
    device.write_at(MIB, b"kernel")
    device.write_at(3 * MIB, b"old pool" * 1000)
    device.write_at(69 * MIB, b"behind")
    device.flush()
    device.close()
    return path


@pytest.mark.parametrize("form", ["raw", "qcow2"])
@pytest.mark.judge("qemu-img")
def test_all_but_the_pool_is_kept(tmp_path: Path, form: str) -> None:
    for name in ("old", "new"):
        (tmp_path / name).touch()
    old, new = before(tmp_path / "old", form), tmp_path / "new"
    write_disk(DiskPlan(path=new, form=form, before=old), filled(), 7, QUIET)
    assert start_of(new) == start_of(old) == (2 * MIB, 66 * MIB, 70 * MIB)
    with closing(open_image(old)) as was, closing(open_image(new)) as now:
        for at, size in ((0, 2 * MIB), (68 * MIB, 2 * MIB)):
            assert was.read_at(at, size) == now.read_at(at, size)
        assert b"old pool" not in now.read_at(2 * MIB, 66 * MIB)
    judges.run("qemu-img", "info", new)
    if form == "qcow2":
        judges.run("qemu-img", "check", new)


def test_a_disk_without_a_place_for_a_pool(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(bytes(MIB))
    (tmp_path / "new").touch()
    with pytest.raises(ImageError, match=r"has no partition 2 for a pool .*setpartition"):
        write_disk(DiskPlan(path=tmp_path / "new", form="raw", before=tmp_path / "old"), filled(), 7, QUIET)


def test_a_partition_that_is_not_on_the_disk(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(mbr.encode(512, 64 * MIB))
    (tmp_path / "new").touch()
    with pytest.raises(ImageError, match="longer than the disk"):
        write_disk(DiskPlan(path=tmp_path / "new", form="raw", before=tmp_path / "old"), filled(), 7, QUIET)


def test_a_new_disk_of_a_size(tmp_path: Path) -> None:
    (tmp_path / "new").touch()
    write_disk(DiskPlan(path=tmp_path / "new", form="raw", size=80 * MIB + 700), filled(), 7, QUIET)
    assert start_of(tmp_path / "new") == (512, 80 * MIB, 80 * MIB + 512)


def test_a_new_disk_with_a_command_line(tmp_path: Path) -> None:
    (tmp_path / "new").touch()
    layout = Layout(MIB, True, "--rootfs=zfs /app")
    write_disk(DiskPlan(path=tmp_path / "new", form="raw", layout=layout), filled(), 7, QUIET)
    with closing(open_image(tmp_path / "new")) as disk:
        assert mbr.read_cmdline(disk) == "--rootfs=zfs /app"
        assert pool_partition(disk).start == MIB


def test_files_beside_the_dataset(tmp_path: Path) -> None:
    pool = filled()
    pool.datasets["osv"].root.children[b"stray"] = directory()
    (tmp_path / "new").touch()
    with pytest.raises(MachineError, match="/zfs cannot be written"):
        write_disk(DiskPlan(path=tmp_path / "new", form="raw"), pool, 7, QUIET)


def test_compressions_that_are_not_written(tmp_path: Path) -> None:
    pool = filled()
    pool.datasets["osv"].set("compression", "gzip")
    (tmp_path / "new").touch()
    with pytest.raises(MachineError, match="compression=gzip cannot be written"):
        write_disk(DiskPlan(path=tmp_path / "new", form="raw"), pool, 7, QUIET)


def test_a_guest_for_what_is_there(tmp_path: Path) -> None:
    image = before(_touched(tmp_path / "disk"), "qcow2")
    with pytest.raises(UsageError, match="keeps its size"):
        guest_for(Choice(engine="embedded", output=image, size=MIB))
    with pytest.raises(UsageError, match="tells no image format"):
        guest_for(Choice(engine="embedded", output=tmp_path / "other"))
    guest = guest_for(Choice(engine="embedded", output=image))(tmp_path / "x")
    assert isinstance(guest, EmbeddedGuest)
    assert (guest._plan.form, guest._plan.before) == ("qcow2", image)
    guest.end()


def _touched(path: Path) -> Path:
    path.touch()
    return path
