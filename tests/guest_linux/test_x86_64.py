"""``unikiln mmu map`` and ``walk`` on Linux for x86-64, page by page against QEMU's ``info tlb``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests import judges
from tests.guest_linux.guest_x86 import linux_x86_64
from tests.guest_linux.looking import Record, look, number
from tests.guest_linux.program import HUGE, PAGE, SMALL
from tests.qemu import Running
from unikiln.base.qmp import Qmp

NEEDED = ("qemu-system-x86_64", "linux-amd64")
pytestmark = pytest.mark.judge(*NEEDED)
Capture = pytest.CaptureFixture[str]
_LINE = re.compile(r"([0-9a-f]{16}): ([0-9a-f]{16}) ([X-])([G-])([P-])([D-])([A-])[C-][T-]([U-])([W-])")


class Page(NamedTuple):
    """A leaf as QEMU prints it (target/i386/monitor.c, ``print_pte``)."""

    pa: int
    large: bool
    executable: bool
    user: bool
    writable: bool
    is_global: bool


class Told(NamedTuple):
    """What QEMU says about the guest: all leaves by address, those accessed and those dirty."""

    pages: dict[int, Page]
    accessed: set[int]
    dirty: set[int]


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    for program in NEEDED:
        if judges.find(program) is None:
            (pytest.fail if judges.REQUIRED else pytest.skip)(judges.absent(program))
    with linux_x86_64(tmp_path_factory.mktemp("guest")) as running:
        yield running


@pytest.fixture(scope="module")
def told(guest: Running, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """Stop the guest for good, and ask."""
    with Qmp(guest.socket) as monitor:
        monitor.execute("stop")
        text = monitor.human("info tlb")
        core = tmp_path_factory.getbasetemp() / "x86_64.core"
        monitor.execute("dump-guest-memory", paging=False, protocol=f"file:{core}")
    pages, accessed, dirty = {}, set(), set()
    for line in text.splitlines():
        found = _LINE.fullmatch(line)
        assert found, line
        va, pa, no_execute, is_global, large, d, a, user, writable = found.groups()
        flags = (large != "-", no_execute == "-", user != "-", writable != "-", is_global != "-")
        pages[int(va, 16)] = Page(int(pa, 16), *flags)
        accessed |= {int(va, 16)} if a != "-" else set()
        dirty |= {int(va, 16)} if d != "-" else set()
    return Told(pages, accessed, dirty)


def leaves(mappings: list[Record]) -> dict[int, Page]:
    found = {}
    for run in mappings:
        rights = run["user"] + run["privileged"]
        flags = ("x" in rights, run["user"] != "---", "w" in rights, run["global"])
        for offset in range(0, run["size"], run["entry_size"]):
            page = Page(number(run["pa"]) + offset, run["entry_size"] > PAGE, *flags)
            found[number(run["first"]) + offset] = page
    return found


def test_every_page_is_as_qemu_prints_it(guest: Running, told: Told, capsys: Capture) -> None:
    found = look(capsys, "map", "--qmp", str(guest.socket), "--physical")
    assert found["arch"] == "x86_64"
    assert len(told.pages) > 5000
    assert leaves(found["mappings"]) == told.pages


def test_accessed_and_dirty_counts(guest: Running, told: Told, capsys: Capture) -> None:
    for run in look(capsys, "map", "--qmp", str(guest.socket), "--physical")["mappings"]:
        pages = set(range(number(run["first"]), number(run["last"]), run["entry_size"]))
        assert (run["accessed"], run["dirty"]) == (len(pages & told.accessed), len(pages & told.dirty)), run


def test_the_programs_pages(guest: Running, told: Told, capsys: Capture) -> None:
    """Linux gives no huge pages to a guest with so little memory unless it is asked to."""
    where = f"{SMALL.start:#x}-{HUGE.end - 1:#x}"
    runs = look(capsys, "map", "--qmp", str(guest.socket), "--range", where, "--user")["mappings"]
    assert [(run["entries"], run["dirty"], run["user"]) for run in runs] == [
        (SMALL.written, SMALL.written, "rw-"),
        (SMALL.read, 0, "r--"),
        (HUGE.written, HUGE.written, "rw-"),
    ]


def test_walks_of_some_pages(guest: Running, told: Told, capsys: Capture) -> None:
    for va in sorted(told.pages)[::500]:
        user = ["--user"] if told.pages[va].user else []
        found = look(capsys, "walk", hex(va + 5), "--qmp", str(guest.socket), *user)
        assert number(found["translation"]["pa"]) == told.pages[va].pa + 5


def test_a_core_tells_its_tables(
    guest: Running, told: Told, capsys: Capture, tmp_path_factory: pytest.TempPathFactory
) -> None:
    core = str(tmp_path_factory.getbasetemp() / "x86_64.core")
    assert leaves(look(capsys, "map", "--memory", core, "--physical")["mappings"]) == told.pages
    look(capsys, "walk", hex(SMALL.start), "--memory", core, "--user", "--write")
    fault = look(capsys, "walk", hex(SMALL.end - PAGE), "--memory", core, "--user", "--write", status=1)[
        "fault"
    ]
    assert (fault["kind"], fault["level"]) == ("not_present", 1)


def test_the_guest_was_left_stopped(guest: Running, told: Told) -> None:
    with Qmp(guest.socket) as monitor:
        assert monitor.execute("query-status")["running"] is False
