"""What the verbs say about a guest or a dump, as tests compare it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from unikiln.cli.main import main

Record = dict[str, Any]


def look(capsys: pytest.CaptureFixture[str], verb: str, *arguments: str, status: int = 0) -> Record:
    """The JSON that ``unikiln mmu VERB`` prints."""
    capsys.readouterr()
    assert main(["mmu", verb, *arguments, "--json"]) == status
    out, err = capsys.readouterr()
    assert not err or status
    found: Record = json.loads(out)
    return found


def number(text: str) -> int:
    """An address in JSON."""
    return int(text, 16)


def page_frames(mappings: list[Record]) -> dict[int, int]:
    """Physical address by virtual address of every page, of runs that are physically contiguous."""
    found: dict[int, int] = {}
    for run in mappings:
        for offset in range(0, run["size"], run["entry_size"]):
            found[number(run["first"]) + offset] = number(run["pa"]) + offset
    return found
