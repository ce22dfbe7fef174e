"""The examples of docs/zfs-library.md work, on a pool that OpenZFS made."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.zfs import corpus

TEXT = Path(__file__).parents[2] / "docs" / "zfs-library.md"


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", TEXT.read_text(), re.DOTALL)


def test_datasets_and_paths(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus.unpack("datasets", tmp_path).rename(tmp_path / "disk.img")
    monkeypatch.chdir(tmp_path)
    exec(blocks()[0], {})
    lines = capsys.readouterr().out.splitlines()
    assert "ref_datasets/snap@s2 snapshot" in lines
    assert "['ref_datasets/snap@s1', 'ref_datasets/snap@s2', 'ref_datasets/snap@s5']" in lines
    assert "Property(value='sa', source='inherited from ref_datasets')" in lines
    assert "ref_datasets/snap@s5" in lines
    assert sum(re.fullmatch(r"/\S+ \d+", line) is not None for line in lines) == 3


def test_volumes(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    corpus.unpack("zvol", tmp_path).rename(tmp_path / "disk.img")
    monkeypatch.chdir(tmp_path)
    exec(f"from unikiln.zfs import open_pool\n{blocks()[1]}".replace("tank/vm", "ref_zvol/ext4"), {})
    assert capsys.readouterr().out == "33554432 8192\n"


def test_every_module_in_the_table_exists() -> None:
    rows = re.findall(r"^\| `zfs\.(\w+)` \|", TEXT.read_text(), re.MULTILINE)
    home = Path(__file__).parents[2] / "src" / "unikiln" / "zfs"
    assert len(rows) >= 6
    assert all((home / f"{row}.py").is_file() or (home / row).is_dir() for row in rows)
