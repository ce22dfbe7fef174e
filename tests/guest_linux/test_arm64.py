"""``unikiln mmu walk``, ``map`` and ``hot`` on Linux for AArch64; Linux and QEMU's MMU say what is right.

This kernel has no /sys/kernel/debug/kernel_page_tables (CONFIG_PTDUMP_DEBUGFS is off); what it offers is
/proc/PID/pagemap. QEMU's monitor translates any address (``gva2gpa``) by its own walk.
"""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.test_main import PROGRAM
from tests.guest_linux.conftest import NEEDED
from tests.guest_linux.guest import Guest
from tests.guest_linux.looking import Record, look, number, page_frames
from tests.guest_linux.program import GROWING, HUGE, PAGE, SMALL, Area
from tests.qemu import wait_until
from unikiln.mmu.live import LiveGuest
from unikiln.mmu.request import Request
from unikiln.mmu.space import Space
from unikiln.mmu.translation import Translation

pytestmark = pytest.mark.judge(*NEEDED)
Capture = pytest.CaptureFixture[str]
RAM = range(0x4000_0000, 0x5000_0000)


def live(guest: Guest, vcpu: int) -> list[str]:
    return ["--qmp", str(guest.socket), "--vcpu", str(vcpu)]


def inside(area: Area) -> list[str]:
    return ["--range", f"{area.start:#x}-{area.end - 1:#x}"]


def user_map(guest: Guest, capsys: Capture, *arguments: str) -> list[Record]:
    """The mappings of the program."""
    with guest.stopped():
        found = look(capsys, "map", *live(guest, guest.vcpu_at(0)), *arguments)
    mappings: list[Record] = found["mappings"]
    return mappings


