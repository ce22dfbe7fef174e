"""OSv's manifest language: which host file goes where in the image.

::

    [manifest]                      # ignored, as are blank lines and lines that begin with #
    /app: build/app                 # a host file, relative to the manifest's folder
    /lib/libc.so: ->libm.so         # a symbolic link
    /etc/hosts: !skel/hosts         # the link itself, where the host file is one
    /usr/**: rootfs/usr/**          # everything below a folder
    /&/etc/fstab: static/&          # the same path on both sides: static/etc/fstab
    /lib/x.so: %(dir)s/x.so         # a value that is given (-D dir=...), and %% is %
    /app.jar: ${MODULE_DIR}/app.jar # the manifest's own folder, in a module's manifest

Format: OSv's ``scripts/manifest_common.py``, and ``scripts/module.py`` for ``${name}``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from unikiln.errors import HostError, ManifestError
from unikiln.image.manifest_variables import Variables

_IGNORED = re.compile(rb"[ \t]*(|#.*|\[manifest\])")
_SAME = b"/&/"
_BELOW = b"/**"


@dataclass(frozen=True, slots=True)
class Line:
    """One rule: ``guest`` is made from ``host``, as line ``number`` of the file ``name`` says."""

    guest: bytes
    host: bytes
    number: int = 0
    name: str = "manifest"

    @property
    def recursive(self) -> bool:
        """Whether it stands for everything below a folder."""
        return self.target is None and self.guest.endswith(_BELOW) and self.host.endswith(_BELOW)

    @property
    def target(self) -> bytes | None:
        """Where the symbolic link leads that this line makes; None if it makes none."""
        return self.host[2:] if self.host.startswith(b"->") else None

    @property
    def keeps_links(self) -> bool:
        """Whether a link on the host is put into the image as a link, and not what it leads to."""
        return self.host.startswith(b"!")

    @property
    def path(self) -> bytes:
        """The host path, without marks: the file, or of a recursive line the folder."""
        path = self.host.removeprefix(b"!")
        return (path[: -len(_BELOW)] or b"/") if self.recursive else path

    def problem(self, text: str) -> str:
        """``text`` with where it is wrong in front."""
        return f"{self.name}:{self.number}: {text}"


def read(path: Path, variables: Variables) -> tuple[list[Line], list[str]]:
    """The rules of the manifest file ``path``, and what is wrong with its other lines.

    :raises HostError: the file cannot be read
    :raises ManifestError: it is no text
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise HostError(f"{path}: {error.strerror}") from error
    if b"\0" in text:
        raise ManifestError(f"{path} is no manifest, directory or tar archive")
    return parse(text, str(path), variables, path.parent)


def parse(
    text: bytes, name: str = "manifest", variables: Variables | None = None, folder: Path | None = None
) -> tuple[list[Line], list[str]]:
    """The rules in ``text``, and what is wrong with its other lines; ``name`` is for messages."""
    variables = variables or Variables({})
    lines, problems = [], []
    for number, line in _rules(text):
        try:
            expanded = variables.expand_module(line, folder or Path())
            guest, host = _parse_line(expanded)
            guest, host = _expand_same(guest, variables.expand(host))
            _check_below(guest, host)
            lines.append(Line(guest, host, number, name))
        except ManifestError as error:
            problems.append(f"{name}:{number}: {error}")
    return lines, problems


def format_line(guest: bytes, host: bytes) -> bytes:
    """The line that makes the host file ``host`` be ``guest``.

    :raises ManifestError: the language has no way to say that
    """
    line = guest + b": " + host.replace(b"%", b"%%")
    lines, problems = parse(line)
    if problems or [(each.guest, each.host) for each in lines] != [(guest, host)] or lines[0].recursive:
        raise ManifestError(f"{os.fsdecode(host)}: no manifest can name this file")
    return line


def _rules(text: bytes) -> Iterator[tuple[int, bytes]]:
    """The lines that say something, with their numbers."""
    for number, line in enumerate(text.split(b"\n"), start=1):
        line = line.rstrip()
        if not _IGNORED.fullmatch(line):
            yield number, line


def _parse_line(line: bytes) -> tuple[bytes, bytes]:
    guest, separator, host = line.partition(b": ")
    guest, host = guest.strip(), host.strip()
    if not (separator and guest and host.removeprefix(b"->").removeprefix(b"!")):
        raise ManifestError(f"{os.fsdecode(line)!r} is not 'guest: host'", hint="a space follows the colon")
    return guest, host


def _expand_same(guest: bytes, host: bytes) -> tuple[bytes, bytes]:
    """Put the rest of ``guest``, after ``/&/``, in the place of the ``&`` that ``host`` ends with."""
    if (_SAME in guest) != host.endswith(_SAME[:-1]):
        raise ManifestError(
            f"'{os.fsdecode(guest)}: {os.fsdecode(host)}' has & on one side only",
            hint="write it like /&/etc/hosts: static/&",
        )
    if _SAME not in guest:
        return guest, host
    prefix, suffix = guest.split(_SAME, 1)
    return prefix + b"/" + suffix, host[:-1] + suffix


def _check_below(guest: bytes, host: bytes) -> None:
    if guest.endswith(_BELOW) != host.endswith(_BELOW) and not host.startswith(b"->"):
        raise ManifestError(
            f"'{os.fsdecode(guest)}: {os.fsdecode(host)}' has /** on one side only",
            hint="it stands on both, or none",
        )
