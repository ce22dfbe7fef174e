"""Manifests in OSv's syntax: which host file goes where in the image.

::

    [manifest]                      # ignored, as are blank lines and lines that begin with #
    /app: build/app                 # a host file, relative to the manifest's folder
    /lib/libc.so: ->libm.so         # a symbolic link
    /etc/hosts: !skel/hosts         # the link itself, where the host file is one
    /usr/**: rootfs/usr/**          # everything below a folder

Links on the host are followed unless ``!`` says otherwise; an absolute one is looked up in the
folders above the link first, so that links of an unpacked root file system stay inside it. Of two
lines for one name, the later wins. Format: OSv's ``scripts/manifest_common.py``.
"""

# host paths are bytes here, as names in the image are
# ruff: noqa: PTH100, PTH110, PTH112, PTH115, PTH120

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from unikiln.base.tree import Node, directory
from unikiln.errors import HostError, ManifestError
from unikiln.image.directory import FileKey, Scanner
from unikiln.image.placing import place

_IGNORED = re.compile(rb"[ \t]*(|#.*|\[manifest\])")
_LATER = re.compile(rb"%\(\w+\)s|/&$")
_MOST_LINKS = 40
"""As many links as Linux follows before it calls them a loop."""


@dataclass(frozen=True, slots=True)
class Line:
    """One rule of a manifest: ``guest`` is made from ``host``, as line ``number`` says."""

    guest: bytes
    host: bytes
    number: int

    @property
    def recursive(self) -> bool:
        """Whether it stands for everything below a folder."""
        return self.guest.endswith(b"/**") and self.host.endswith(b"/**")


def parse(text: bytes, name: str = "manifest") -> list[Line]:
    """The rules in ``text``; ``name`` is for messages.

    :raises ManifestError: a line that is not a rule
    """
    lines = enumerate(text.split(b"\n"), start=1)
    return [_parse_line(line.rstrip(), number, name) for number, line in lines if not _is_ignored(line)]


def read_tree(
    path: str | os.PathLike[str], *, exclude: Iterable[FileKey] = (), time_ns: int | None = None
) -> Node:
    """The tree that the manifest file ``path`` describes.

    :param exclude: host files to leave out of folders, such as the image that is being built
    :param time_ns: times of the folders that no host file stands for; default the manifest's own
    :raises ManifestError: what the manifest gets wrong, and all the host files that it misses
    """
    path = Path(path)
    try:
        text, status = path.read_bytes(), path.stat()
    except OSError as error:
        raise HostError(f"{path}: {error.strerror}") from error
    time_ns = status.st_mtime_ns if time_ns is None else time_ns
    return _Assembly(path, Scanner(exclude), time_ns).assemble(parse(text, str(path)))


def _is_ignored(line: bytes) -> bool:
    return _IGNORED.fullmatch(line.rstrip()) is not None


def _parse_line(line: bytes, number: int, name: str) -> Line:
    guest, separator, host = line.partition(b": ")
    guest, host = guest.strip(), host.strip()
    if not (separator and guest and host):
        raise ManifestError(
            f"{name}:{number}: {os.fsdecode(line)!r} is not 'guest: host'", hint="a space follows the colon"
        )
    if _LATER.search(host):
        raise ManifestError(
            f"{name}:{number}: %(name)s and /& are not known here", hint="write the path in full"
        )
    return Line(guest, host, number)


class _Assembly:
    """Builds the tree of one manifest, and gathers what is missing."""

    def __init__(self, path: Path, scanner: Scanner, time_ns: int) -> None:
        self._name = str(path)
        self._folder = os.fsencode(path.parent)
        self._scanner = scanner
        self._time_ns = time_ns
        self._root = directory(time_ns=time_ns)
        self._missing: list[str] = []

    def assemble(self, lines: Iterable[Line]) -> Node:
        for line in lines:
            try:
                for guest, node in self._nodes(line):
                    place(self._root, guest, node, time_ns=self._time_ns)
            except ManifestError as error:
                raise ManifestError(f"{self._name}:{line.number}: {error.message}") from error
        if self._missing:
            raise ManifestError(f"{self._name}: missing host files: {', '.join(self._missing)}")
        return self._root

    def _nodes(self, line: Line) -> Iterator[tuple[bytes, Node]]:
        """What ``line`` puts into the image, parents first."""
        if line.host.startswith(b"->"):
            yield line.guest, self._symlink(line.host[2:])
            return
        host = self._locate(line)
        if host is None:
            return
        if line.recursive:
            yield from self._below(line.guest[:-2], host)
        else:
            yield line.guest, self._scanner.node(host)

    def _symlink(self, target: bytes) -> Node:
        time = self._time_ns
        mode = stat.S_IFLNK | 0o777
        return Node(mode, atime_ns=time, mtime_ns=time, ctime_ns=time, target=target)

    def _locate(self, line: Line) -> bytes | None:
        """The host path that ``line`` names, after following links; None, and noted, if there is none."""
        if line.host.startswith(b"!"):
            host = os.path.join(self._folder, line.host[1:])
        else:
            named = line.host[:-3] or b"/" if line.recursive else line.host
            host = follow(os.path.join(self._folder, named))
        if not os.path.lexists(host) or (line.recursive and not os.path.isdir(host)):
            self._missing.append(f"{os.fsdecode(line.host)} (line {line.number})")
            return None
        return host

    def _below(self, guest: bytes, host: bytes) -> Iterator[tuple[bytes, Node]]:
        """``host`` itself and everything below it, as ``guest`` (which ends in a slash)."""
        yield guest, self._scanner.node(host, follow=True)
        for entry, node in self._scanner.listing(host):
            path = guest + entry.name
            if node.is_directory:
                yield from self._below(path + b"/", entry.path)
            else:
                yield path, self._followed(entry.path, node)

    def _followed(self, path: bytes, node: Node) -> Node:
        """The file that a link leads to; a link to a folder, or to nothing, stays a link."""
        if not node.is_symlink:
            return node
        found = follow(path)
        return self._scanner.node(found) if os.path.exists(found) and not os.path.isdir(found) else node


def follow(path: bytes) -> bytes:
    """Where the host path ``path`` leads when it is a symbolic link; ``path`` itself when it is none.

    An absolute target is looked for below the nearest folder above the link that has it.
    """
    for _ in range(_MOST_LINKS):
        try:
            target = os.readlink(path)
        except OSError:
            return path
        base = _base_of(path, target)
        if base is None:
            return path
        path = base + target
    return path


def _base_of(path: bytes, target: bytes) -> bytes | None:
    base = os.path.dirname(os.path.abspath(path))
    if not target.startswith(b"/"):
        return base + b"/"
    while not os.path.exists(base + target):
        if base == b"/":
            return None
        base = os.path.dirname(base)
    return base
