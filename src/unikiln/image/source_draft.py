"""The tree while its sources are put into it, and what they have in common."""

from __future__ import annotations

import os
from collections.abc import Iterable

from unikiln.base.tree import Node, directory
from unikiln.image.directory import FileKey, Scanner
from unikiln.image.placing import place
from unikiln.image.source_exclude import Excluded


class Draft:
    """A tree that grows. ``time_ns`` is of the directories that no source has.

    ``scanner`` makes nodes of host files: hard links are one node across all sources. ``inputs`` are the
    host files and directories that were looked at.
    """

    def __init__(
        self, time_ns: int, exclude: Excluded | None = None, host_files: Iterable[FileKey] = ()
    ) -> None:
        self.root = directory(time_ns=time_ns)
        self.time_ns = time_ns
        self.scanner = Scanner(host_files)
        self.excluded = exclude
        self.inputs: dict[bytes, None] = {}

    def leaves_out(self, path: bytes) -> bool:
        """Whether ``path`` of the image is not wanted."""
        return self.excluded is not None and self.excluded(b"/" + path.strip(b"/"))

    def place(self, path: bytes, node: Node) -> None:
        """Make ``node`` what ``path`` of the image names, unless that is not wanted.

        :raises ManifestError: there can be nothing at that place
        """
        if not self.leaves_out(path):
            place(self.root, path, node, time_ns=self.time_ns)

    def used(self, path: str | bytes | os.PathLike[str]) -> None:
        """Note that what is in the image depends on the host's ``path``."""
        self.inputs[os.fsencode(path)] = None

    def add_directory(self, path: bytes, at: bytes) -> None:
        """Put all that is in the host's directory ``path`` into the image's directory ``at``.

        :raises HostError: what cannot be read
        """
        self.place(at, self.scanner.tree(path, at, self.excluded, self.used))
