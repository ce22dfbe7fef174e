"""A tree into an image: written directly, against the way through a guest that receives it.

The guest is ours on the embedded engine; with ``UNIKILN_OSV_BUILDER``, an OSv kernel that has mkfs and cpiod,
OSv's under QEMU, too. Whole processes, the quickest of several. Run it as ``python -m bench.pipeline``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
from dataclasses import asdict
from pathlib import Path

from bench.common import Run, best_of, report, unikiln

FILES, FILE_SIZE = 5_000, 4 << 10
LARGE = 200 << 20
GOAL = 10


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        payloads = {
            "5,000 files of 4 KiB": _many(folder / "many"),
            "one file of 200 MiB": _one(folder / "one"),
        }
        found = {name: measure(tree, folder, given.rounds) for name, tree in payloads.items()}
    if given.json:
        print(json.dumps({name: [asdict(run) for run in runs] for name, runs in found.items()}))
        return
    for name, runs in found.items():
        print(f"\n{name} (goal: a guest takes {GOAL} times as long)")
        report(runs, "direct", as_json=False)


def measure(tree: Path, folder: Path, rounds: int) -> list[Run]:
    """The same tree both ways, or all three."""
    image = folder / "image.raw"
    build: list[str | Path] = ["build", tree, "-o", image, "--size", "512M", "--quiet"]
    runs = [
        best_of(rounds, "direct", unikiln(*build)),
        best_of(rounds, "guest, embedded", unikiln(*build, "--via", "guest")),
    ]
    kernel = os.environ.get("UNIKILN_OSV_BUILDER")
    if kernel:
        upload: list[str | Path] = [
            "upload",
            "-o",
            image,
            "-m",
            tree,
            "--engine",
            "qemu",
            "--kernel-path",
            kernel,
            "--quiet",
        ]
        runs.append(best_of(rounds, "guest, OSv under QEMU", unikiln(*upload)))
    return runs


def _many(top: Path) -> Path:
    noise = random.Random(1)
    for number in range(FILES):
        folder = top / f"{number // 100:02}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"file{number:04}").write_bytes(noise.randbytes(FILE_SIZE))
    return top


def _one(top: Path) -> Path:
    top.mkdir()
    noise = random.Random(2)
    with (top / "large").open("wb") as file:
        for _ in range(LARGE >> 20):
            file.write(noise.randbytes(1 << 20))
    return top


if __name__ == "__main__":
    main()
