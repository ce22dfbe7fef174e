"""The whole trip in a few seconds: build an image, verify it, run a program from it, look at its faults.

The program (``demo/demo.c``, an AArch64 program without a C library) maps files of the ZFS image, reads
them over and over and writes a private page. Nothing sets the Access Flag of a page table entry but
our own page-fault handler; a pass that clears it every few milliseconds keeps it busy.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

FILES = Path(__file__).parent / "demo"
UNIKILN = [sys.executable, "-c", "import sys; from unikiln.cli.main import main; sys.exit(main())"]
SHOWN = {
    "translation faults": "translation_faults",
    "access flag faults": "access_flag_faults",
    "flags cleared": "access_flags_cleared",
    "pages dirty": "dirty_pages",
    "ARC hits": "cache_hits",
}


def main() -> int:
    """Run the demo; the exit status of the first step that fails, or 0."""
    with tempfile.TemporaryDirectory() as folder:
        image, stats = Path(folder) / "demo.raw", Path(folder) / "stats.json"
        steps = (
            ["build", str(_source(Path(folder))), "-o", str(image), "--cmdline", "/demo"],
            ["verify", str(image)],
            ["run", str(image), "--stats-out", str(stats), "--json", "--", "/demo"],
        )
        for step in steps:
            status = _show(step)
            if status:
                return status
        _table(json.loads(stats.read_text()))
    return 0


def _source(folder: Path) -> Path:
    """A manifest of the program and of files for it to read: 150, of up to two pages each."""
    data = folder / "data"
    data.mkdir()
    noise = random.Random(1)
    for number in range(150):
        (data / f"file{number:03}").write_bytes(
            b"%d " % number * 1000 + noise.randbytes(noise.randrange(4096))
        )
    manifest = folder / "demo.manifest"
    manifest.write_text(f"/demo: {FILES / 'demo'}\n/data/**: {data}/**\n")
    return manifest


def _show(step: list[str]) -> int:
    print(f"\n$ unikiln {' '.join(step)}", flush=True)
    return subprocess.run([*UNIKILN, *step], check=False).returncode


def _table(stats: dict[str, object]) -> None:
    print()
    for title, key in SHOWN.items():
        print(f"  {title:20} {stats[key]:>10,}")


if __name__ == "__main__":
    sys.exit(main())
