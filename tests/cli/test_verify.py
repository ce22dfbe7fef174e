from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from unikiln.cli.main import main

PROGRAM = [sys.executable, "-c", "import sys; from unikiln.cli.main import main; sys.exit(main())"]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/noise").write_bytes(os.urandom(300_000))
    assert main(["build", str(tmp_path / "source"), "-o", str(tmp_path / "disk.raw"), "--quiet"]) == 0
    return tmp_path / "disk.raw"


def test_a_whole_image(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(image)]) == 0
    assert "whole; " in capsys.readouterr().out
    assert main(["verify", str(image), "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main(["verify", str(image), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["findings"] == []
    assert found["bytes"] > 300_000


def test_damage_is_found_and_status_1(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = (image.parent / "source/noise").read_bytes()
    at = image.read_bytes().index(content[1000:2000])
    with image.open("r+b") as file:
        file.seek(at)
        file.write(bytes(100))
    assert main(["verify", str(image)]) == 1
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert main(["verify", str(image), "--json"]) == 1
    assert len(json.loads(capsys.readouterr().out)["findings"]) == 1
    assert main(["cat", str(image), "/noise"]) == 1
    assert main(["extract", str(image), str(image.parent / "out")]) == 1


@pytest.mark.parametrize(
    "verb", [["verify", "disk.raw"], ["build", "source", "-o", "again.qcow2"], ["extract", "disk.raw", "out"]]
)
def test_a_bar_on_a_terminal_and_only_there(verb: list[str], image: Path) -> None:
    shown, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    done = subprocess.run(
        [*PROGRAM, *verb],
        cwd=image.parent,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=terminal,
        check=True,
    )
    os.close(terminal)
    assert b"ing " in os.read(shown, 1 << 16)
    os.close(shown)
    assert b"\x1b" not in done.stdout
    quiet = subprocess.run([*PROGRAM, *verb], cwd=image.parent, capture_output=True, check=True)
    assert quiet.stderr == b""
