"""Owners, modes and times that are given, in place of those that the sources have.

Modes are as ``chmod`` of POSIX.1-2017 takes them: octal, or clauses such as ``u+rwX,go-w``. Where a clause
names nobody it is for all; no umask is taken off, so that the same words give the same image everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

from unikiln.base.tree import Node, walk
from unikiln.errors import UsageError

ModeChange = Callable[[int, bool], int]
"""The permission bits that those given become; the other argument tells whether it is a directory."""

Owner = tuple[int, int | None]
"""User and group; None leaves the group."""

_NS = 1_000_000_000
_LARGEST_ID = 0xFFFF_FFFE  # the next stands for "no change" in chown(2)
_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=](?:[rwxXst]*|[ugo]))+)")
_ACTION = re.compile(r"([-+=])([rwxXstugo]*)")
_SHIFT = {"u": 6, "g": 3, "o": 0}
_SPECIAL = {"u": ("s", 0o4000), "g": ("s", 0o2000), "o": ("t", 0o1000)}
"""The letter that names the special bit of each, and the bit."""

_KEPT = 0o6000
"""What a directory keeps unless it is named, as GNU chmod does: set-user-ID and set-group-ID."""


def change(
    root: Node, *, owner: Owner | None = None, mode: ModeChange | None = None, mtime_ns: int | None = None
) -> None:
    """Give all of a tree what is not None; links keep their mode. ``mtime_ns`` is of every kind of time."""
    done: set[int] = set()
    for _, node in walk(root):
        if id(node) in done:
            continue
        done.add(id(node))
        if owner is not None:
            node.uid, node.gid = owner[0], node.gid if owner[1] is None else owner[1]
        if mode is not None and not node.is_symlink:
            node.mode = node.mode & ~0o7777 | mode(node.mode & 0o7777, node.is_directory)
        if mtime_ns is not None:
            node.atime_ns = node.mtime_ns = node.ctime_ns = mtime_ns


def parse_owner(text: str) -> Owner:
    """``UID``, or ``UID:GID``.

    :raises UsageError: something else
    """
    match = re.fullmatch(r"([0-9]{1,10})(?::([0-9]{1,10}))?", text)
    numbers = [int(each) for each in match.groups() if each] if match else []
    if not numbers or max(numbers) > _LARGEST_ID:
        raise UsageError(f"{text!r} is no owner", hint="write numbers, UID or UID:GID")
    return numbers[0], numbers[1] if len(numbers) > 1 else None


def parse_time(text: str) -> int:
    """Nanoseconds since 1970 that ``@SECONDS``, or a date and time of ISO 8601, name; without a zone, UTC.

    :raises UsageError: something else
    """
    match = re.fullmatch(r"@([0-9]{1,10})(?:\.([0-9]{1,9}))?", text)
    if match:
        return int(match[1]) * _NS + int((match[2] or "").ljust(9, "0"))
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"{text!r} is no time", hint="write it like 2026-01-31, 2026-01-31T12:00:00Z or @1700000000"
        ) from error
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    since = when - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86400 + since.seconds) * _NS + since.microseconds * 1000


def parse_mode(text: str) -> ModeChange:
    """What ``chmod text`` does.

    :raises UsageError: it would not take that
    """
    if re.fullmatch("[0-7]{1,4}", text):
        value = int(text, 8)
        return lambda mode, is_directory: value | (mode & _KEPT if is_directory else 0)
    actions = [action for clause in text.split(",") for action in _actions(clause, text)]

    def changed(mode: int, is_directory: bool) -> int:
        for who, operator, what in actions:
            mode = _act(mode, who, operator, what, is_directory=is_directory)
        return mode

    return changed


def _actions(clause: str, text: str) -> list[tuple[str, str, str]]:
    """(who, operator, permissions) of one clause."""
    match = _CLAUSE.fullmatch(clause)
    if match is None:
        raise UsageError(f"{text!r} is no mode", hint="write it as chmod takes it: 644, or u+rwX,go-w")
    who = match[1] if match[1] and "a" not in match[1] else "ugo"
    return [(who, operator, what) for operator, what in _ACTION.findall(match[2])]


def _act(mode: int, who: str, operator: str, what: str, *, is_directory: bool) -> int:
    bits = _bits(mode, who, what, is_directory=is_directory)
    if operator == "+":
        return mode | bits
    if operator == "-":
        return mode & ~bits
    whole = sum(7 << _SHIFT[each] | _SPECIAL[each][1] for each in set(who))
    if is_directory:
        whole &= ~_KEPT
    return mode & ~whole | bits


def _bits(mode: int, who: str, what: str, *, is_directory: bool) -> int:
    """The bits that ``what`` names for each of ``who``."""
    if what in ("u", "g", "o"):
        permissions = mode >> _SHIFT[what] & 7
    else:
        permissions = sum({"r": 4, "w": 2, "x": 1}[each] for each in set(what) & set("rwx"))
        if "X" in what and (is_directory or mode & 0o111):
            permissions |= 1
    bits = 0
    for each in who:
        letter, special = _SPECIAL[each]
        bits |= permissions << _SHIFT[each] | (special if letter in what else 0)
    return bits
