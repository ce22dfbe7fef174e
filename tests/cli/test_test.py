"""``unikiln test`` with real programs on the embedded engine, and on the stand-in kernel under QEMU."""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.guest.compile import compile_guest
from tests.guest.tiny import exit_with, make_elf, words
from tests.osv_like.kernel import build, build_boot_disk
from tests.qemu import wait_until
from unikiln.cli.main import main
from unikiln.cli.run import Engine
from unikiln.cli.test import _shared_arguments

ARM, COMPILER = "qemu-system-aarch64", "aarch64-linux-gnu-gcc"
X86, X86_COMPILER = "qemu-system-x86_64", "x86_64-linux-gnu-gcc"
PROGRAM = [sys.executable, "-c", "import sys; from unikiln.cli.main import main; sys.exit(main())"]
LOAD_FROM_NULL = words(0xD2800000, 0xF9400000)
SPIN = words(0x14000000)


def image(folder: Path, programs: dict[str, bytes]) -> Path:
    tests = folder / "tree/tests"
    tests.mkdir(parents=True, exist_ok=True)
    for name, content in programs.items():
        (tests / name).write_bytes(content)
        (tests / name).chmod(0o755)
    disk = folder / "disk.raw"
    assert main(["build", str(folder / "tree"), "-o", str(disk), "--arch", "aarch64", "-q"]) == 0
    return disk


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    return image(
        tmp_path,
        {
            "pass-1": make_elf(exit_with(0)),
            "pass-2": make_elf(exit_with(0)),
            "fail-1": make_elf(exit_with(3)),
            "abort-1": make_elf(LOAD_FROM_NULL),
            "data.txt": b"no program",
        },
    )


def verdicts(document: str) -> dict[str, tuple[str, str]]:
    return {each["name"]: (each["verdict"], each["reason"]) for each in json.loads(document)["tests"]}


