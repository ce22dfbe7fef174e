"""``unikiln build`` against ``mke2fs -d`` and ``mksquashfs``, on the same tree, as whole processes.

The tree: 20,000 files, 500 MB, half noise and half text. Every program gets the tree from the page
cache and writes to the same file system; each number is the best of three.
Run it as ``python -m bench.build``.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from bench.common import Run, best_of, find, make_tree, report, unikiln


def main() -> None:
    """Make the tree, run everything, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to work; default: the system's temporary folder")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        tree = Path(folder) / "tree"
        make_tree(tree, given.files, given.megabytes * 10**6)
        runs = measure(tree, Path(folder), given.rounds, given.megabytes)
    report(runs, "mke2fs -d", as_json=given.json)


def measure(tree: Path, folder: Path, rounds: int, megabytes: int) -> list[Run]:
    """Time every program that is installed on ``tree``."""
    image = folder / "image"
    runs = [
        best_of(rounds, "unikiln build", unikiln("build", tree, "-o", image, "--format", "raw", "--quiet")),
        best_of(
            rounds,
            "unikiln build, qcow2",
            unikiln("build", tree, "-o", image, "--format", "qcow2", "--quiet"),
        ),
    ]
    image.unlink()
    mke2fs, mksquashfs = find("mke2fs"), find("mksquashfs")
    if mke2fs:
        size = f"{megabytes * 13 // 10 + 64}M"
        runs.append(best_of(rounds, "mke2fs -d", [mke2fs, "-q", "-F", "-t", "ext4", "-d", tree, image, size]))
    if mksquashfs:
        options = ["-comp", "lz4", "-noappend", "-no-progress", "-quiet"]
        runs.append(best_of(rounds, "mksquashfs -comp lz4", [mksquashfs, tree, image, *options]))
    return runs


if __name__ == "__main__":
    main()
