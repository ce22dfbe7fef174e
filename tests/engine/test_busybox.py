"""A real program: Debian's static busybox."""

from __future__ import annotations

import hashlib
import random
import shutil
from pathlib import Path

import pytest

from tests.machine.running import Finished, run

pytestmark = pytest.mark.judge("busybox-arm64")
Capture = pytest.CaptureFixture[bytes]


@pytest.fixture
def bin_root(root: Path, busybox_arm64: Path) -> Path:
    (root / "bin").mkdir()
    shutil.copy(busybox_arm64, root / "bin/busybox")
    (root / "bin/busybox").chmod(0o755)
    (root / "bin/cat").symlink_to("busybox")
    return root


def _busybox(root: Path, *arguments: str, cwd: str = "/", memory: int = 64 << 20) -> Finished:
    return run(root, "/bin/busybox", *arguments, cwd=cwd, memory=memory, scan_interval=0.002)


def _output(capfdbinary: Capture, root: Path, *arguments: str, status: int = 0) -> list[bytes]:
    done = _busybox(root, *arguments)
    output, errors = capfdbinary.readouterr()
    assert (done.status, done.death) == (status, None), errors
    return output.splitlines()


def test_sha256sum_of_50_mb_is_the_hosts(bin_root: Path, capfdbinary: Capture) -> None:
    content = random.Random(3).randbytes(50_000_000)
    (bin_root / "big").write_bytes(content)
    (line,) = _output(capfdbinary, bin_root, "sha256sum", "/big")
    assert line.split() == [hashlib.sha256(content).hexdigest().encode(), b"/big"]


def test_find_sees_every_file(bin_root: Path, capfdbinary: Capture) -> None:
    for number in range(300):
        path = bin_root / "tree" / str(number % 7) / f"file {number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = _output(capfdbinary, bin_root, "find", "/tree", "-type", "f")
    assert len(found) == 300
    assert b"/tree/1/file 1" in found


def test_sort_and_grep_and_sed_and_awk(bin_root: Path, capfdbinary: Capture) -> None:
    lines = [f"{n * 7919 % 1000:04} line" for n in range(1000)]
    (bin_root / "lines").write_text("\n".join(lines) + "\n")
    assert _output(capfdbinary, bin_root, "sort", "/lines") == [each.encode() for each in sorted(lines)]
    assert _output(capfdbinary, bin_root, "grep", "-c", "^00", "/lines") == [b"100"]
    assert _output(capfdbinary, bin_root, "sed", "-n", "1s/line/LINE/p", "/lines") == [b"0000 LINE"]
    assert _output(capfdbinary, bin_root, "awk", "{s+=length($1)} END {print s}", "/lines") == [b"4000"]
    assert _output(capfdbinary, bin_root, "wc", "-l", "/lines") == [b"1000 /lines"]


def test_tar_goes_to_tmp_and_to_standard_output(bin_root: Path, capfdbinary: Capture, tmp_path: Path) -> None:
    import io
    import tarfile

    assert _busybox(bin_root, "tar", "cf", "-", "data", "bin/cat", cwd="/").status == 0
    with tarfile.open(fileobj=io.BytesIO(capfdbinary.readouterr()[0])) as archive:
        data = archive.extractfile("data")
        assert data is not None
        assert data.read() == (bin_root / "data").read_bytes()
        assert archive.getmember("bin/cat").linkname == "busybox"
    assert _busybox(bin_root, "tar", "cf", "/tmp/x.tar", "/data").status == 0


def test_ls_and_stat_show_attributes(bin_root: Path, capfdbinary: Capture) -> None:
    (bin_root / "data").chmod(0o640)
    (line,) = _output(capfdbinary, bin_root, "ls", "-l", "/data")
    assert line.startswith(b"-rw-r----- ")
    assert b" 163840 " in line
    assert _output(capfdbinary, bin_root, "stat", "-c", "%a %s %h", "/data") == [b"640 163840 1"]


def test_a_link_names_the_applet(bin_root: Path, capfdbinary: Capture) -> None:
    (bin_root / "text").write_text("hello\n")
    assert run(bin_root, "cat", "/text").status == 0
    assert capfdbinary.readouterr()[0] == b"hello\n"


def test_a_shell_with_builtins_and_exec(bin_root: Path, capfdbinary: Capture) -> None:
    script = "cd /bin; pwd; for i in 1 2; do echo $i > /tmp/$i; done; read x < /tmp/2; echo got $x; "
    script += "exec busybox expr 3 + 4"
    assert _output(capfdbinary, bin_root, "sh", "-c", script) == [b"/bin", b"got 2", b"7"]


def test_the_image_is_read_only_and_tmp_is_not(bin_root: Path, capfdbinary: Capture) -> None:
    assert _busybox(bin_root, "touch", "/new").status == 1
    assert b"Read-only file system" in capfdbinary.readouterr()[1]
    script = "echo a > /tmp/f; echo b >> /tmp/f; while read l; do echo $l; done < /tmp/f"
    assert _output(capfdbinary, bin_root, "sh", "-c", script) == [b"a", b"b"]


def test_who_and_where(bin_root: Path, capfdbinary: Capture) -> None:
    assert _output(capfdbinary, bin_root, "id", "-u") == [b"0"]
    assert _output(capfdbinary, bin_root, "uname", "-sm") == [b"Linux aarch64"]
    assert _output(capfdbinary, bin_root, "env")[:2] == [b"PATH=/bin", b"HOME=/"]
    assert _output(capfdbinary, bin_root, "false", status=1) == []
