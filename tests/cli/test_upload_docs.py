"""The examples of docs/upload.md print what it says, but for times and what follows from them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TEXT = Path(__file__).parents[2] / "docs" / "upload.md"
_MEASURED = re.compile(r"\d+\.\d\d s, \S+/s")


def examples() -> list[tuple[str, str]]:
    """(command, what it prints)."""
    found: list[tuple[str, str]] = []
    for block in re.findall(r"```console\n(.*?)```", TEXT.read_text(), re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, said = part.partition("\n")
            found.append((command, said))
    return found


def test_the_examples_print_what_the_document_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin/unikiln"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\nimport sys; from unikiln.cli.main import main; sys.exit(main())\n"
    )
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
    where = tmp_path / "here"
    where.mkdir()
    assert len(examples()) > 15
    for command, said in examples():
        done = subprocess.run(
            ["/bin/bash", "-c", f"umask 022; {command}"], cwd=where, env=environment, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert _MEASURED.sub("TIME", done.stdout) == _MEASURED.sub("TIME", said), command
