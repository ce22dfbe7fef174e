"""OSv's command line: options of its loader, then programs (OSv, ``core/commands.cc`` and ``loader.cc``).

Words end at a space; ``;`` and ``&`` end a program. What is in double quotes is one word, with the escapes of
C.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from unikiln.errors import UsageError

_LOADER_OPTIONS = re.compile(r'\s*(?:--(?:"(?:\\.|[^"\\])*"|[^\s"])*(?:\s+|$))*')
_QUOTED = frozenset(" ;&!\t\n\r\"'\\")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderOptions:
    """What goes in front of the programs; the fields are options of OSv's loader, ``trace`` may be wildcards.

    ``ip`` is ``NIC,ADDRESS,MASK``; ``tap`` has the addresses of host and guest; ``sampler`` in Hz;
    ``mount_fs`` is ``TYPE,URL,PATH``.
    """

    verbose: bool = False
    trace: tuple[str, ...] = ()
    trace_backtrace: bool = False
    sampler: int | None = None
    nopci: bool = False
    mount_fs: tuple[str, ...] = ()
    ip: tuple[str, ...] = ()
    tap: tuple[IPv4Address, IPv4Address] | None = None
    bootchart: bool = False
    power_off_on_abort: bool = False
    env: tuple[str, ...] = ()
    cwd: str | None = None

    def words(self) -> list[str]:
        """The options as words, in the order that OSv's ``run.py`` puts them."""
        flags = [
            ("--bootchart", self.bootchart),
            ("--nopci", self.nopci),
            ("--trace-backtrace", self.trace_backtrace),
            ("--verbose", self.verbose),
            ("--power-off-on-abort", self.power_off_on_abort),
        ]
        sampler = [] if self.sampler is None else [f"--sampler={self.sampler}"]
        return [
            *(name for name, wanted in flags if wanted),
            *_each("ip", self.ip),
            *self._network(),
            *_each("mount-fs", self.mount_fs),
            *sampler,
            *_each("trace", self.trace),
            *_each("env", self.env),
            *_each("cwd", () if self.cwd is None else (self.cwd,)),
        ]

    def _network(self) -> list[str]:
        """The guest is all alone with its host on a tap interface."""
        if self.tap is None:
            return []
        host, guest = self.tap
        return [f"--ip=eth0,{guest},255.255.255.252", f"--defaultgw={host}", f"--nameserver={host}"]


def _each(name: str, values: Iterable[str]) -> list[str]:
    return [f"--{name}={value}" for value in values]


def quote(word: str) -> str:
    """A word as OSv's parser takes it."""
    if word and not _QUOTED.intersection(word):
        return word
    return '"' + "".join(_ESCAPES.get(each, each) for each in word) + '"'


def join(words: Sequence[str]) -> str:
    """One program and its arguments."""
    return " ".join(map(quote, words))


def loader_part(line: str) -> str:
    """The options of the loader at the start of a command line, as they are written there."""
    match = _LOADER_OPTIONS.match(line)
    return match[0].strip() if match else ""


def with_options(line: str, options: LoaderOptions) -> str:
    """The line with more options in front.

    :raises UsageError: an option with a space in it: OSv's loader cannot take that
    """
    words = options.words()
    for word in words:
        if not word.isprintable() or " " in word:
            raise UsageError(f"{word!r}: OSv's loader takes no option with a space in it")
    return " ".join([*words, line]).strip()
