"""``unikiln mmu map`` on dumps, and what all three verbs refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.cli.mmu_dumps import BASE, DATA, FRAME, KERNEL, STACK, TEXT, Dump
from tests.mmu.cores import X86_64, Load, core, qemu_state
from tests.mmu.monitor import Monitor
from tests.servers import serve
from unikiln.cli.main import main
from unikiln.mmu.aarch64.descriptor import LEAF
from unikiln.mmu.x86 import entry as x86

Capture = pytest.CaptureFixture[str]
Run = Callable[..., str]
VERBS = ("walk", "map", "hot")


@pytest.fixture
def dump(tmp_path: Path) -> Dump:
    return Dump(tmp_path)


@pytest.fixture
def run(capsys: Capture) -> Run:
    """Runs a verb of ``unikiln mmu``; what it prints, or the one line about what is wrong."""

    def verb(*arguments: str, status: int = 0) -> str:
        capsys.readouterr()
        assert main(["mmu", *arguments]) == status
        out, err = capsys.readouterr()
        assert err.count("\n") == (status != 0)
        return err if status else out

    return verb


EXPECTED = """\
TTBR0_EL1 0x100000: 48-bit addresses, 4K granule
addresses                            size      physical     entries  EL1    EL0   memory            accessed  dirty  also
0000000000400000-0000000000407fff     32K   0x800000000      8 x 4K  r--    r-x   Normal WB ISH          all      -
0000000000600000-000000000060ffff     64K     scattered     16 x 4K  rw-    rw-   Normal WB ISH          all      4
000000007ffff000-000000007fffffff      4K   0x800003000      1 x 4K  rw-    rwx   Normal WB ISH          all    all

TTBR1_EL1 0x101000: 48-bit addresses, 4K granule
addresses                            size      physical     entries  EL1    EL0   memory            accessed  dirty  also
ffff000000200000-ffff0000003fffff      2M   0x800000000      1 x 2M  rwx    ---   Normal WB ISH          all      -  global

