from __future__ import annotations

import pytest

from unikiln.engine.builder.guest import command_line
from unikiln.engine.builder.line import programs
from unikiln.errors import UsageError


def test_the_original_line() -> None:
    line = (
        "--norandom --nomount --noinit /tools/mkfs.so; /tools/cpiod.so --prefix /zfs/zfs/; "
        "/zfs.so set compression=off osv"
    )
    assert command_line(verbose=True) == line
    assert programs(line) == [
        ["/tools/mkfs.so"],
        ["/tools/cpiod.so", "--prefix", "/zfs/zfs/"],
        ["/zfs.so", "set", "compression=off", "osv"],
    ]


def test_a_quiet_line_for_x86() -> None:
    line = command_line(verbose=False, console="--console=serial")
    assert line.startswith("--console=serial --norandom --nomount --noinit /tools/mkfs.so; ")
    assert programs(line)[1] == ["/tools/cpiod.so", "--prefix", "/zfs/zfs/", "--verbose=0"]


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("a", [["a"]]),
        ("a;b", [["a"], ["b"]]),
        (" a  b ;; c; ", [["a", "b"], ["c"]]),
        ("--x --y=z a --x", [["a", "--x"]]),
        ('a "b c;d" "e\\"f"', [["a", "b c;d", 'e"f']]),
        ('a x"y z"w', [["a", "xy zw"]]),
        ("mkfs.so; cpiod.so --prefix /zfs/zfs/", [["mkfs.so"], ["cpiod.so", "--prefix", "/zfs/zfs/"]]),
        ("", []),
        ("a!b", [["a!b"]]),
    ],
)
def test_words(line: str, meant: list[list[str]]) -> None:
    assert programs(line) == meant


@pytest.mark.parametrize("line", ['a "b', "a & b", 'a; b "'])
def test_what_cannot_be_run(line: str) -> None:
    with pytest.raises(UsageError):
        programs(line)