def test_on_the_embedded_engine(disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    junit = tmp_path / "junit.xml"
    assert main(["test", str(disk), "--junit", str(junit), "-j", "2"]) == 1
    out = capsys.readouterr().out
    lines = sorted(line.split()[:2] for line in out.splitlines() if re.match(r"(ok|FAILED|CRASHED) ", line))
    assert lines == [["CRASHED", "abort-1"], ["FAILED", "fail-1"], ["ok", "pass-1"], ["ok", "pass-2"]]
    assert re.search(r"^4 programs: 2 passed, 1 failed, 1 crashed; \d+\.\d\d s$", out, re.MULTILINE)
    assert "== abort-1: /tests/abort-1 died of SIGSEGV: " in out
    assert "data abort" in out.lower()  # the report of the crash, with the decoded syndrome
    suite = ElementTree.parse(junit).getroot()[0]
    assert suite.get("name") == "disk.raw"
    assert [case.get("name") for case in suite] == ["abort-1", "fail-1", "pass-1", "pass-2"]
    assert [[problem.tag for problem in case][:1] for case in suite] == [["error"], ["failure"], [], []]


def test_json_and_match(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", str(disk), "--json", "--match", "pass-*"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["totals"] == {"tests": 2, "passed": 2, "failed": 0, "timeout": 0, "crashed": 0}
    assert [each["path"] for each in document["tests"]] == ["/tests/pass-1", "/tests/pass-2"]
    assert all(0 < each["seconds"] <= document["seconds"] for each in document["tests"])


def test_quiet_tells_only_what_went_wrong(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", str(disk), "-q", "--match", "pass-1"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main(["test", str(disk), "-q", "--match", "fail-1"]) == 1
    assert capsys.readouterr().out.startswith("\n== fail-1: exit status 3\n")


@pytest.mark.judge(COMPILER)
def test_programs_of_a_compiler(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    programs = {}
    for name in ("stale", "crash"):
        programs[name] = compile_guest(name, tmp_path / name).read_bytes()
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/data").write_bytes(b"".join(bytes([page + 1]) * 4096 for page in range(16)))
    assert main(["test", str(image(tmp_path, programs)), "--json"]) == 1
    came = verdicts(capsys.readouterr().out)
    assert came["stale"] == ("passed", "")
    assert came["crash"][0] == "crashed"
    assert "SIGSEGV" in came["crash"][1]


def test_a_program_that_hangs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    disk = image(tmp_path, {"hang": make_elf(SPIN)})
    begun = time.monotonic()
    assert main(["test", str(disk), "--json", "--timeout", "0.5"]) == 1
    assert verdicts(capsys.readouterr().out)["hang"] == ("timeout", "did not end within 0.5 s")
    assert time.monotonic() - begun < 15


@pytest.mark.judge(ARM, COMPILER)
def test_under_qemu(disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kernel = build("aarch64", tmp_path / "loader.img")
    before = disk.read_bytes()
    options = ["--engine", "qemu", "--kernel", str(kernel), "-m", "128M", "-c", "1", "--json", "-j", "2"]
    assert main(["test", str(disk), *options]) == 1
    assert verdicts(capsys.readouterr().out) == {
        "abort-1": ("crashed", "Assertion failed: false (tests/abort.cc: main: 7)"),
        "fail-1": ("failed", "program /tests/fail-1 returned 3"),
        "pass-1": ("passed", ""),
        "pass-2": ("passed", ""),
    }
    assert disk.read_bytes() == before


@pytest.mark.judge(ARM, COMPILER)
def test_a_guest_that_hangs_under_qemu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    disk = image(tmp_path, {"hang": make_elf(SPIN)})
    kernel = build("aarch64", tmp_path / "loader.img")
    options = ["--engine", "qemu", "--kernel", str(kernel), "--timeout", "1.5"]
    assert main(["test", str(disk), *options]) == 1
    out = capsys.readouterr().out
    assert "== hang: did not end within 1.5 s" in out
    assert "   Cmdline: /tests/hang" in out


@pytest.mark.judge(X86, X86_COMPILER)
def test_disks_that_boot_themselves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Several guests at a time, each with a command line of its own, on one image that stays as it is."""
    (tmp_path / "tree/tests").mkdir(parents=True)
    for name in ("a", "b", "c"):
        (tmp_path / "tree/tests" / name).write_bytes(make_elf(exit_with(0)))
    loader = build_boot_disk(tmp_path / "loader.img")
    disk = tmp_path / "disk.qcow2"
    made = ["build", str(tmp_path / "tree"), "-o", str(disk), "--arch", "x86_64", "--kernel", str(loader)]
    assert main([*made, "--cmdline", "/stored", "-q"]) == 0
    before = disk.read_bytes()
    assert main(["test", str(disk), "--engine", "qemu", "-m", "128M", "-c", "1", "-j", "3", "--json"]) == 0
    for each in json.loads(capsys.readouterr().out)["tests"]:
        assert f"--rootfs=zfs {each['path']}" in each["output"]
    assert disk.read_bytes() == before


@pytest.mark.judge(ARM, COMPILER)
def test_nothing_is_left_when_it_is_killed(tmp_path: Path) -> None:
    disk = image(tmp_path, {"hang-1": make_elf(SPIN), "hang-2": make_elf(SPIN)})
    kernel = build("aarch64", tmp_path / "loader.img")
    command = [*PROGRAM, "test", str(disk), "--engine", "qemu", "--kernel", str(kernel), "-j", "2"]
    ours = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    wait_until(lambda: len(_qemus(disk)) == 2, "both guests run")
    ours.send_signal(signal.SIGKILL)
    ours.wait()
    wait_until(lambda: not _qemus(disk), "no guest runs")


def _qemus(disk: Path) -> list[str]:
    """The processes of QEMU's that have ``disk`` on their command line."""
    found = []
    for each in Path("/proc").iterdir():
        try:
            words = (each / "cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
            continue
        if b"qemu-system" in words[0] and any(os.fsencode(disk) in word for word in words):
            found.append(each.name)
    return found


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--match", "zzz"], "no program in /tests matches 'zzz'"),
        (["--dir", "/tests/pass-1"], "is no directory in the image"),
        (["--kernel", "x"], "--kernel-path is for --engine qemu, and this is --engine embedded"),
        (["--engine", "qemu", "--dry-run"], "--dry-run is for unikiln run"),
        (["--engine", "qemu", "-e", "/x"], "--execute is for unikiln run"),
    ],
)
def test_wrong_usage(disk: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", str(disk), *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_folder_that_is_not_there(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", str(disk), "--dir", "/none"]) == 1
    assert "/none" in capsys.readouterr().err
    assert main(["test", str(disk), "--match", "pass-1", "--junit", "/none/junit.xml"]) == 1
    assert "/none/junit.xml: No such file or directory" in capsys.readouterr().err


def test_every_guest_gets_what_was_given(
    disk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = "import sys; print(sys.argv[1:])"
    monkeypatch.setattr("unikiln.cli.test._UNIKILN", (sys.executable, "-S", "-c", told))
    given = ["--dataset", "osv/zfs", "-m", "64M", "--env", "A=1"]
    assert main(["test", str(disk), "--match", "pass-1", "--json", "--timeout", "7", *given]) == 0
    (result,) = json.loads(capsys.readouterr().out)["tests"]
    words = ast.literal_eval(result["output"])
    assert words[:5] == ["run", "--engine", "embedded", "--timeout", "7.0"]
    assert words[-3:] == [str(disk), "--", "/tests/pass-1"]
    for name, value in (("--dataset", "osv/zfs"), ("--env", "A=1"), ("--memory", "64M")):
        assert words[words.index(name) + 1] == value


def test_keys_are_for_the_embedded_engine() -> None:
    given = _shared_arguments(Engine.embedded, 1, None, [], None, ["osv=FILE", "env:KEY"])
    assert given[-4:] == ["--key", "osv=FILE", "--key", "env:KEY"]
