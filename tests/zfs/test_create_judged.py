"""What the writer makes, judged by OpenZFS: ``zdb`` on many pools, ``ztest`` changing one."""

from __future__ import annotations

import os
import random
import re
import shutil
import stat
import subprocess
from collections import deque
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests import judges
from tests.trees import Spec, compare_trees, materialise, trees
from tests.zfs.pools import assert_whole, make_pool, start_zdb, zdb
from unikiln.base.device import FileDevice
from unikiln.image.extract import extract
from unikiln.zfs.pool import open_pool
from unikiln.zfs.verify import verify

TREES = int(os.environ.get("UNIKILN_TREES", "20"))
"""How many generated trees are judged: 200 in a thorough run."""

pytestmark = pytest.mark.judge("zdb")


def assert_reads_back(image: Path, source: Path, scratch: Path) -> None:
    """Our reader finds the pool whole and what went in comes out."""
    with open_pool(FileDevice(image)) as pool:
        assert list(verify(pool)) == []
        filesystem = pool.filesystem()
        extract(filesystem, filesystem.root, scratch)
    compare_trees(source, scratch)


@st.composite
def options(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "ashift": draw(st.sampled_from([9, 12, 12, 13])),
        "compression": draw(st.sampled_from(["lz4", "off"])),
        "profile": draw(st.sampled_from(["osv", "openzfs"])),
        "recordsize": draw(st.sampled_from([512, 4096, 131072, 131072, 1 << 20])),
        "dataset": draw(st.sampled_from(["zfs", "/", "a/b"])),
        "seed": draw(st.integers(0, 2**32)),
    }


def test_generated_trees(tmp_path: Path) -> None:
    """Every tree, with every choice of options, is whole to ``zdb`` and comes back the same."""
    flying: deque[tuple[subprocess.Popen[str], object]] = deque()
    count = 0

    @settings(
        max_examples=TREES,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(trees(), options())
    def build(spec: Spec, chosen: dict[str, Any]) -> None:
        nonlocal count
        count += 1
        source = materialise(spec, tmp_path / f"tree{count}")
        image = tmp_path / f"{count}.img"
        make_pool(source, image, **chosen)
        assert_reads_back(image, source, tmp_path / f"out{count}")
        flying.append((start_zdb(image, "-bcc", "osv"), (spec, chosen)))
        if len(flying) > 2:
            assert_whole(*flying.popleft())

    build()
    while flying:
        assert_whole(*flying.popleft())
    assert count >= TREES


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trees at the ends of what the format has to hold."""
    top = tmp_path_factory.mktemp("sources")
    (top / "empty").mkdir()
    (top / "one").mkdir()
    (top / "one/file").write_bytes(b"one file\n")
    (top / "wide/d").mkdir(parents=True)
    for number in range(50_000):
        (top / f"wide/d/a name of some length {number}").touch()
    noise = random.Random(3)
    for number in range(20_000):
        folder = top / f"many/{number % 150}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / str(number)).write_bytes(noise.randbytes(number % 700))
    (top / "long").mkdir()
    with (top / "long/file").open("wb") as file:
        for _ in range(300):
            file.write(noise.randbytes(1 << 19) + b"compress" * (1 << 16))
    return top


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("empty", {}),
        ("empty", {"profile": "openzfs", "ashift": 9}),
        ("one", {}),
        ("one", {"profile": "openzfs", "dataset": "/"}),
        ("wide", {"ashift": 9}),
        ("many", {}),
        ("many", {"compression": "off", "profile": "openzfs"}),
        ("long", {"compression": "off"}),
        ("long", {"recordsize": 1 << 20, "profile": "openzfs"}),
    ],
)
def test_extremes(sources: Path, tmp_path: Path, name: str, chosen: dict[str, Any]) -> None:
    image = tmp_path / "pool.img"
    make_pool(sources / name, image, **chosen)
    running = start_zdb(image, "-bcc", "osv")
    with open_pool(FileDevice(image)) as pool:
        assert list(verify(pool)) == []
    assert_whole(running, name)


@pytest.mark.parametrize(("profile", "levels", "indirect"), [("osv", 4, "16K"), ("openzfs", 3, "128K")])
def test_deep_trees_of_indirect_blocks(
    sources: Path, tmp_path: Path, profile: str, levels: int, indirect: str
) -> None:
    image = tmp_path / "pool.img"
    make_pool(sources / "long", image, recordsize=512, ashift=9, profile=profile)
    running = start_zdb(image, "-bcc", "osv")
    shown = zdb(image, "-dd", "osv/zfs")
    assert re.search(rf"^ +6 +{levels} +{indirect} +512 .*ZFS plain file", shown, re.MULTILINE), shown
    assert_whole(running, profile)


def test_attributes_as_zdb_prints_them(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_bytes(b"x" * 1000)
    if os.geteuid() == 0:
        os.chown(source / "file", 1234, 4_000_000_000)
    (source / "file").chmod(0o4751)
    os.utime(source / "file", ns=(1_234_567_890_123_456_789, 987_654_321_000_000_001))
    os.setxattr(source / "file", "user.colour", b"blue")
    (source / "other").hardlink_to(source / "file")
    (source / "link").symlink_to("x" * 300)
    image = tmp_path / "pool.img"
    make_pool(source, image)
    shown = zdb(image, "-dddddd", "osv/zfs")
    block = next(part for part in shown.split("    Object  lvl") if "\tmode\t104751" in part)
    status = (source / "file").stat()
    for line in (
        f"uid     {status.st_uid}",
        f"gid     {status.st_gid}",
        "size\t1000",
        "links\t2",
        "user.colour = blue",
    ):
        assert line in block, block
    assert re.search(r"mtime\t.* 2001", block), block
    assert "x" * 300 in shown


def test_what_zdb_copies_out(tmp_path: Path) -> None:
    """OpenZFS's own reader gives the bytes that went in."""
    source = tmp_path / "source"
    source.mkdir()
    content = random.Random(5).randbytes(700_000) + bytes(300_000) + b"text " * 100_000
    (source / "file").write_bytes(content)
    image = tmp_path / "pool.img"
    make_pool(source, image)
    zdb(image, "-r", "osv/zfs", "file", os.fspath(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == content


@pytest.mark.judge("ztest")
@pytest.mark.skipif(os.geteuid() != 0, reason="ztest wants a /dev/zfs, which only root can make")
def test_ztest_changes_the_pool(tmp_path: Path) -> None:
    """OpenZFS imports the pool, changes it at random for a while, and finds it whole."""
    if not Path("/dev/zfs").exists():
        os.mknod("/dev/zfs", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    source = tmp_path / "source"
    source.mkdir()
    for number in range(300):
        (source / f"file{number}").write_bytes(b"content %d " % number * number * 10)
    folder = tmp_path / "pool"
    folder.mkdir()
    make_pool(source, folder / "osv.img", profile="openzfs", size=512 << 20)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    arguments = ["-E", "-p", "osv", "-f", os.fspath(copy), "-T", "10", "-P", "5", "-V"]
    judges.run("ztest", *arguments, "-K", "raidz", "-r", "1", "-R", "1", "-m", "1")
