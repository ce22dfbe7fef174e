from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests import judges
from unikiln.base.device import FileDevice
from unikiln.base.tree import Node, directory
from unikiln.errors import HostError, ManifestError, NoSpaceError, UsageError
from unikiln.image import open_image, partitions
from unikiln.image.build import BuildOptions, BuildResult, build
from unikiln.image.mbr import read_cmdline
from unikiln.image.opening import only_volume, volumes
from unikiln.image.reproducible import fixed_seed, newest, settle, source_date_epoch
from unikiln.image.sources import SourceOptions

MIB = 1 << 20


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/app").write_bytes(b"program" * 1000)
    (folder / "bin/again").hardlink_to(folder / "bin/app")
    (folder / "link").symlink_to("bin/app")
    return folder


def make(source: Path, name: str, /, **options: object) -> BuildResult:
    chosen: dict[str, object] = {
        "sources": SourceOptions.of(source), "output": source.parent / name, "arch": "aarch64",
    }  # fmt: skip
    return build(BuildOptions(**(chosen | options)))  # type: ignore[arg-type]


def test_disk_layout(source: Path) -> None:
    result = make(source, "disk.raw")
    device = open_image(source.parent / "disk.raw")
    (entry,) = partitions(device)
    assert (entry.number, entry.type, entry.start) == (2, "83", 512)
    assert entry.start + entry.size == device.size == result.size
    assert entry.size == 64 * MIB
    (found,) = volumes(device)
    assert (found.kind, found.partition) == ("zfs", entry)
    assert (result.files, result.bytes_in) == (2, 7000)
    assert result.bytes_out % 4096 == 0
    assert (source.parent / "disk.raw").stat().st_blocks * 512 < 4 * MIB


def test_command_line_moves_the_pool(source: Path) -> None:
    make(source, "disk.qcow2", cmdline="--rootfs=zfs /bin/app")
    device = open_image(source.parent / "disk.qcow2")
    assert partitions(device)[0].start == MIB
    assert read_cmdline(device) == "--rootfs=zfs /bin/app"
    assert list(volumes(device))


def test_bare_pool(source: Path) -> None:
    result = make(source, "pool.zfs", layout="pool", size=100 * MIB)
    device = open_image(source.parent / "pool.zfs")
    assert device.size == result.size == 100 * MIB
    assert only_volume(device).partition is None


def test_size_is_that_of_the_disk(source: Path) -> None:
    assert make(source, "disk.raw", size=80 * MIB + 100).size == 80 * MIB
    assert (source.parent / "disk.raw").stat().st_size == 80 * MIB


@pytest.mark.judge("qemu-img")
def test_both_formats_hold_the_same_disk(source: Path) -> None:
    for name in ("disk.raw", "disk.qcow2"):
        make(source, name, seed="x")
    images = [source.parent / name for name in ("disk.raw", "disk.qcow2")]
    judges.run("qemu-img", "check", images[1])
    judges.run("qemu-img", "compare", *images)


@pytest.mark.parametrize("options", [{"seed": "a"}, {"epoch": 1_700_000_000}, {"seed": "a", "epoch": 5}])
def test_same_input_same_bytes(source: Path, options: dict[str, object]) -> None:
    make(source, "one.raw", **options)
    for path in (source, source / "bin/app"):
        status = path.stat()
        os.utime(path, ns=(12345, status.st_mtime_ns))  # as reading it does
    make(source, "two.raw", **options)
    one, two = ((source.parent / name).read_bytes() for name in ("one.raw", "two.raw"))
    assert one == two


def test_other_trees_and_seeds_give_other_guids(source: Path) -> None:
    guids = [make(source, "a.raw", seed=seed, epoch=5).pool_guid for seed in ("a", "b", None)]
    (source / "more").touch()
    guids.append(make(source, "a.raw", epoch=5).pool_guid)
    guids += [make(source, "a.raw").pool_guid for _ in range(2)]
    assert len(set(guids)) == 6


def test_a_manifest(source: Path) -> None:
    manifest = source / "manifest"
    manifest.write_text("/app: bin/app\n/usr/**: bin/**\n")
    assert make(manifest, "../disk.raw").files == 1
    manifest.write_text("/app: gone\n")
    with pytest.raises(ManifestError, match="gone"):
        make(manifest, "../disk.raw")


def test_the_image_of_an_earlier_build_is_left_out(source: Path) -> None:
    for _ in range(2):
        assert make(source, "source/disk.raw", seed="x").files == 2


def test_failure_leaves_what_was_there(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = source.parent / "disk.raw"
    image.write_text("earlier")
    with pytest.raises(NoSpaceError):
        (source / "large").write_bytes(os.urandom(70 * MIB))
        make(source, "disk.raw", size=66 * MIB)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("unikiln.zfs.create.create_pool", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make(source, "disk.raw")
    assert image.read_text() == "earlier"
    assert sorted(path.name for path in source.parent.iterdir()) == ["disk.raw", "source"]


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"size": 100}, UsageError, "no room"),
        ({"size": 32 * MIB}, UsageError, "too small"),
        ({"layout": "pool", "cmdline": "x"}, UsageError, "command line"),
        ({"cmdline": "x" * 40_000}, UsageError, "40014 bytes"),
        ({"sources": SourceOptions.of("/nowhere/at/all")}, HostError, "/nowhere/at/all: No such file"),
        ({"output": Path("/nowhere/at/all.raw")}, HostError, "all.raw"),
        ({"output": Path("disk.what")}, UsageError, "suffix"),
    ],
)
def test_what_cannot_be_built(
    source: Path, options: dict[str, object], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        make(source, "disk.raw", **options)
    assert [path.name for path in source.parent.iterdir()] == ["source"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_said() -> None:
    with FileDevice("/dev/full", writable=True) as device, pytest.raises(HostError, match="No space left"):
        device.write_at(0, b"x")


def test_source_date_epoch() -> None:
    assert source_date_epoch({}) is None
    assert source_date_epoch({"SOURCE_DATE_EPOCH": "1700000000"}) == 1_700_000_000
    for text in ("-1", "now", "1.5"):
        with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH"):
            source_date_epoch({"SOURCE_DATE_EPOCH": text})


def test_times_are_settled() -> None:
    tree = directory(time_ns=5 * 10**9)
    tree.children[b"new"] = Node(stat.S_IFREG, atime_ns=1, mtime_ns=90 * 10**9 + 1)
    assert newest(tree) == 91
    settle(tree, 10)
    assert [(node.atime_ns, node.mtime_ns) for node in (tree, tree.children[b"new"])] == [
        (5 * 10**9, 5 * 10**9),
        (10 * 10**9, 10 * 10**9),
    ]
    assert fixed_seed("x", tree) == fixed_seed("x", directory()) != fixed_seed(None, tree)
