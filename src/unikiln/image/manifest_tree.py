"""The rules of manifests, put into a tree: links of the host are followed, and what is missing is gathered.

An absolute link of the host is looked up in the folders above the link first, so that links of an
unpacked root file system stay inside it. Of two rules for one name, the later wins.
"""

# host paths are bytes here, as names in the image are
# ruff: noqa: PTH100, PTH110, PTH112, PTH115, PTH120

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator

from unikiln.base.tree import Node
from unikiln.errors import HostError, ManifestError
from unikiln.image.manifest import Line
from unikiln.image.source_draft import Draft

_MOST_LINKS = 40
"""As many links as Linux follows before it calls them a loop."""

_STRIPPED = b"-stripped.so"
"""How the copies end that OSv's scripts leave beside shared objects."""


def add_lines(draft: Draft, lines: Iterable[Line], base: bytes, at: bytes = b"/") -> list[str]:
    """Put what ``lines`` say into ``draft``; what is wrong with some of them.

    :param base: the folder that host paths are relative to
    :param at: where in the image the manifest's own root is
    """
    placer = _Placer(draft, base, at.rstrip(b"/"))
    return [problem for line in lines for problem in placer.add(line)]


class _Placer:
    def __init__(self, draft: Draft, base: bytes, at: bytes) -> None:
        self._draft = draft
        self._base = base
        self._at = at

    def add(self, line: Line) -> Iterator[str]:
        """Put what ``line`` says into the tree; what is wrong with it."""
        top = line.guest[:-2] if line.recursive else line.guest
        guest = self._at + b"/" + top.lstrip(b"/")
        if self._draft.leaves_out(guest):
            return
        try:
            for path, node in self._nodes(line, guest):
                self._draft.place(path, node)
        except (ManifestError, HostError) as error:
            yield line.problem(str(error))

    def _nodes(self, line: Line, guest: bytes) -> Iterator[tuple[bytes, Node]]:
        """What ``line`` puts at ``guest``, parents first."""
        if line.target is not None:
            yield guest, self._symlink(line.target)
            return
        host = self._locate(line)
        if line.recursive:
            yield from self._below(guest, host, line)
        else:
            self._draft.used(host)
            yield guest, self._draft.scanner.node(host)

    def _symlink(self, target: bytes) -> Node:
        time = self._draft.time_ns
        return Node(stat.S_IFLNK | 0o777, atime_ns=time, mtime_ns=time, ctime_ns=time, target=target)

    def _locate(self, line: Line) -> bytes:
        """The host path that ``line`` names, after following links."""
        host = os.path.join(self._base, line.path)
        if not line.keeps_links:
            host = follow(host)
        if not os.path.lexists(host):
            raise ManifestError(f"{os.fsdecode(line.path)} is missing")
        if line.recursive and not os.path.isdir(host):
            raise ManifestError(f"{os.fsdecode(line.path)} is no folder")
        return host

    def _below(self, guest: bytes, host: bytes, line: Line) -> Iterator[tuple[bytes, Node]]:
        """``host`` itself and everything below it, as ``guest`` (which ends in a slash)."""
        scanner, excluded = self._draft.scanner, self._draft.excluded
        yield guest, scanner.node(host, follow=True)
        stack = [(guest, host)]
        while stack:
            prefix, folder = stack.pop()
            self._draft.used(folder)
            for entry, node in scanner.listing(folder, prefix, excluded):
                path = prefix + entry.name
                if node.is_directory:
                    yield path, node
                    stack.append((path + b"/", entry.path))
                elif not _is_stripped_copy(entry.path):
                    yield path, self._followed(entry.path, node, keep=line.keeps_links)

    def _followed(self, path: bytes, node: Node, *, keep: bool) -> Node:
        """The file that a link leads to; a link to a folder, or to nothing, stays a link."""
        found = follow(path) if node.is_symlink and not keep else path
        if found != path and os.path.exists(found) and not os.path.isdir(found):
            node = self._draft.scanner.node(found)
        if node.is_file:
            self._draft.used(found)
        return node


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
        return base.rstrip(b"/") + b"/"
    while not os.path.exists(base + target):
        if base == b"/":
            return None
        base = os.path.dirname(base)
    return base


def _is_stripped_copy(path: bytes) -> bool:
    return path.endswith(_STRIPPED) and os.path.exists(path[: -len(_STRIPPED)] + b".so")
