"""``unikiln mmu walk`` on dumps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.mmu_dumps import DATA, FRAME, KERNEL, STACK, TEXT, Dump
from unikiln.cli.main import main
from unikiln.mmu.aarch64.descriptor import AF, AP_READ_ONLY, DBM
from unikiln.mmu.aarch64.registers import encode_tcr

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def dump(tmp_path: Path) -> Dump:
    return Dump(tmp_path)


def walk(capsys: Capture, dump: Dump, va: int | str, *options: str, status: int = 0) -> str:
    capsys.readouterr()
    given = va if isinstance(va, str) else hex(va)
    assert main(["mmu", "walk", given, *dump.options, *options]) == status
    out, err = capsys.readouterr()
    assert not err
    return out


EXPECTED = """\
0x600123: write from EL0, by TTBR0_EL1 0x100000: 48-bit addresses, 4K granule

level entry at value
0     0x100000 0x0000000000102003 table: the next one, of level 1, is at 0x102000
1     0x102000 0x0000000000103003 table: the next one, of level 2, is at 0x103000
2     0x103018 0x0000000000105003 table: the next one, of level 3, is at 0x105000
3     0x105000 0x00e0000800064f53 page of 4K at 0x800064000: EL0 rw-, EL1 rw-; Normal WB, inner shareable; accessed; dirty

0x600123 -> 0x800064123, 4K: EL1 rw-, EL0 rw-, Normal WB, inner shareable, not global, accessed, dirty
"""  # noqa: E501


def test_a_translation(dump: Dump, capsys: Capture) -> None:
    assert walk(capsys, dump, DATA + 0x123, "--write", "--user") == EXPECTED


def test_a_fault(dump: Dump, capsys: Capture) -> None:
    lines = walk(capsys, dump, DATA + 16 * 4096, "--el0", status=1).splitlines()
    assert lines[-2] == ""
    assert lines[-3].endswith("0x0000000000000000 invalid, level 3: nothing is mapped here")
    assert lines[-1].startswith("translation fault, level 3, at 0x610000; ESR_EL1 would be 0x92000007: ")


@pytest.mark.parametrize(
    ("va", "options", "esr"),
    [
        (TEXT, ["--user"], None),
        (TEXT, ["--user", "--execute"], None),
        (TEXT, ["--user", "--write"], 0x9200004F),
        (TEXT, [], None),
        (TEXT, ["-x"], 0x8600000F),
        (TEXT, ["-w"], 0x9600004F),
        (STACK, ["-w"], None),
        (STACK, ["-x"], 0x8600000F),
        (KERNEL, ["-w"], None),
        (KERNEL, ["-x"], None),
        (KERNEL, ["--user"], 0x9200000E),
        (KERNEL - 1, [], 0x96000006),
        (1 << 47, [], 0x96000004),
        (1 << 48, [], 0x96000004),
    ],
)
def test_who_may_what(dump: Dump, capsys: Capture, va: int, options: list[str], esr: int | None) -> None:
    found = json.loads(walk(capsys, dump, va, *options, "--json", status=int(esr is not None)))
    if esr is None:
        assert found["translation"]["size"] in (4096, 2 << 20)
    else:
        assert f"ESR_EL1 would be {esr:#x}: " in found["fault"]["meaning"]


def test_json(dump: Dump, capsys: Capture) -> None:
    found = json.loads(walk(capsys, dump, KERNEL + 5, "--json"))
    assert found["va"] == hex(KERNEL + 5)
    assert found["access"] == "read from EL1"
    assert (found["entries"][0]["level"], found["entries"][0]["pa"]) == (0, "0x101000")
    assert found["translation"] == {
        "pa": hex(FRAME + 5),
        "size": 2 << 20,
        "privileged": "rwx",
        "user": "---",
        "memory_type": "Normal WB",
        "shareability": "inner shareable",
        "global": True,
        "flags": [],
        "accessed": True,
        "dirty": False,
    }
    assert found["changes"] == []


def test_what_the_processor_would_write_is_told(dump: Dump, capsys: Capture) -> None:
    """With TCR_EL1.HA and HD, a store through a clean page with DBM sets AF and clears AP[2]."""
    words = dump.table.memory.words
    index = 0x105000 // 8
    words[index] = clean = int(words[index]) & ~AF | AP_READ_ONLY | DBM
    dump.write()
    hardware = encode_tcr(t0sz=16, t1sz=16, ha=True, hd=True)
    options = [f"--tcr={hardware:#x}", "--write", "--user"]
    text = walk(capsys, dump, DATA, *options)
    assert "The processor would write:\n" in text
    assert f"{(clean | AF) & ~AP_READ_ONLY:#018x} at 0x105000" in text
    assert int(dump.table.memory.word[index]) == clean
    for cpu in ("cortex-a57", "cortex-a72"):
        text = walk(capsys, dump, DATA, *options, "--cpu", cpu, status=1)
        assert "access flag fault, level 3" in text


def test_the_mmu_is_off(dump: Dump, capsys: Capture) -> None:
    text = walk(capsys, dump, 0x1234, "--sctlr", "0")
    assert text.startswith("0x1234: read from EL1\n")
    assert "0x1234 -> 0x1234" in text


def test_an_entry_outside_the_memory_is_an_external_abort(dump: Dump, capsys: Capture) -> None:
    dump.write(0x2000)
    lines = walk(capsys, dump, TEXT, status=1).splitlines()
    assert "external on walk fault, level 1, at 0x400000; ESR_EL1 would be 0x96000015: " in lines[-1]


@pytest.mark.parametrize("va", ["zero", "-1", "0x10000000000000000", "1.5"])
def test_addresses_that_are_none(dump: Dump, capsys: Capture, va: str) -> None:
    assert main(["mmu", "walk", *dump.options, "--", va]) == 2
    assert capsys.readouterr().err.startswith("unikiln: ")


def test_one_access_at_a_time(dump: Dump, capsys: Capture) -> None:
    assert main(["mmu", "walk", "0", *dump.options, "-w", "-x"]) == 2
    assert "either a store or an instruction fetch" in capsys.readouterr().err
