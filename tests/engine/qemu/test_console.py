"""What consoles tell; the lines are OSv's and Linux's."""

from __future__ import annotations

import random

import pytest

from unikiln.engine.qemu.console import Console, Trouble

GOOD = """OSv v0.56.0-84-gea9cb449
1 CPUs detected
VFS: mounting zfs at /zfs
zfs: mounting osv/zfs from device /dev/vblk0.1
Booted up in 463.07 ms
Cmdline: /hello
Hello from C code
VFS: unmounting /
Powering off.
"""
ABORT = """Assertion failed: pte.valid() (core/mmu.cc: populate: 512)

[backtrace]
0x0000000040219ec4 <abort(char const*, ...)+280>
0x00000000402f5d1c <__assert_fail+28>
"""
FAULT = """page fault outside application, addr: 0x0000200000700000
[registers]
PC: 0x00001000000c1234 <main+20>
Aborted

[backtrace]
0x00000000402f5d1c <page_fault+28>
"""
EARLY = "Aborted\r\nHalting.\r\n"
PANIC = """[    0.91] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)
[    0.92] CPU: 0 PID: 1 Comm: swapper/0
"""


def read(text: str) -> Console:
    console = Console()
    console.feed(text.encode())
    console.end()
    return console


def test_a_good_run() -> None:
    console = read(GOOD)
    assert console.trouble is None and not console.halted and not console.report


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("Failed to load object: /hello. Powering off.", 1),
        ("Failed to preload ZFS library. Powering off.", 1),
        ('Uncaught signal 11 ("Segmentation fault"). Powering off.', 1),
        ("Failed to parse command line.", 1),
        ("program /tests/tst-a.so returned 3", 3),
        ("program /a b returned 256", 1),
        ("program exited with status -1", 255),
    ],
)
def test_a_run_that_failed(line: str, status: int) -> None:
    console = read(GOOD.replace("Hello from C code", line))
    assert console.trouble is not None
    assert console.trouble.reason == line.removesuffix(". Powering off.")
    assert console.trouble.status == status
    assert not console.halted


@pytest.mark.parametrize(
    "line",
    [
        "Powering off.",
        "program exited with status 0",
        "program /a returned 0",
        "my program returned 3 rows",
        "I was Aborted",
        "Halting.",
        "Assertion failed: said a test on purpose",
        "see [backtrace]",
    ],
)
def test_what_programs_may_say(line: str) -> None:
    console = read(GOOD.replace("Hello from C code", line))
    assert console.trouble is None and not console.halted


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (ABORT, "Assertion failed: pte.valid() (core/mmu.cc: populate: 512)"),
        (FAULT, "page fault outside application, addr: 0x0000200000700000"),
        (EARLY, "Aborted"),
        (PANIC, "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)"),
        (
            "power: poweroff failed: Operation not permitted\n",
            "power: poweroff failed: Operation not permitted",
        ),
    ],
)
def test_a_halt(text: str, reason: str) -> None:
    console = read("OSv v0.56\n" + text)
    assert console.halted
    assert console.trouble == Trouble(reason)
    assert "OSv v0.56" not in console.report
    last = text.splitlines()[-1]
    assert console.report[-1] == "" or last in console.report


def test_the_report_is_the_crash() -> None:
    assert read(GOOD + FAULT).report[: len(FAULT.splitlines())] == FAULT.splitlines()


def test_the_first_trouble_is_told() -> None:
    console = read("program /a returned 3\nprogram /b returned 4\n")
    assert console.trouble == Trouble("program /a returned 3", 3)


def test_any_pieces_and_line_ends_are_the_same() -> None:
    data = (GOOD + "\x1b[31mprogram /x returned 7\x1b[0m\n").replace("\n", "\r\n").encode()
    for seed in range(50):
        cut = sorted(random.Random(seed).sample(range(len(data)), 5))
        console = Console()
        for start, end in zip([0, *cut], [*cut, len(data)], strict=True):
            console.feed(data[start:end])
        assert console.trouble == Trouble("program /x returned 7", 7)


def test_output_without_end_takes_no_memory() -> None:
    console = Console()
    for _ in range(1000):
        console.feed(b"x" * 10_000)
    console.feed(b"\n" + ABORT.encode() + b"0x0 <f>\n" * 100_000)
    assert console.halted
    assert len(console.report) <= 64
