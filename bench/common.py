"""What the benchmarks share: generated trees, whole processes timed, and how results are printed."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
_WORDS = b"the quick brown fox jumps over the lazy dog while pages fault and buffers stay warm ".split()


@dataclass(frozen=True)
class Run:
    """One process, from its start to its end."""

    name: str
    seconds: float
    peak_bytes: int


def run(name: str, command: Sequence[str | os.PathLike[str]]) -> Run:
    """Run ``command``; wall-clock seconds, and the peak resident size that the kernel tells of it."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{name} exited {process.returncode}: {errors.decode(errors='replace')}")
    return Run(name, seconds, usage.ru_maxrss << 10)


def best_of(rounds: int, name: str, command: Sequence[str | os.PathLike[str]]) -> Run:
    """The quickest of several runs: the one that others on the machine disturbed least."""
    return min((run(name, command) for _ in range(rounds)), key=lambda each: each.seconds)


def find(program: str) -> str | None:
    """Where ``program`` is; tools for file systems are often outside the path of a normal user."""
    return shutil.which(program, path=_PATH)


def unikiln(*arguments: str | os.PathLike[str]) -> list[str | os.PathLike[str]]:
    """The command line of our own program, in the interpreter that runs this."""
    return [
        sys.executable,
        "-c",
        "import sys; from unikiln.cli.main import main; sys.exit(main())",
        *arguments,
    ]


def make_tree(top: Path, files: int, size: int, seed: int = 1) -> None:
    """``files`` files of ``size`` bytes in all, half of them noise and half text; always the same ones.

    Most are small and a few are large, as in a root file system: sizes are spread logarithmically.
    """
    noise = random.Random(seed)
    weights = [noise.lognormvariate(0, 2) for _ in range(files)]
    scale = size / sum(weights)
    for index, weight in enumerate(weights):
        folder = top / f"{index % 40:02}" / f"{index // 40 % 25:02}"
        if index < 1000:
            folder.mkdir(parents=True, exist_ok=True)
        length = int(weight * scale)
        (folder / f"file{index:05}").write_bytes(
            noise.randbytes(length) if index % 2 else _text(noise, length)
        )


def _text(noise: random.Random, length: int) -> bytes:
    """Words in no order: compresses to about half, as programs and text do."""
    page = b" ".join(noise.choices(_WORDS, k=700))
    return (page * (length // len(page) + 1))[:length]


def report(runs: Sequence[Run], against: str, *, as_json: bool) -> None:
    """Print every run, and how much longer it took than ``against``."""
    if as_json:
        print(json.dumps([asdict(each) for each in runs], indent=2))
        return
    base = next((each.seconds for each in runs if each.name == against), None)
    print(f"{'':24} {'seconds':>8} {'peak MB':>8} {'ratio':>6}")
    for each in runs:
        ratio = f"{each.seconds / base:6.2f}" if base else ""
        print(f"{each.name:24} {each.seconds:8.2f} {each.peak_bytes / 1e6:8.0f} {ratio}")
