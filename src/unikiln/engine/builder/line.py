"""A command line of OSv to the programs that it runs (OSv, ``core/commands.cc``)."""

from __future__ import annotations

import re

from unikiln.engine.qemu.osvline import loader_part
from unikiln.errors import UsageError

_TOKEN = re.compile(r'\s*(?:([;&!])|((?:"(?:\\.|[^"\\])*"|[^\s;&"])+))')
_QUOTED = re.compile(r'"((?:\\.|[^"\\])*)"')
_ESCAPED = re.compile(r"\\(.)")


def programs(line: str) -> list[list[str]]:
    """The programs of ``line`` and their arguments, without what is for the loader.

    :raises UsageError: quotes that do not end, or a program that is to run beside the next
    """
    rest = line.strip()[len(loader_part(line)) :].strip()
    found: list[list[str]] = [[]]
    at = 0
    while at < len(rest):
        token = _TOKEN.match(rest, at)
        if token is None:
            raise UsageError(f"{rest[at:]!r}: a quote that does not end")
        at = token.end()
        if token[1] == "&":
            raise UsageError(f"{line!r}: '&' runs programs side by side, which is not possible here")
        if token[1]:
            found.append([])
        else:
            found[-1].append(_QUOTED.sub(lambda quoted: _ESCAPED.sub(r"\1", quoted[1]), token[2]))
    return [words for words in found if words]
