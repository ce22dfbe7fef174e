from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

DEMO = Path(__file__).parents[2] / "examples/demo.py"


def test_the_demo_shows_what_it_promises() -> None:
    done = subprocess.run([sys.executable, DEMO], capture_output=True, text=True, check=True)
    assert "all rounds agree" in done.stdout
    assert "whole; " in done.stdout
    shown = dict(re.findall(r"^  ([a-zA-Z ]+?) +([\d,]+)$", done.stdout, re.MULTILINE))
    assert list(shown) == [
        "translation faults",
        "access flag faults",
        "flags cleared",
        "pages dirty",
        "ARC hits",
    ]
    assert all(int(count.replace(",", "")) > 0 for count in shown.values())
