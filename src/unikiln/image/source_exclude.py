"""Which paths of the image are left out: globs, as ``tar --exclude`` and ``rsync`` know them.

A pattern without a slash is for a name anywhere; one with a slash is for a whole path from the root of
the image. ``*`` and ``?`` stop at slashes, ``**`` does not, ``[...]`` is one of a set. What is below a
directory that is left out is left out with it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable

from unikiln.errors import UsageError

Excluded = Callable[[bytes], bool]
"""Whether a path of the image, absolute, is left out."""

_TOKEN = re.compile(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]|.", re.DOTALL)
_WILD = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def excluder(patterns: Iterable[str]) -> Excluded | None:
    """What tells whether one of ``patterns`` matches a path or a directory above it; None without patterns.

    :raises UsageError: a pattern that is none
    """
    expressions = [_expression(pattern) for pattern in patterns]
    if not expressions:
        return None
    # Matching from the front, up to a slash or the end, is what makes a directory stand for what is in it.
    found = re.compile("(?:" + "|".join(expressions) + ")(?:/.*)?", re.DOTALL)
    return lambda path: found.fullmatch(os.fsdecode(path)) is not None


def _expression(pattern: str) -> str:
    bare = pattern.strip("/")
    if not bare:
        raise UsageError(f"--exclude {pattern!r} leaves out everything")
    anchor = "/" if "/" in pattern.rstrip("/") else "(?:/.*)?/"
    try:
        expression = anchor + "".join(_translate(token) for token in _TOKEN.findall(bare))
        re.compile(expression)
    except re.error as error:
        raise UsageError(f"--exclude {pattern!r} is no pattern: {error}") from error
    return expression


def _translate(token: str) -> str:
    if token in _WILD:
        return _WILD[token]
    if len(token) == 1:
        return re.escape(token)
    negated = token[1] == "!"
    members = token[2 if negated else 1 : -1].replace("\\", "\\\\").replace("[", "\\[").replace("^", "\\^")
    return f"[{'^/' if negated else ''}{members.replace(']', chr(92) + ']')}]"
