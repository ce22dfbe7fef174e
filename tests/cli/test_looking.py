"""The verbs that look into an image, on images that ``build`` made."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trees import Spec, compare_trees, materialise, trees
from unikiln.base.size import parse_size
from unikiln.cli.main import main

Run = Callable[..., str]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("looking")
    source = folder / "source"
    (source / "dir/sub").mkdir(parents=True)
    (source / "file").write_bytes(b"content\n")
    (source / "file").chmod(0o640)
    os.setxattr(source / "file", "user.note", b"value")
    (source / "dir/twin").hardlink_to(source / "file")
    (source / "dir/link").symlink_to("../file")
    (source / "dir/sub" / os.fsdecode(b"\xff")).touch()
    os.utime(source / "file", ns=(10**18 + 1, 10**18 + 2))
    assert (
        main(["build", str(source), "-o", str(folder / "disk.qcow2"), "--quiet", "--cmdline", "/file"]) == 0
    )
    return folder / "disk.qcow2"


@pytest.fixture
def run(image: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Runs a verb on the image; its standard output."""

    def verb(name: str, *arguments: str, status: int = 0) -> str:
        capfdbinary.readouterr()
        assert main([name, str(image), *arguments]) == status
        out, err = capfdbinary.readouterr()
        assert status or not err
        return os.fsdecode(out if status == 0 else err)

    return verb


def test_ls(run: Run) -> None:
    assert run("ls") == "dir\nfile\n"
    assert run("ls", "/dir") == "link\nsub\ntwin\n"
    assert run("ls", "file") == "file\n"
    assert run("ls", "/dir/link/below", status=1).startswith("unikiln: ")
    assert os.fsencode(run("ls", "dir/sub")) == b"\xff\n"


def test_ls_long(run: Run) -> None:
    line = run("ls", "-l", "/").splitlines()[1].split()
    assert line[:2] + line[4:5] == ["-rw-r-----", "2", "8"]
    assert line[-1] == "file"
    assert "link -> ../file" in run("ls", "-l", "/dir")


def test_ls_recursive(run: Run) -> None:
    assert run("ls", "-R").startswith("/:\ndir\nfile\n\n/dir:\nlink\nsub\ntwin\n\n/dir/sub:\n")
    found = json.loads(run("ls", "-R", "--json"))
    assert [each["path"] for each in found][:3] == ["/dir", "/file", "/dir/link"]
    assert found[1]["mode"] == "0640"
    assert found[2]["target"] == "../file"


def test_tree(run: Run) -> None:
    assert run("tree").splitlines() == [
        "/", "├── dir", "│   ├── link -> ../file", "│   ├── sub", "│   │   └── \udcff", "│   └── twin",
        "└── file", "", "2 directories, 4 files",
    ]  # fmt: skip
    nested = json.loads(run("tree", "/dir", "--json"))
    assert [each["name"] for each in nested["children"]] == ["link", "sub", "twin"]


def test_cat(run: Run) -> None:
    assert run("cat", "/file", "dir/link") == "content\ncontent\n"
    assert "is a directory" in run("cat", "/dir", status=1)
    assert "/absent" in run("cat", "/absent", status=1)


def test_stat(run: Run) -> None:
    text = run("stat", "/file")
    assert "Mode: 0640" in text
    assert "user.note=b'value'" in text
    (found,) = json.loads(run("stat", "/dir/twin", "--json"))
    assert (found["mtime_ns"], found["atime_ns"]) == (10**18 + 2, 10**18 + 1)
    assert (found["nlink"], found["xattrs"]) == (2, {"user.note": "value"})
    assert "symlink" in run("stat", "/dir/link")


def test_info(run: Run) -> None:
    text = run("info")
    assert "partition 2: 64M from byte 1048576, mbr type 83, the pool's" in text
    assert "command line: --rootfs=zfs /file" in text
    assert "disk /dev/vblk0.1" in text
    found = json.loads(run("info", "--json"))
    assert [each["name"] for each in found["datasets"]] == ["osv", "osv/zfs"]
    assert (found["format"], found["pool_partition"], found["pool"]["name"]) == ("qcow2", 2, "osv")
    assert found["pool"]["allocated"] + found["pool"]["free"] == found["pool"]["size"]
    assert len(found["labels"]) == 4


def test_datasets(run: Run) -> None:
    assert run("ls", "--dataset", "zfs") == run("ls", "--dataset", "osv/zfs") == "dir\nfile\n"
    assert run("ls", "--dataset", "/") == "zfs\n"  # where the other is mounted
    assert "osv/none" in run("ls", "--dataset", "none", status=1)


def test_extract(run: Run, image: Path, tmp_path: Path) -> None:
    assert "4 files" in run("extract", str(tmp_path / "out"))
    compare_trees(image.parent / "source", tmp_path / "out", atime=False, holes=True)
    assert run("extract", "/dir", str(tmp_path / "dir"), "--quiet") == ""
    compare_trees(image.parent / "source/dir/sub", tmp_path / "dir/sub")
    found = json.loads(run("extract", "/file", str(tmp_path), "--json"))
    assert (found["files"], found["size"], (tmp_path / "file").read_text()) == (1, 8, "content\n")
    run("extract", "/file", str(tmp_path / "renamed"))
    assert (tmp_path / "renamed").read_text() == "content\n"


def test_what_is_no_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "zeros").write_bytes(bytes(1 << 20))
    for name, said in (
        ("empty", "no ZFS pool"),
        ("zeros", "no ZFS pool"),
        ("absent", "No such file"),
        (".", "directory"),
    ):
        for verb in ("ls", "tree", "info"):
            assert main([verb, str(tmp_path / name)]) == 1
            err = capsys.readouterr().err
            assert said in err
            assert err.count("\n") == 1


@settings(max_examples=25)
@given(
    spec=trees(),
    compression=st.sampled_from(["lz4", "off"]),
    ashift=st.sampled_from(["9", "12"]),
    recordsize=st.sampled_from(["512", "4K", "128K", "1M"]),
    profile=st.sampled_from(["osv", "openzfs"]),
)
def test_what_was_built_comes_out_again(
    spec: Spec, compression: str, ashift: str, recordsize: str, profile: str
) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        source = materialise(spec, folder / "source")
        options = [
            "--compression",
            compression,
            "--ashift",
            ashift,
            "--recordsize",
            recordsize,
            "--profile",
            profile,
        ]
        assert main(["build", str(source), "-o", str(folder / "disk.raw"), "-q", *options]) == 0
        assert main(["extract", str(folder / "disk.raw"), str(folder / "out"), "-q"]) == 0
        compare_trees(source, folder / "out", holes=True, record=parse_size(recordsize))
