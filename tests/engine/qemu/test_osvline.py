"""OSv's command lines, against a parser written after its grammar."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unikiln.engine.qemu.osvline import LoaderOptions, join, loader_part, quote, with_options
from unikiln.errors import UsageError

_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def parse(line: str) -> list[list[str]]:
    """Programs and their words, as the grammar of OSv's core/commands.cc has them."""
    programs: list[list[str]] = [[]]
    rest = list(line)
    while rest:
        if rest[0] == " ":
            rest.pop(0)
        elif rest[0] in ";&!":
            rest.pop(0)
            programs.append([])
        else:
            programs[-1].append(_word(rest))
    return [program for program in programs if program]


def _word(rest: list[str]) -> str:
    quoted = rest[0] == '"'
    word = ""
    if quoted:
        rest.pop(0)
    while rest and rest[0] not in ('"' if quoted else " ;&!"):
        character = rest.pop(0)
        if character == "\\":
            character = rest.pop(0)
            character = _ESCAPES.get(character, character)
        word += character
    if quoted:
        assert rest.pop(0) == '"'
    return word


@given(st.lists(st.text(st.characters(exclude_characters="\0")), min_size=1))
def test_words_arrive_as_they_are(words: list[str]) -> None:
    assert parse(join(words)) == [words]


def test_what_needs_no_quotes_has_none() -> None:
    assert join(["/java.so", "-cp", "/a:/b", "$HOME"]) == "/java.so -cp /a:/b $HOME"
    assert quote("a;b") == '"a;b"'
    assert quote("") == '""'
    assert quote('say "hi"\n') == '"say \\"hi\\"\\n"'


@pytest.mark.parametrize(
    ("line", "loader"),
    [
        ("--rootfs=zfs --verbose /hello --verbose", "--rootfs=zfs --verbose"),
        ("/hello --rootfs=zfs", ""),
        ("  --nopci  --env=A=1 /a; /b", "--nopci  --env=A=1"),
        ('--env="A=x y" /hello', '--env="A=x y"'),
        ("--rootfs=zfs", "--rootfs=zfs"),
        ("", ""),
    ],
)
def test_the_loaders_part(line: str, loader: str) -> None:
    assert loader_part(line) == loader


def test_options_in_the_order_of_run_py() -> None:
    options = LoaderOptions(
        verbose=True,
        trace=("mmu_*", "zfs*"),
        trace_backtrace=True,
        sampler=1000,
        nopci=True,
        mount_fs=("nfs,nfs://a/b,/mnt",),
        ip=("eth0,10.0.0.2,255.255.255.0",),
        bootchart=True,
        power_off_on_abort=True,
        env=("A=1",),
        cwd="/tmp",
    )
    assert with_options("/hello", options) == (
        "--bootchart --nopci --trace-backtrace --verbose --power-off-on-abort "
        "--ip=eth0,10.0.0.2,255.255.255.0 --mount-fs=nfs,nfs://a/b,/mnt --sampler=1000 "
        "--trace=mmu_* --trace=zfs* --env=A=1 --cwd=/tmp /hello"
    )
    assert with_options("/hello", LoaderOptions()) == "/hello"


def test_a_tap_interface_gives_both_addresses() -> None:
    options = LoaderOptions(tap=(IPv4Address("172.18.0.1"), IPv4Address("172.18.0.2")))
    assert with_options("/x", options) == (
        "--ip=eth0,172.18.0.2,255.255.255.252 --defaultgw=172.18.0.1 --nameserver=172.18.0.1 /x"
    )


@pytest.mark.parametrize("value", ["A=x y", "A=x\ny", "A=\t"])
def test_the_loader_takes_no_spaces(value: str) -> None:
    with pytest.raises(UsageError, match="no option with a space"):
        with_options("/hello", LoaderOptions(env=(value,)))