4 runs, 2.10M: entries 25 of 4K, 1 of 2M; 26 accessed, 5 dirty
"""  # noqa: E501


def test_everything(dump: Dump, run: Run) -> None:
    assert run("map", *dump.options) == EXPECTED


@pytest.mark.parametrize(
    ("options", "starts"),
    [
        ([], [TEXT, DATA, STACK, KERNEL]),
        (["--user"], [TEXT, DATA, STACK]),
        (["--kernel"], [KERNEL]),
        (["--writable"], [DATA, STACK, KERNEL]),
        (["--executable"], [TEXT, STACK, KERNEL]),
        (["--wx"], [STACK, KERNEL]),
        (["--dirty"], [DATA, STACK]),
        (["--accessed", "--dirty", "--executable"], [STACK]),
        (["--range", f"{TEXT + 4096:#x}-{DATA:#x}"], [TEXT, DATA]),
        (["--range", f"{TEXT + 8 * 4096:#x}-{DATA - 1:#x}"], []),
        (["--range", "0-0xffffffffffffffff", "--kernel"], [KERNEL]),
        (["--physical", "--user", "--writable"], [DATA + number * 4096 for number in range(16)] + [STACK]),
    ],
)
def test_filters(dump: Dump, run: Run, options: list[str], starts: list[int]) -> None:
    found = json.loads(run("map", *dump.options, *options, "--json"))
    assert [int(each["first"], 16) for each in found["mappings"]] == starts
    text = run("map", *dump.options, *options)
    assert text.splitlines()[-1].startswith(f"{len(starts)} run")


def test_json_has_all_that_is_known(dump: Dump, run: Run) -> None:
    found = json.loads(run("map", *dump.options, "--json"))
    assert found["arch"] == "aarch64"
    assert found["tables"] == [
        "TTBR0_EL1 0x100000: 48-bit addresses, 4K granule",
        "TTBR1_EL1 0x101000: 48-bit addresses, 4K granule",
    ]
    assert found["paused_seconds"] == 0
    assert found["mappings"][1] == {
        "first": "0x600000",
        "last": "0x60ffff",
        "size": 65536,
        "pa": None,
        "level": 3,
        "entries": 16,
        "entry_size": 4096,
        "accessed": 16,
        "dirty": 4,
        "privileged": "rw-",
        "user": "rw-",
        "memory_type": "Normal WB",
        "shareability": "inner shareable",
        "global": False,
        "flags": [],
    }


def test_search_by_physical_address(dump: Dump, run: Run) -> None:
    lines = run("map", *dump.options, "--pa", hex(FRAME + 3 * 4096 + 7)).splitlines()
    assert [line.split()[0] for line in lines] == [
        f"{va:#018x}" for va in (TEXT + 3 * 4096 + 7, STACK + 7, KERNEL + 3 * 4096 + 7)
    ]
    assert [
        line.split()[0] for line in run("map", *dump.options, "--pa", hex(FRAME + 7), "--user").splitlines()
    ] == [f"{TEXT + 7:#018x}"]


def test_search_that_finds_nothing(dump: Dump, capsys: Capture) -> None:
    assert main(["mmu", "map", *dump.options, "--pa", "0x1234"]) == 1
    assert capsys.readouterr() == ("", "")


def test_without_mair_no_memory_type_is_guessed(dump: Dump, run: Run) -> None:
    options = [each for each in dump.options if not each.startswith("--mair")]
    text = run("map", *options)
    assert "AttrIndx 4" in text
    assert "Normal" not in text


def test_one_half_alone(dump: Dump, run: Run) -> None:
    options = [each for each in dump.options if not each.startswith("--ttbr1")]
    found = json.loads(run("map", *options, "--json"))
    assert [int(each["first"], 16) for each in found["mappings"]] == [TEXT, DATA, STACK]


def test_an_x86_64_core_needs_no_registers(tmp_path: Path, run: Run) -> None:
    words = np.zeros(512 * 4, dtype=np.uint64)
    table = x86.P | x86.RW | x86.US
    words[0], words[512], words[1024] = (table | 0x1000 * level for level in (1, 2, 3))
    words[1536 + 5] = 0xABC000 | table | x86.A | x86.D | x86.XD
    words[511] = table | 0x1000
    cr = (0x8005_0033, 0, 0, 0, 0x20)
    (tmp_path / "core").write_bytes(core(Load(0, words.tobytes()), notes=qemu_state(cr), machine=X86_64))
    found = json.loads(run("map", "--memory", str(tmp_path / "core"), "--json"))
    assert [(each["first"], each["pa"], each["user"]) for each in found["mappings"]] == [
        ("0x5000", "0xabc000", "rw-"),
        ("0xffffff8000005000", "0xabc000", "rw-"),
    ]
    assert found["mappings"][0]["dirty"] == 1
    assert "no vcpu 1" in run("map", "--memory", str(tmp_path / "core"), "--vcpu", "1", status=2)


# What is wrong is said in one line, for every verb.


def verb_and(verb: str, options: list[str]) -> list[str]:
    return [verb, *(["0x400000"] if verb == "walk" else []), *options]


@pytest.mark.parametrize("verb", VERBS)
def test_a_wrong_base(dump: Dump, run: Run, verb: str) -> None:
    options = [each.replace(f"--base={BASE:#x}", "--base=0x90000000") for each in dump.options]
    if verb == "walk":
        assert main(["mmu", *verb_and(verb, options)]) == 1
        return
    message = run(*verb_and(verb, options), status=1)
    assert "no memory at 0x100000: " in message
    assert "memory.raw has 0x90000000-0x900fffff" in message


@pytest.mark.parametrize("verb", ["map", "hot"])
def test_a_short_dump_shows_what_it_has(dump: Dump, capsys: Capture, verb: str) -> None:
    """The tables of the upper half, which were made last, are cut off."""
    dump.write(0x6000)
    assert main(["mmu", verb, *dump.options]) == 1
    out, err = capsys.readouterr()
    assert "0000000000400000-" in out
    assert err.startswith("unikiln: entries point to tables outside the memory, such as 0x10")
    assert err.count("\n") == 1


@pytest.mark.parametrize("verb", ["map", "hot"])
def test_tables_that_point_outside(dump: Dump, capsys: Capture, verb: str) -> None:
    dump.table.memory.words[BASE // 8 + 77] = 0xDEAD_BEEF_F000 | LEAF
    dump.write()
    assert main(["mmu", verb, *dump.options]) == 1
    assert "outside the memory, such as 0xdeadbeeff" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["map", "hot"])
def test_tables_that_loop_without_end(dump: Dump, run: Run, verb: str) -> None:
    dump.table.memory.words[BASE // 8 : BASE // 8 + 512] = BASE | LEAF
    dump.write()
    message = run(verb, *dump.options, status=1)
    assert "the tables loop: an entry of level" in message
    assert "points back to 0x100000" in message


def test_a_root_that_maps_itself_is_read_as_the_processor_reads_it(dump: Dump, run: Run) -> None:
    dump.table.memory.words[BASE // 8 + 9] = BASE | LEAF
    dump.write()
    found = json.loads(run("map", *dump.options, "--range", f"{9 << 39:#x}-{(10 << 39) - 1:#x}", "--json"))
    pages = {int(each["first"], 16): each for each in found["mappings"]}
    root = (9 << 39) + (9 << 30) + (9 << 21) + (9 << 12)
    assert pages[root]["pa"] == hex(BASE)


def test_a_walk_of_tables_that_loop_ends_after_all_levels(dump: Dump, run: Run, capsys: Capture) -> None:
    dump.table.memory.words[BASE // 8] = BASE | LEAF
    dump.write()
    assert main(["mmu", "walk", "0x0", *dump.options, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [entry["pa"] for entry in found["entries"]] == [hex(BASE)] * 4
    assert found["fault"]["kind"] == "access_flag"


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "name one thing to look at (--memory FILE, or --qmp SOCKET)"),
        (["--memory", "FILE", "--qmp", "SOCKET"], "name one thing to look at"),
        (["--qmp", "SOCKET", "--ttbr0", "1"], "--ttbr0 is for dumps"),
        (["--memory", "FILE", "--base", "0"], "which tables?"),
        (["--memory", "FILE", "--base", "0", "--ttbr0", "0x1000"], "the tables need --tcr"),
        (
            ["--memory", "FILE", "--base", "0", "--tcr", "1"],
            "does not tell its tables (--ttbr0, --ttbr1 or both)",
        ),
        (["--memory", "FILE", "--base", "0", "--ttbr0", "0", "--cr3", "0"], "do not go together"),
        (["--memory", "FILE", "--base", "0", "--cr4", "0x20"], "does not tell its tables (--cr3)"),
        (["--memory", "FILE", "--base", "zero", "--cr3", "0"], "'zero' is no number for --base"),
        (["--memory", "FILE", "--base", "0", "--ttbr0", "1f000", "--tcr", "0"], "hexadecimal starts with 0x"),
        (["--memory", "FILE", "--base", "0", "--cr3", "0", "--cpu", "z80"], "no processor 'z80' (qemu64, "),
        (["--memory", "FILE", "--base", "0", "--cr3", "0", "--cr4", "0"], "CR4.PAE is 0"),
    ],
)
def test_options_that_make_no_sense(
    tmp_path: Path, run: Run, verb: str, options: list[str], message: str
) -> None:
    (tmp_path / "FILE").write_bytes(bytes(8192))
    given = [each.replace("FILE", str(tmp_path / "FILE")) for each in options]
    status = 1 if message.startswith("CR4") else 2
    assert message in run(*verb_and(verb, given), status=status)


@pytest.mark.parametrize("verb", VERBS)
def test_files_and_sockets_that_are_not_there(tmp_path: Path, run: Run, verb: str) -> None:
    missing = str(tmp_path / "missing")
    assert f"{missing}: No such file" in run(*verb_and(verb, ["--memory", missing, "--cr3", "0"]), status=1)
    message = run(*verb_and(verb, ["--qmp", missing]), status=1)
    assert f"{missing}: cannot connect: No such file or directory" in message


@pytest.mark.parametrize("verb", VERBS)
def test_a_guest_that_goes_away(tmp_path: Path, run: Run, verb: str) -> None:
    def die(_: object) -> None:
        raise ConnectionError

    with serve(tmp_path / "qmp", Monitor(tmp_path / "stub", query_status=die)):
        message = run(*verb_and(verb, ["--qmp", str(tmp_path / "qmp")]), status=1)
    assert f"{tmp_path}/qmp: QEMU closed the connection" in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--user", "--kernel"], "leave nothing"),
        (["--range", "5"], "'5' is no range"),
        (["--range", "9-5"], "the lower address comes first"),
        (["--range", "x-5"], "'x' is no number for --range"),
    ],
)
def test_filters_that_make_no_sense(dump: Dump, run: Run, options: list[str], message: str) -> None:
    for verb in ("map", "hot"):
        assert message in run(verb, *dump.options, *options, status=2)


def test_the_mmu_is_off(dump: Dump, run: Run) -> None:
    assert "SCTLR_EL1.M is 0" in run("map", *dump.options, "--sctlr=0", status=1)
    assert "SCTLR_EL1.EE is 1" in run("map", *dump.options, "--sctlr=0x2000001", status=1)
    nothing = [each if "--tcr" not in each else "--tcr=0x800080" for each in dump.options]
    assert "TCR_EL1 translates nothing" in run("map", *nothing, status=1)
