"""Whatever is done to an image, every verb ends in one line, not in a traceback."""

from __future__ import annotations

import random
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unikiln.cli.main import main

FRONT, BACK = 6 << 20, 1 << 20
"""All that is not zero on the disk is in its front and in its back."""


class Disk:
    """The parts of a disk that are not zero; its size stays as it was."""

    def __init__(self, path: Path) -> None:
        self.size = path.stat().st_size
        with path.open("rb") as file:
            self.front = file.read(FRONT)
            file.seek(-BACK, 2)
            self.back = file.read()

    def write(self, path: Path, front: bytes | bytearray, size: int | None = None) -> Path:
        with path.open("wb") as file:
            file.write(front)
            file.seek(self.size - BACK)
            file.write(self.back)
            file.truncate(self.size if size is None else size)
        return path


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Disk:
    """A small disk with files of several kinds."""
    folder = tmp_path_factory.mktemp("damage")
    (folder / "source/dir").mkdir(parents=True)
    for index in range(60):
        (folder / f"source/dir/file{index}").write_text("text " * index)
    (folder / "source/link").symlink_to("dir/file1")
    (folder / "source/large").write_bytes(random.Random(1).randbytes(300_000))
    assert (
        main(["build", str(folder / "source"), "-o", str(folder / "disk.raw"), "--quiet", "--seed", "x"]) == 0
    )
    return Disk(folder / "disk.raw")


def look(image: Path, capture: pytest.CaptureFixture[bytes]) -> None:
    """Run every verb on ``image``."""
    with TemporaryDirectory() as out:
        for verb in (["info"], ["ls", "-lR"], ["verify"], ["cat", "/large"], ["extract", out]):
            capture.readouterr()
            status = main([verb[0], str(image), *verb[1:]])
            err = capture.readouterr().err
            assert status in (0, 1)
            assert b"a bug in unikiln" not in err
            assert status == 0 or verb[0] == "verify" or err.startswith(b"unikiln: ")


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32), spots=st.integers(1, 200))
def test_bytes_that_changed(
    seed: int, spots: int, disk: Disk, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    noise = random.Random(seed)
    front = bytearray(disk.front)
    used = len(disk.front.rstrip(b"\0"))
    for _ in range(spots):
        front[noise.randrange(used)] = noise.randrange(256)
    look(disk.write(tmp_path / "disk.raw", front), capfdbinary)


@pytest.mark.parametrize("size", [0, 1, 512, 513, 100_000, 300_000, 5 << 20, 20 << 20])
def test_disks_that_were_cut_off(
    size: int, disk: Disk, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    look(disk.write(tmp_path / "disk.raw", disk.front, size), capfdbinary)


@pytest.mark.parametrize("start", [0, 4 << 20])
def test_zeros_over_a_part_of_it(
    start: int, disk: Disk, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    front = bytearray(disk.front)
    front[start : start + (2 << 20)] = bytes(2 << 20)
    look(disk.write(tmp_path / "disk.raw", front), capfdbinary)