def test_frames_are_those_that_linux_tells(either: Guest, capsys: Capture) -> None:
    written = page_frames(user_map(either, capsys, *inside(SMALL), "--physical", "--writable"))
    told = {SMALL.start + page * PAGE: pa for page, pa in either.frames[SMALL.start].items()}
    assert len(written) == SMALL.written
    assert written.items() <= told.items()
    blocks = page_frames(user_map(either, capsys, *inside(HUGE), "--physical"))
    assert len(blocks) == 2
    for va, pa in blocks.items():
        assert either.frames[HUGE.start][(va - HUGE.start) // PAGE] == pa


def test_pages_that_were_only_read_share_the_zero_page(guest: Guest, capsys: Capture) -> None:
    """pagemap tells no frame of the zero page; that it is one, and where, the runs must agree about."""
    runs = user_map(guest, capsys, *inside(SMALL), "--physical")
    read = [run for run in runs if "w" not in run["user"]]
    assert sum(run["entries"] for run in read) == SMALL.read
    assert len({run["pa"] for run in read}) == 1
    assert all((run["dirty"], run["accessed"]) == (0, run["entries"]) for run in read)


def test_rights_are_those_of_proc_maps(guest: Guest, capsys: Capture) -> None:
    """Pages may have fewer rights than their VMA (copy on write, nothing written yet), never more."""
    runs = user_map(guest, capsys, "--user")
    assert runs
    for run in runs:
        (vma,) = [each for each in guest.vmas if each.start <= number(run["first"]) < each.end]
        assert number(run["last"]) < vma.end
        assert all(right == "-" or right in vma.rights for right in run["user"])
    assert [run["user"] for run in runs if number(run["first"]) == SMALL.start] == ["rw-"]


def test_what_was_written_is_dirty(either: Guest, capsys: Capture) -> None:
    (run,) = user_map(either, capsys, *inside(SMALL), "--dirty")
    assert number(run["first"]) == SMALL.start
    assert (run["entries"], run["accessed"], run["dirty"]) == (SMALL.written,) * 3


def addresses(mappings: list[Record], count: int) -> list[int]:
    """Both ends of every run, just outside of them, and anywhere."""
    dice = random.Random(8)
    edges = [
        va
        for run in mappings
        for va in (
            number(run["first"]),
            number(run["last"]),
            number(run["first"]) - 1,
            number(run["last"]) + 1,
        )
    ]
    within = [dice.randint(number(run["first"]), number(run["last"])) for run in mappings for _ in range(2)]
    anywhere = [dice.getrandbits(48) | dice.choice((0, 0xFFFF)) << 48 for _ in range(count)]
    return [va for va in edges + within + anywhere if 0 <= va < 1 << 64]


def translate(space: Space, va: int, request: Request) -> int | None:
    result = space.walk(va, request)
    return result.pa if isinstance(result, Translation) else None


@pytest.mark.parametrize("level", [0, 1])
def test_qemu_translates_every_run_alike(either: Guest, capsys: Capture, level: int) -> None:
    with either.stopped():
        vcpu = either.vcpu_at(level)
        runs = look(capsys, "map", *live(either, vcpu), "--physical")["mappings"]
        asked = addresses(runs, 100)
        with LiveGuest(either.socket, vcpu) as looking, looking.look() as space:
            pan = bool(looking.register("cpsr") >> 22 & 1)
            request = Request(privileged=level > 0, pan=pan)
            ours = {va: translate(space, va, request) for va in asked}
        theirs = {va: either.physical(va, vcpu) for va in asked}
        mapped = {va: pa for va, pa in theirs.items() if pa is not None}
    assert ours == theirs
    assert len(mapped) > 40
    by_map = {va: pa for va in mapped for pa in in_runs(runs, va)}
    assert by_map == mapped


def in_runs(runs: list[Record], va: int) -> list[int]:
    return [
        number(run["pa"]) + va - number(run["first"])
        for run in runs
        if number(run["first"]) <= va <= number(run["last"])
    ]


def test_memory_reads_alike_by_either_address(guest: Guest, capsys: Capture) -> None:
    with guest.stopped():
        vcpu = guest.vcpu_at(1)
        runs = look(capsys, "map", *live(guest, vcpu), "--physical", "--kernel")["mappings"]
        in_ram = [run for run in runs if number(run["pa"]) in RAM]
        assert len(in_ram) > 30
        for run in in_ram:
            virtual = guest.human(f"x /16wx {run['first']}", vcpu)
            physical = guest.human(f"xp /16wx {run['pa']}", vcpu)
            assert words_in(virtual) == words_in(physical), run


def words_in(dump: str) -> list[str]:
    return [word for line in dump.splitlines() for word in line.split(": ", 1)[1].split()]


def registers(guest: Guest, vcpu: int) -> list[str]:
    with LiveGuest(guest.socket, vcpu) as looking, looking.stopped():
        named = {name: looking.register(f"{name.upper()}_EL1") for name in ("ttbr0", "ttbr1", "tcr", "mair")}
        named["sctlr"] = looking.register("SCTLR")
    return [word for name, value in named.items() for word in (f"--{name}", hex(value))]


def test_a_dump_of_the_same_moment_gives_the_same_map(either: Guest, capsys: Capture, tmp_path: Path) -> None:
    core, raw = tmp_path / "core", tmp_path / "raw"
    with either.stopped():
        vcpu = either.vcpu_at(0)
        expected = look(capsys, "map", *live(either, vcpu), "--physical")["mappings"]
        given = registers(either, vcpu)
        either.monitor.execute("dump-guest-memory", paging=False, protocol=f"file:{core}")
        either.monitor.execute("pmemsave", val=RAM.start, size=len(RAM), filename=str(raw))
    assert len(expected) > 80
    assert look(capsys, "map", "--memory", str(core), "--physical", *given)["mappings"] == expected
    based = ["--memory", str(raw), "--base", hex(RAM.start), *given]
    assert look(capsys, "map", *based, "--physical")["mappings"] == expected
    heat = look(capsys, "hot", *based, "--rows", "4")
    assert heat["samples"][0]["entries"] == sum(run["entries"] for run in expected)
    assert heat["samples"][0]["dirty"] == sum(run["dirty"] for run in expected)


def test_every_virtual_address_of_a_physical_one(guest: Guest, capsys: Capture) -> None:
    pa = guest.frames[SMALL.start][5] + 0x123
    with guest.stopped():
        vcpu = guest.vcpu_at(0)
        found = look(capsys, "map", *live(guest, vcpu), "--pa", hex(pa))["mappings"]
        everything = look(capsys, "map", *live(guest, vcpu), "--physical")["mappings"]
    assert SMALL.start + 5 * PAGE + 0x123 in [number(each["va"]) for each in found]
    holders = [run for run in everything if number(run["pa"]) <= pa < number(run["pa"]) + run["size"]]
    assert len(found) == len(holders) == 2  # the program's page, and the kernel's map of all memory
    look(capsys, "map", *live(guest, vcpu), "--pa", "0x1", status=1)


def test_a_walk_shows_each_entry_as_memory_has_it(guest: Guest, capsys: Capture) -> None:
    with guest.stopped():
        vcpu = guest.vcpu_at(0)
        found = look(capsys, "walk", hex(SMALL.start + 1), *live(guest, vcpu), "--user")
        assert [entry["level"] for entry in found["entries"]] == [0, 1, 2, 3]
        for entry in found["entries"]:
            (word,) = words_in(guest.human(f"xp /1gx {entry['pa']}"))
            assert number(word) == number(entry["value"])
    assert number(found["translation"]["pa"]) == guest.frames[SMALL.start][0] + 1
    assert found["translation"]["dirty"] and found["translation"]["accessed"]


def test_a_walk_that_faults(guest: Guest, capsys: Capture) -> None:
    with guest.stopped():
        vcpu = guest.vcpu_at(0)
        untouched = hex(SMALL.end - 1)
        found = look(capsys, "walk", untouched, *live(guest, vcpu), "--user", "--write", status=1)
        assert (found["fault"]["kind"], found["fault"]["level"]) == ("translation", 3)
        assert "0x92000047" in found["fault"]["meaning"]
        read_only = hex(SMALL.start + SMALL.written * PAGE)
        found = look(capsys, "walk", read_only, *live(guest, vcpu), "--user", "--write", status=1)
        assert (found["fault"]["kind"], found["fault"]["level"]) == ("permission", 3)
        look(capsys, "walk", read_only, *live(guest, vcpu), "--user")


def test_a_running_guest_goes_on(guest: Guest, capsys: Capture) -> None:
    assert guest.runs
    found = look(capsys, "map", *live(guest, 0))
    assert guest.runs
    assert 0 < found["paused_seconds"] < 2
    look(capsys, "walk", found["mappings"][-1]["first"], *live(guest, 0))
    assert guest.runs


def test_a_guest_that_stood_still_stays_so(guest: Guest, capsys: Capture) -> None:
    guest.monitor.execute("stop")
    look(capsys, "map", *live(guest, 0))
    assert not guest.runs
    guest.monitor.execute("cont")
    assert guest.runs


def test_an_error_in_the_middle_lets_the_guest_go_on(guest: Guest) -> None:
    for error in (KeyboardInterrupt, ValueError):
        with pytest.raises(error), LiveGuest(guest.socket) as looking, looking.look() as space:
            assert not guest.runs
            space.walk(0, Request())
            raise error
        assert guest.runs


def test_the_program_grows_and_hot_sees_where(guest: Guest, capsys: Capture) -> None:
    with guest.stopped():
        vcpu = guest.vcpu_at(0)
    arguments = [*live(guest, vcpu), "--user", "-n", "6", "-i", "0.15", "--rows", "12", "--range"]
    found = look(capsys, "hot", *arguments, f"{SMALL.start:#x}-{GROWING.end - 1:#x}")
    assert guest.runs
    samples = found["samples"]
    assert len(samples) == 6
    grown = samples[-1]["entries"] - samples[0]["entries"]
    assert grown > 0
    assert sum(sample["newly_accessed"] for sample in samples) == grown
    assert sum(sample["newly_dirty"] for sample in samples) == grown
    for region in found["regions"]:
        still = number(region["last"]) < GROWING.start
        assert not (still and sum(region["newly_accessed"])), region
        assert region["entries"] == sorted(region["entries"])


def test_the_terminal_and_the_picture(guest: Guest, capsys: Capture, tmp_path: Path) -> None:
    from unikiln.cli.main import main

    with guest.stopped():
        arguments = ["mmu", "hot", *live(guest, guest.vcpu_at(0)), "--user", "-n", "4", "-i", "0.1"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == [
        "addresses",
        "entries",
        "0",
        "s",
        *out.split()[4:6],
        "touched",
        "accessed",
        "dirty",
    ]
    assert "█" in out
    assert "4 samples in 0.3 s stopped the guest for at most" in out
    picture = tmp_path / "hot.png"
    assert main([*arguments, "-o", str(picture), "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("number_", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_any_moment_leaves_the_guest_running(guest: Guest, number_: signal.Signals) -> None:
    command = [*PROGRAM, "mmu", "hot", "--qmp", str(guest.socket), "-i", "0.01", "-n", "10000"]
    dice = random.Random(number_)
    for _ in range(2):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_until(lambda: has_stub(guest), "the sampling begins")
        time.sleep(dice.random())
        process.send_signal(number_)
        _, err = process.communicate(timeout=30)
        assert guest.runs
        # Before the first sample there is nothing to show.
        expected = {0: "", 130: "unikiln: interrupted\n"} if number_ is signal.SIGINT else {143: ""}
        assert (process.returncode, err) in expected.items()
        wait_until(lambda: not has_stub(guest), "the gdbstub is gone")


def has_stub(guest: Guest) -> bool:
    return "gdb" in [device["label"] for device in guest.monitor.execute("query-chardev")]
