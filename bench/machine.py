"""The embedded machine: what a fault and a system call cost, and busybox against ``qemu-aarch64``.

The first part runs loops of a few instructions and divides; what the machine needs to start is taken off
by a run with a count of 1. The second part runs ``busybox sha256sum`` on 50 MB of noise, ours from a ZFS
image, QEMU's user mode from a directory, as whole processes. Each number is the best of three.
Run it as ``python -m bench.machine``; it needs Debian's arm64 ``busybox-static`` (``UNIKILN_UNPACKED``).
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.guest import tiny
from tests.judges import BUSYBOX_ARM64
from tests.machine.hostfs import HostFileSystem

from bench.common import Run, best_of, find, report, run, unikiln
from unikiln.engine.embedded import EmbeddedEngine
from unikiln.machine.process import Process
from unikiln.machine.syscalls.table import system_call

MEGABYTES = 50
PAGES = 16_384
ROUNDS = 5
CALLS = 300_000


@dataclass(frozen=True)
class Cost:
    """One kind of event: its cost and the goal, in microseconds."""

    name: str
    microseconds: float
    goal: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # Processes first: what this one holds when it starts another counts as the other's peak.
        runs = busybox(Path(folder), given.rounds)
        costs = events(Path(folder), given.rounds)
    if given.json:
        print(
            json.dumps({"events": [asdict(each) for each in costs], "sha256sum": [asdict(r) for r in runs]})
        )
        return
    print(f"{'event':32} {'us':>6} {'goal':>6} {'ratio':>6}")
    for each in costs:
        print(
            f"{each.name:32} {each.microseconds:6.2f} {each.goal:6.1f} {each.microseconds / each.goal:6.2f}"
        )
    print(f"\nbusybox sha256sum of {MEGABYTES} MB (goal: ratio at most 2)")
    report(runs, "qemu-aarch64", as_json=False)


def events(folder: Path, rounds: int) -> list[Cost]:
    """What the machine's events cost."""
    root = folder / "root"
    root.mkdir()
    (root / "data").write_bytes(random.Random(1).randbytes(PAGES * 4096))
    system_call(124, "sched_yield")(_scan)

    def cost(make: Callable[[int], bytes], count: int) -> float:
        one = min(_run(root, make(1)) for _ in range(rounds))
        return (min(_run(root, make(count)) for _ in range(rounds)) - one) / count * 1e6

    first = cost(lambda pages: tiny.file_loop(pages, 1), PAGES)
    again = cost(lambda n: tiny.file_loop(PAGES if n > 1 else 1, ROUNDS + 1 if n > 1 else 1), PAGES * ROUNDS)
    return [
        Cost("translation fault, anonymous", cost(tiny.touch_loop, PAGES), 10),
        Cost("translation fault, file", first, 10),
        Cost("access flag fault", again - first / ROUNDS, 8),
        Cost("system call (getppid)", cost(tiny.getppid_loop, CALLS), 8),
    ]


def _scan(process: Process) -> int:
    """In place of ``sched_yield``: a pass of the scanner, when the guest asks for it."""
    process.tick()
    return 0


def _run(root: Path, program: bytes) -> float:
    """Seconds from the first instruction of ``program`` to its exit."""
    (root / "program").write_bytes(program)
    process = Process(HostFileSystem(root), 256 << 20)
    engine = EmbeddedEngine(process)
    process.start(process.find_program("/program"), [b"program"], [])
    begin = time.perf_counter()
    status = engine.run()
    assert status == 0
    return time.perf_counter() - begin


def busybox(folder: Path, rounds: int) -> list[Run]:
    """``busybox sha256sum`` as whole processes, for every machine that is there."""
    if not BUSYBOX_ARM64.is_file():
        print(f"no busybox: {BUSYBOX_ARM64} does not exist")
        return []
    tree, image = folder / "tree", folder / "busybox.raw"
    tree.mkdir()
    program, data = tree / "busybox", tree / "data"
    program.write_bytes(BUSYBOX_ARM64.read_bytes())
    program.chmod(0o755)
    noise = random.Random(2)
    with data.open("wb") as file:
        for _ in range(MEGABYTES):
            file.write(noise.randbytes(10**6))
    best_of(1, "build", unikiln("build", tree, "-o", image, "--quiet"))
    stats = folder / "stats.json"
    command = unikiln("run", image, "--json", "--stats-out", stats, "--", "/busybox", "sha256sum", "/data")
    qemu = find("qemu-aarch64")
    ours, guest, theirs = [], [], []
    for _ in range(rounds):  # in turn, so that what disturbs the machine disturbs both
        ours.append(run("unikiln run", command))
        seconds = json.loads(stats.read_text())["seconds"]
        guest.append(Run("  of which the guest", seconds, ours[-1].peak_bytes))
        if qemu:
            theirs.append(run("qemu-aarch64", [qemu, program, "sha256sum", data]))
    return [min(each, key=lambda one: one.seconds) for each in (ours, guest, theirs) if each]


if __name__ == "__main__":
    main()
