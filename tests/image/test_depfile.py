from __future__ import annotations

from pathlib import Path

import pytest

from tests import judges
from unikiln.errors import HostError
from unikiln.image.depfile import write_depfile


def test_text(tmp_path: Path) -> None:
    write_depfile(tmp_path / "d", Path("out/disk.raw"), [b"a b", b"c#$d"])
    assert (tmp_path / "d").read_text() == ("out/disk.raw: \\\n\ta\\ b \\\n\tc\\#$$d\n\na\\ b:\nc\\#$$d:\n")


@pytest.mark.judge("make")
def test_make_builds_again_what_changed_and_does_not_miss_what_is_gone(tmp_path: Path) -> None:
    names = ["plain", "with space", "hash#", "dollar$x", "per%cent"]
    for name in names:
        (tmp_path / name).touch()
    write_depfile(tmp_path / "d", Path("image"), [name.encode() for name in names])
    (tmp_path / "Makefile").write_text("image:\n\techo made it; touch image\ninclude d\n")

    def make() -> bool:
        return "made it" in judges.run("make", "-C", tmp_path, "image").stdout

    assert make()
    assert not make()
    for name in names:
        newer = (tmp_path / "image").stat().st_mtime + 5
        judges.run("touch", "-d", f"@{newer}", tmp_path / name)
        assert make(), name
        judges.run("touch", "-d", f"@{newer + 1}", tmp_path / "image")
        assert not make()
    (tmp_path / "with space").unlink()
    assert make()


def test_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="cannot name"):
        write_depfile(tmp_path / "d", Path("image"), [b"a\nb"])
    with pytest.raises(HostError, match="nowhere"):
        write_depfile(tmp_path / "nowhere/d", Path("image"), [])
