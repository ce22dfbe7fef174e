from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import unikiln
from unikiln.cli import build as build_verb
from unikiln.cli import main as entry
from unikiln.cli.common import full_name, guest_path
from unikiln.cli.main import main
from unikiln.cli.output import name_text, printable
from unikiln.cli.verbs import VERBS
from unikiln.errors import HostError, UsageError

PROGRAM = [sys.executable, "-c", "import sys; from unikiln.cli.main import main; sys.exit(main())"]


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"unikiln {unikiln.__version__}\n"
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in VERBS)
    assert main([]) == 2


def test_help_loads_nothing_heavy() -> None:
    code = "import sys; from unikiln.cli.main import main; main(['--help']); print(sorted(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not [name for name in ("typer", "rich", "numpy", "unikiln.zfs") if f"'{name}'" in out]


def test_help_is_quick() -> None:
    best = 1.0
    for _ in range(5):
        started = time.monotonic()
        subprocess.run([*PROGRAM, "--help"], capture_output=True, check=True)
        best = min(best, time.monotonic() - started)
    assert best < 0.15


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert f"Usage: unikiln {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["biuld"], "unikiln: no verb 'biuld' (did you mean build?)"),
        (["zzz"], "unikiln: no verb 'zzz' (unikiln --help lists the verbs)"),
        (["--what"], "unikiln: no option --what"),
        (["build"], "unikiln: Missing "),
        (["build", ".", "-o", "x.raw", "--ashift", "17"], "(unikiln build --help tells more)"),
        (["build", ".", "-o", "x.raw", "--arch", "vax"], "(unikiln build --help tells more)"),
        (["build", ".", "-o", "x.raw", "--size", "big"], "unikiln: 'big' is not a size"),
        (["build", ".", "-o", "x.raw", "--slack", "much"], "unikiln: 'much' is no slack"),
        (["build", ".", "-o", "x.raw", "--recordsize", "100K"], "unikiln: a record size of 100K"),
        (["build", ".", "-o", "x.what"], "unikiln: x.what: its suffix tells no image format"),
        (["build", ".", "-o", "x.zfs", "--layout", "pool", "--cmdline", "x"], "no place for a command line"),
        (["ls", "--nonsense"], "unikiln: No such option"),
        (["extract", "image", "a", "b", "c"], "unikiln: too many arguments: a b c"),
    ],
)
def test_usage_errors_are_one_line_and_status_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert (out, err.count("\n")) == ("", 1)


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (HostError("disk.raw: gone", hint="look"), 1, "unikiln: disk.raw: gone (look)"),
        (UsageError("no"), 2, "unikiln: no"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "No space left on device (make room"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 1, "unikiln: /x: Permission denied"),
        (
            ZeroDivisionError("oops"),
            1,
            "unikiln: a bug in unikiln: ZeroDivisionError: oops (run it again with --debug",
        ),
        (KeyboardInterrupt(), 130, "unikiln: interrupted"),
        (HostError("a\nb \x1b[31m"), 1, "unikiln: a b \\x1b[31m"),
    ],
)
def test_errors_become_one_line(
    error: BaseException,
    status: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> int:
        raise error

    monkeypatch.setattr(entry, "_dispatch", fail)
    assert main([]) == status
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    with pytest.raises(type(error)):
        main(["--debug"])


def test_debug_may_stand_anywhere_before_the_program() -> None:
    for arguments, found, left in (
        (["--debug", "ls", "x"], True, ["ls", "x"]),
        (["ls", "x", "--debug"], True, ["ls", "x"]),
        (["run", "x", "--", "p", "--debug"], False, ["run", "x", "--", "p", "--debug"]),
    ):
        assert entry._take_debug(arguments) is found
        assert arguments == left


def test_ctrl_c_in_a_verb(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(build_verb, "parse_size", interrupted)
    assert main(["build", ".", "-o", "x.raw", "--size", "1"]) == 130
    assert capsys.readouterr().err.strip() == "unikiln: interrupted"


def test_a_closed_pipe_ends_quietly() -> None:
    command = " ".join(f"'{word}'" for word in PROGRAM)
    loop = f"for i in 1 2 3; do {command} --help; done"
    done = subprocess.run(["bash", "-c", f"({loop}) | true"], capture_output=True, text=True, check=True)
    assert done.stderr == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    environment = {
        **os.environ,
        "_UNIKILN_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": "unikiln e",
        "COMP_CWORD": "1",
    }
    environment |= {"_TYPER_COMPLETE_ARGS": "unikiln e", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    done = subprocess.run(PROGRAM, env=environment, capture_output=True, text=True, check=False)
    assert "extract" in done.stdout, done.stderr
    assert "build" not in done.stdout


def test_completion_script() -> None:
    done = subprocess.run([*PROGRAM, "--show-completion", "bash"], capture_output=True, text=True, check=True)
    assert "_UNIKILN_COMPLETE" in done.stdout


def test_names_cannot_drive_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert printable("plain é") == "plain é"
    assert printable("a\x1b[2Jb\n") == "a\\x1b[2Jb\\n"

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert name_text(b"a\x1b\xff") == "a\x1b\udcff"
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert name_text(b"a\x1b\xff") == "a\\x1b\\udcff"


def test_dataset_and_path_names() -> None:
    names = ["zfs", "/zfs", "osv/zfs", "osv", "/", "osv@snap", "zfs@snap", "osv/zfs@snap"]
    full = ["osv/zfs", "osv/zfs", "osv/zfs", "osv", "osv", "osv@snap", "osv/zfs@snap", "osv/zfs@snap"]
    assert [full_name("osv", name) for name in names] == full
    assert [guest_path(path) for path in ("", "/", "a/b/", "/é")] == [b"/", b"/", b"/a/b", "/é".encode()]


def test_build_prints_a_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/file").write_text("content")
    arguments = ["build", str(tmp_path / "source"), "-o", str(tmp_path / "disk.qcow2")]
    assert main(arguments) == 0
    assert "1 files, 7B in osv/zfs on a 64" in capsys.readouterr().out
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["files"], found["bytes_in"], found["format"]) == (1, 7, "qcow2")
    assert main([*arguments, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
