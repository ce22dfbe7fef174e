"""The demo's program: it is what its source says, and it runs from an image as everybody runs it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from unikiln.cli.main import main

DEMO = Path(__file__).parents[2] / "examples" / "demo"
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    tree, image = folder / "tree", folder / "demo.raw"
    (tree / "data").mkdir(parents=True)
    shutil.copy(DEMO / "demo", tree / "demo")
    for number in range(40):
        (tree / "data" / f"file{number}").write_bytes(os.urandom(1000 * number))
    (tree / "script").write_text("#!/demo\n")
    assert main(["build", str(tree), "-o", str(image), "--quiet", "--cmdline", "/demo"]) == 0
    return image


@pytest.mark.judge("aarch64-linux-gnu-gcc")
def test_the_committed_program_is_what_the_source_makes(tmp_path: Path) -> None:
    subprocess.run([DEMO / "build.sh", tmp_path / "demo"], check=True)
    assert (tmp_path / "demo").read_bytes() == (DEMO / "demo").read_bytes()


def test_it_reads_all_files_over_and_over(image: Path, tmp_path: Path, capfd: Capture) -> None:
    out = tmp_path / "stats.json"
    assert main(["run", str(image), "--stats-out", str(out), "--json"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].split() == ["files", "39"], "an empty one is not mapped"
    assert "all rounds agree" in lines
    counts = json.loads(out.read_text())
    assert counts["access_flag_faults"] > 100
    assert counts["access_flags_cleared"] >= counts["access_flag_faults"]
    assert counts["cache_misses"] > 0


def test_without_the_scanner_no_access_flag_faults(image: Path, capfd: Capture) -> None:
    assert main(["run", str(image), "--af-interval", "0", "--stats", "--json", "--", "/demo"]) == 0
    captured = capfd.readouterr()
    assert json.loads(captured.err)["access_flag_faults"] == 0
    assert "rounds" in captured.out


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["--", "/absent"], 1, "/absent: No such file or directory in the image"),
        (["--", "/script"], 1, "/script: is a script"),
        (["--", "/data/file3"], 1, "not an ELF program"),
        (["--memory", "lots", "--", "/demo"], 2, "not a size"),
        (["--memory", "64K", "--", "/demo"], 1, "--memory"),
        (["--env", "novalue", "--", "/demo"], 2, "KEY=VALUE"),
        (["--cwd", "/absent", "--", "/demo"], 1, "/absent"),
        (["--trace", "nonsense", "--", "/demo"], 2, "no tracepoint"),
    ],
)
def test_mistakes_are_one_line(
    image: Path, arguments: list[str], status: int, text: str, capfd: Capture
) -> None:
    assert main(["run", str(image), *arguments]) == status
    captured = capfd.readouterr()
    assert text in captured.err
    assert len(captured.err.splitlines()) == 1
    assert captured.out == ""
