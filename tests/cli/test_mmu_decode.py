from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from unikiln.cli.main import main
from unikiln.cli.mmu import GROUP
from unikiln.cli.number import parse_number
from unikiln.errors import UsageError

PROGRAM = [sys.executable, "-c", "import sys; from unikiln.cli.main import main; sys.exit(main())"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["mmu", *arguments]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def test_help_of_the_group(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "--help")
    assert out.startswith("Usage: unikiln mmu [OPTIONS] VERB")
    assert all(f"  {name} " in out for name in GROUP.verbs)
    assert main(["mmu"]) == 2


def test_help_of_the_group_loads_nothing_heavy() -> None:
    code = "import sys; from unikiln.cli.main import main; main(['mmu', '-h']); print(sorted(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not [name for name in ("typer", "rich", "numpy", "unikiln.mmu") if f"'{name}'" in out]


@pytest.mark.parametrize("name", ["esr", "par", "pte", "x86-error"])
def test_every_verb_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"Usage: unikiln mmu {name} [OPTIONS]" in run(capsys, name, "--help")


def test_a_syndrome(capsys: pytest.CaptureFixture[str]) -> None:
    lines = run(capsys, "esr", "0x9600014b").splitlines()
    assert lines[0] == "cache maintenance at EL1 hit an entry whose Access Flag is 0, level 3; not a write"
    assert lines[1] == ""
    assert lines[2].split(maxsplit=3) == ["EC", "31:26", "0x25", "data abort from the same exception level"]
    assert "CM              8 1    cache maintenance or address translation instruction" in lines
    assert len({line.index("0x", 12) for line in lines[2:] if " 0x" in line}) == 1, "columns are aligned"


def test_numbers_may_be_decimal_or_grouped(capsys: pytest.CaptureFixture[str]) -> None:
    shown = {
        run(capsys, "esr", text) for text in ("0x9600014b", "0x9600_014B", "2516582731", "2_516_582_731")
    }
    assert len(shown) == 1


def test_the_fault_address(capsys: pytest.CaptureFixture[str]) -> None:
    last = run(capsys, "esr", "0x96000047", "--far", "0xffff_0000_1223_3c40").splitlines()[-1]
    assert last.split(maxsplit=3)[:3] == ["FAR_EL1", "63:0", "0xffff000012233c40"]
    assert "TTBR1_EL1" in last


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(run(capsys, "esr", "0x96000047", "--json"))
    assert (found["register"], found["value"]) == ("ESR_EL1", 0x96000047)
    assert found["summary"] == "a store at EL1 found no valid entry, level 3"
    assert {"name": "WnR", "bits": "6", "value": 1}.items() <= found["fields"][11].items()
    assert json.loads(run(capsys, "pte", "0", "--json"))["register"] == "aarch64 entry, level 3"


@pytest.mark.parametrize(
    ("arguments", "summary"),
    [
        (["par", "0x80f"], "not translated: translation fault, level 3; stage 1 faulted"),
        (["par", "0xff00000040201b80"], "translated to physical address 0x40201000: Normal WB, inner"),
        (["pte", "0x00e800000b9baf43"], "page of 4K at 0xb9ba000: EL0 rw-, EL1 rw-; accessed; dirty"),
        (
            ["pte", "0x00e800000b9baf43", "--mair", "0x40044f0ff"],
            "page of 4K at 0xb9ba000: EL0 rw-",
        ),
        (["pte", "0x180000017e548003", "--level", "0"], "table: the next one, of level 1, is at 0x17e548000"),
        (["pte", "0x68000042000f01", "--level", "2"], "block of 2M at 0x42000000"),
        (["pte", "0x68000042e80703", "--granule", "64K"], "page of 64K at 0x42e80000"),
        (["pte", "0x4020f703", "--granule", "64K", "--lpa2"], "page of 64K at 0xf000040200000"),
        (["pte", "0x40201003", "--level", "-1", "--lpa2"], "table: the next one, of level 0"),
        (["pte", "0x8000000012345067", "--arch", "x86_64"], "PTE: a 4-KByte page at 0x12345000"),
        (["pte", "0x12345063", "--arch", "x86_64", "--level", "4"], "PML4E: a table of PDPTEs at 0x12345000"),
        (["x86-error", "0x7"], "a write in user mode to a page that is present"),
        (["x86-error", "20", "--cr2", "0xdeadb000"], "an instruction fetch in user mode to a page"),
    ],
)
def test_summaries(arguments: list[str], summary: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, *arguments)
    assert out.startswith(summary)
    assert out.partition("\n")[2].startswith("\n")


def test_cr2_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert "0xdeadb000" in run(capsys, "x86-error", "4", "--cr2", "0xdeadb000").splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ers"], "no verb 'ers' (did you mean esr?)"),
        (["zzz"], "no verb 'zzz' (unikiln mmu --help lists the verbs)"),
        (["--what"], "no option --what"),
        (["esr"], "Missing argument"),
        (["esr", "9600014b"], "'9600014b' is no number for ESR_EL1 (hexadecimal starts with 0x: 0x9600014b)"),
        (["esr", "0xhello"], "'0xhello' is no number for ESR_EL1 (such as"),
        (["esr", "0x1_0000_0000_0000_0000"], "does not fit the 64 bits of ESR_EL1"),
        (["esr", "1", "--far", "?"], "'?' is no number for FAR_EL1"),
        (["par", ""], "'' is no number for PAR_EL1"),
        (["pte", "1", "--mair", "x"], "'x' is no number for MAIR_EL1"),
        (["pte", "1", "--granule", "8K"], "Invalid value for '--granule'"),
        (["pte", "1", "--arch", "vax"], "Invalid value for '--arch'"),
        (["pte", "1", "--level", "top"], "Invalid value for '--level'"),
        (["pte", "1", "--level", "4"], "no level 4 with the 4K granule (it has levels 0 to 3)"),
        (["pte", "1", "--level", "-1"], "no level -1 with the 4K granule without 52-bit addresses"),
        (["pte", "1", "--arch", "x86_64", "--level", "6"], "there is no level 6"),
        (["pte", "1", "--arch", "x86_64", "--granule", "4K"], "--granule is of AArch64"),
        (["pte", "1", "--arch", "x86_64", "--lpa2"], "--lpa2 is of AArch64"),
        (["x86-error", "0x100"], "0x100 is no page-fault error code"),
        (["x86-error", "0x100000000"], "does not fit the 32 bits of the error code"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mmu", *arguments]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("unikiln: ")
    assert said in err
    assert (out, err.count("\n")) == ("", 1)


def test_digits_of_a_register_without_0x_are_doubted(capsys: pytest.CaptureFixture[str]) -> None:
    """Kernels print ``Oops: 96000047``, which is a decimal number, too."""
    assert main(["mmu", "esr", "96000047"]) == 0
    assert "96000047 was read as decimal; if it is hexadecimal, write 0x96000047" in capsys.readouterr().err


def test_parsing_numbers() -> None:
    good = {"0": 0, "0x10": 16, "0X1f": 31, "1_000": 1000, "0xdead_beef": 0xDEADBEEF, "0b11": 3}
    assert {text: parse_number(text, what="it") for text in good} == good
    for bad in ("_1", "1__0", "0x", "1.5", "010", "ten", "\x1b[31m"):
        with pytest.raises(UsageError, match="is no number for it"):
            parse_number(bad, what="it")


@pytest.mark.parametrize(
    ("words", "found", "missing"), [("unikiln mmu e", "esr", "par"), ("unikiln mm", "mmu", "build")]
)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str, words: str, found: str, missing: str) -> None:
    environment = {
        **os.environ,
        "_UNIKILN_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
        "_TYPER_COMPLETE_ARGS": words,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    done = subprocess.run(PROGRAM, env=environment, capture_output=True, text=True, check=False)
    assert found in done.stdout, done.stderr
    assert missing not in done.stdout


def test_a_syndrome_is_explained_quickly() -> None:
    best = 1.0
    for _ in range(5):
        started = time.monotonic()
        subprocess.run([*PROGRAM, "mmu", "esr", "0x96000047"], capture_output=True, check=True)
        best = min(best, time.monotonic() - started)
    assert best < 0.3


def test_the_document_shows_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[2] / "docs" / "mmu.md").read_text()
    command_and_output = r"```console\n\$ unikiln mmu ((?:esr|par|pte|x86-error) [^\n]*)\n(.*?)```"
    examples = re.findall(command_and_output, text, re.DOTALL)
    assert len(examples) >= 7
    for command, shown in examples:
        assert run(capsys, *command.split()) == shown
    for value, sentence in re.findall(r"^\| `(0x[0-9a-f]+)` \| (.*) \|$", text, re.MULTILINE):
        assert run(capsys, "esr", value).partition("\n")[0] == sentence
