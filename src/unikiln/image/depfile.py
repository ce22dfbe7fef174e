"""What an image was made of, for ``make`` and ``ninja``: the image, a colon, and a file a line.

Every input is a target too, without a rule, so that a file that is gone makes the image be built
again and not ``make`` stop: as ``gcc -MP`` does.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from unikiln.base.atomic import replacing
from unikiln.errors import HostError

_ESCAPED = {b" ": b"\\ ", b"\t": b"\\\t", b"#": b"\\#", b"$": b"$$"}


def write_depfile(path: Path, target: Path, inputs: Iterable[bytes]) -> None:
    """Say in ``path`` that ``target`` depends on the host's files and directories ``inputs``.

    :raises HostError: it cannot be written, or an input's name is one that no make knows a way to write
    """
    names = [_escape(each) for each in inputs]
    first = b" \\\n\t".join([_escape(os.fsencode(target)) + b":", *names])
    with replacing(path) as beside:
        beside.write_bytes(first + b"\n\n" + b"".join(map(_as_target, names)))


def _as_target(name: bytes) -> bytes:
    """The line that makes ``name`` a target; none if it has a ``%``, which would make that a pattern."""
    return b"" if b"%" in name else name + b":\n"


def _escape(name: bytes) -> bytes:
    if b"\n" in name:
        raise HostError(f"{os.fsdecode(name)!r}: a dependency file cannot name this")
    pieces = (name[at : at + 1] for at in range(len(name)))
    return b"".join(_ESCAPED.get(piece, piece) for piece in pieces)
