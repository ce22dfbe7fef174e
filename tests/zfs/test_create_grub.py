"""GRUB's reader, written by others from the format alone, reads our pools: bare and in a partition."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests import judges
from unikiln.image.build import BuildOptions, build
from unikiln.image.sources import SourceOptions

pytestmark = pytest.mark.judge("grub-fstest")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("grub") / "source"
    noise = random.Random(7)
    (top / "wide").mkdir(parents=True)
    for number in range(3000):
        (top / f"wide/a file of many {number}").write_bytes(b"%d" % number)
    (top / "text").write_bytes(b"text that compresses " * 50_000)
    (top / "noise").write_bytes(noise.randbytes(500_001))
    (top / "holes").write_bytes(bytes(400_000) + b"end")
    (top / "empty").touch()
    (top / "link").symlink_to("text")
    return top


@pytest.fixture(scope="module", params=[("disk", "(loop0,msdos2)"), ("pool", "(loop0)")])
def pool(request: pytest.FixtureRequest, source: Path) -> tuple[Path, str]:
    """An image, and what GRUB calls the dataset in it."""
    layout, device = request.param
    image = source.parent / f"{layout}.raw"
    build(BuildOptions(sources=SourceOptions.of(source), output=image, arch="aarch64", layout=layout))
    return image, f"{device}/zfs@"


def test_names(pool: tuple[Path, str], source: Path) -> None:
    image, dataset = pool
    listed = judges.run("grub-fstest", image, "ls", f"{dataset}/").stdout.split()
    assert sorted(listed) == sorted(
        f"{path.name}/" if path.is_dir() else path.name for path in source.iterdir()
    )
    wide = judges.run("grub-fstest", image, "ls", f"{dataset}/wide/").stdout
    assert wide.count("a file of many ") == 3000


@pytest.mark.parametrize("name", ["text", "noise", "holes", "link", "wide/a file of many 2999"])
def test_contents(pool: tuple[Path, str], source: Path, name: str) -> None:
    image, dataset = pool
    # It compares the file in the image with one of the host, and fails where they differ.
    judges.run("grub-fstest", image, "cmp", f"{dataset}/{name}", os.fspath((source / name).resolve()))
