"""``unikiln mmu hot`` on dumps."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.cli.mmu_dumps import DATA, KERNEL, STACK, TEXT, Dump
from unikiln.cli import mmu_hot
from unikiln.cli.main import main

Capture = pytest.CaptureFixture[str]

EXPECTED = """\
addresses                           entries  accessed                   dirty
0000000000400000-0000000000407fff         8  100% ████████████████████    0%
0000000000600000-000000000060ffff        16  100% ████████████████████   25% █████
000000007ffff000-000000007fffffff         1  100% ████████████████████  100% ████████████████████
ffff000000200000-ffff0000003fffff         1  100% ████████████████████    0%
26 entries: 26 accessed, 5 dirty
"""


@pytest.fixture
def dump(tmp_path: Path) -> Dump:
    return Dump(tmp_path)


def test_a_dump_gives_one_sample(dump: Dump, capsys: Capture) -> None:
    assert main(["mmu", "hot", *dump.options, "--rows", "4", "-n", "50"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.rstrip() for line in lines] == EXPECTED.splitlines()


def test_json(dump: Dump, capsys: Capture) -> None:
    assert main(["mmu", "hot", *dump.options, "--rows", "4", "--user", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["samples"] == [
        {
            "seconds": 0.0,
            "paused_seconds": 0.0,
            "entries": 25,
            "accessed": 25,
            "dirty": 5,
            "newly_accessed": 0,
            "newly_dirty": 0,
        }
    ]
    regions = found["regions"]
    assert sum(region["entries"][0] for region in regions) == 25
    assert (regions[0]["first"], regions[-1]["last"]) == (hex(TEXT), hex(STACK + 4095))


@pytest.mark.parametrize(
    ("options", "entries"),
    [
        (["--user"], 25),
        (["--kernel"], 1),
        (["--range", f"{DATA:#x}-{DATA + 8191:#x}"], 2),
        (["--range", f"{KERNEL:#x}-0xffffffffffffffff"], 1),
        (["--range", "0x1000-0x2000"], 0),
    ],
)
def test_a_part(dump: Dump, capsys: Capture, options: list[str], entries: int) -> None:
    assert main(["mmu", "hot", *dump.options, *options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["samples"][0]["entries"] == entries
    assert main(["mmu", "hot", *dump.options, *options]) == 0


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("PDF", b"%PDF")])
def test_pictures(dump: Dump, tmp_path: Path, capsys: Capture, suffix: str, magic: bytes) -> None:
    picture = tmp_path / f"hot.{suffix}"
    assert main(["mmu", "hot", *dump.options, "-o", str(picture)]) == 0
    assert picture.read_bytes().startswith(magic)
    assert capsys.readouterr().out == "26 entries: 26 accessed, 5 dirty\n"


def test_a_picture_of_nothing(dump: Dump, tmp_path: Path, capsys: Capture) -> None:
    picture = str(tmp_path / "hot.png")
    assert main(["mmu", "hot", *dump.options, "--range", "0-1", "-o", picture, "-q"]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "status", "message"),
    [
        ("hot.jpg", 2, "no picture format (a name that ends in .png, .svg, .pdf)"),
        ("hot", 2, "no picture format"),
        ("missing/hot.png", 1, "No such file or directory"),
    ],
)
def test_pictures_that_cannot_be_drawn(
    dump: Dump, tmp_path: Path, capsys: Capture, name: str, status: int, message: str
) -> None:
    assert main(["mmu", "hot", *dump.options, "-o", str(tmp_path / name)]) == status
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_without_matplotlib_one_line_names_the_extra(
    dump: Dump, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["mmu", "hot", *dump.options, "-o", str(tmp_path / "hot.png")]) == 2
    assert capsys.readouterr().err == "unikiln: pictures need matplotlib (pip install 'unikiln[plot]')\n"
    assert main(["mmu", "hot", *dump.options]) == 0


@pytest.mark.parametrize("options", [["-i", "0"], ["-n", "0"], ["--rows", "0"], ["-i", "often"]])
def test_numbers_that_make_no_sense(dump: Dump, capsys: Capture, options: list[str]) -> None:
    assert main(["mmu", "hot", *dump.options, *options]) == 2
    assert capsys.readouterr().err.startswith("unikiln: ")


def test_the_help_tells_why_nothing_is_cleared(capsys: Capture) -> None:
    assert main(["mmu", "hot", "--help"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "guest's memory is only read" in out
    assert "TLB" in out


def test_ctrl_c_ends_the_sampling_and_shows_what_there_is(
    dump: Dump, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from unikiln.cli.mmu_source import Source, open_source
    from unikiln.mmu.heat import Sampler

    naps = iter([None, None, KeyboardInterrupt()])

    def sleep(_: float) -> None:
        if error := next(naps):
            raise error

    monkeypatch.setattr("time.sleep", sleep)
    options = dict(each.removeprefix("--").split("=") for each in dump.options)
    source = Source(**{**options, "memory": Path(options["memory"])})  # type: ignore[arg-type]
    sampler = Sampler()
    with open_source(source) as place:
        pauses = mmu_hot._sample(sampler, place, 10, 1.0, quiet=True)
    assert len(pauses) == len(sampler.samples) == 2
