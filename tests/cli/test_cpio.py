from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import threading
from pathlib import Path

import pytest

from tests.image.cpio.archives import archive, file, symlink
from unikiln.cli.main import main
from unikiln.image.compare import compare, of_tree
from unikiln.image.directory import scan


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/app").write_bytes(b"program" * 100)
    (folder / "bin/again").hardlink_to(folder / "bin/app")
    (folder / "link").symlink_to("/bin/app")
    return folder


class Standard:
    """Standard input or output as bytes."""

    def __init__(self, data: bytes = b"") -> None:
        self.buffer = io.BytesIO(data)

    def isatty(self) -> bool:
        return False

    def write(self, text: str) -> int:
        return self.buffer.write(text.encode())

    def flush(self) -> None: ...


def test_there_and_back_by_files(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cpio", "create", str(source), "-o", str(tmp_path / "x.cpio")]) == 0
    assert main(["cpio", "list", str(tmp_path / "x.cpio")]) == 0
    assert capsys.readouterr().out.split() == [".", "bin", "bin/again", "bin/app", "link"]
    assert main(["cpio", "extract", str(tmp_path / "x.cpio"), str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path}/out: 5 entries, 700B, ")
    assert not list(compare(of_tree(scan(source)), of_tree(scan(tmp_path / "out")), frozenset({"mtime"})))


def test_there_and_back_by_standard_streams(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Standard()
    monkeypatch.setattr(sys, "stdout", out)
    assert main(["cpio", "create", str(source), "-q"]) == 0
    monkeypatch.setattr(sys, "stdin", Standard(out.buffer.getvalue()))
    out = Standard()
    monkeypatch.setattr(sys, "stdout", out)
    assert main(["cpio", "extract", "-", str(tmp_path / "out"), "-q"]) == 0
    assert out.buffer.getvalue() == b""
    assert (tmp_path / "out/bin/app").read_bytes() == b"program" * 100


def test_nothing_for_a_terminal(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["cpio", "create", str(source)]) == 2
    assert "nothing for a terminal" in capsys.readouterr().err


def test_long_listing_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.cpio"
    path.write_bytes(archive(file(b"f", b"12345", mode=0o4755), symlink(b"l", b"f")))
    assert main(["cpio", "list", "-l", str(path)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("-rwsr-xr-x   1     0     0          5 19")
    assert first.endswith(" f")
    assert second.endswith(" l -> f")
    assert main(["cpio", "list", "--json", str(path)]) == 0
    described = json.loads(capsys.readouterr().out)
    assert [(each["name"], each["type"], each["size"]) for each in described] == [
        ("f", "file", 5),
        ("l", "symlink", 1),
    ]
    assert described[0]["mode"] == "4755"
    assert described[1]["target"] == "f"


@pytest.mark.parametrize("verb", [["list"], ["extract"]])
def test_damage_is_one_line(tmp_path: Path, verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.cpio"
    path.write_bytes(archive(file(b"f", b"12345"))[:-8])
    dest = [str(tmp_path / "out")] if verb == ["extract"] else []
    assert main(["cpio", *verb, str(path), *dest]) == 1
    error = capsys.readouterr().err
    assert error == "unikiln: cpio archive, after f: the archive ends without a trailer (it was cut off)\n"
    assert not (tmp_path / "out").exists()


def test_no_archive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cpio", "list", str(tmp_path / "none")]) == 1
    assert "none: No such file" in capsys.readouterr().err


def test_lost_attributes_are_told_once(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        for name in ("bin/app", "bin"):
            os.setxattr(source / name, "user.note", b"x")
    except OSError:
        pytest.skip("this host has no extended attributes here")
    assert main(["cpio", "create", str(source), "-o", str(tmp_path / "x.cpio")]) == 0
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "no place for extended attributes: those of /bin and " in error


def serve(
    arguments: list[str], capsys: pytest.CaptureFixture[str], data: list[bytes]
) -> tuple[int, str, str]:
    """Run ``cpiod`` while archives are sent to it; its status and what it said."""
    import socket
    import time

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def send() -> None:
        for each in data:
            for _ in range(200):
                try:
                    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
                    break
                except OSError:
                    time.sleep(0.02)
            with connection:
                connection.sendall(each)
                connection.shutdown(socket.SHUT_WR)
                with contextlib.suppress(OSError):
                    connection.recv(1)

    sender = threading.Thread(target=send)
    sender.start()
    status = main(["cpiod", "--listen", str(port), *arguments])
    sender.join()
    captured = capsys.readouterr()
    return status, captured.out, captured.err


GOOD = archive(file(b"/etc/hosts", b"localhost"))


def test_cpiod_into_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--prefix", str(tmp_path / "dest"), "--once", "--verbose"]
    status, out, _ = serve(arguments, capsys, [GOOD])
    assert status == 0
    assert out.startswith("Waiting for connection from host on 127.0.0.1:")
    assert "Adding /etc/hosts...\n" in out
    assert f"{tmp_path}/dest: 1 entries, 9B, " in out
    assert (tmp_path / "dest/etc/hosts").read_bytes() == b"localhost"


def test_cpiod_into_an_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = tmp_path / "disk.qcow2"
    assert serve(["--prefix", f"{image}:/opt"], capsys, [GOOD])[0] == 0
    assert main(["cat", str(image), "/opt/etc/hosts"]) == 0
    assert capsys.readouterr().out == "localhost"
    assert main(["cpiod", "--listen", "0", "--prefix", f"{image}:/"]) == 2
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["dest", "disk.raw:/"])
def test_cpiod_keeps_no_half(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, error = serve(["--prefix", str(tmp_path / kind), "--once"], capsys, [GOOD[:130]])
    assert status == 1
    assert error.startswith("unikiln: cpio archive, ")
    assert not list(tmp_path.iterdir())
