"""Several sources - directories, manifests, archives - to one tree, and what is done to it on the way.

Sources are placed in their order, so of two files for one name the later's stays; directories are
merged. The manifests of :attr:`SourceOptions.skel` and :attr:`SourceOptions.append` are read before
the first source and after the last.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from unikiln.base.tree import Node
from unikiln.errors import HostError
from unikiln.image.directory import file_key, scan
from unikiln.image.manifest import read_tree


@dataclass(frozen=True, slots=True)
class Source:
    """A directory, a manifest or a tar archive of the host, and where in the image it goes."""

    path: Path
    at: bytes = b"/"


def _ignore(_message: str) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """What goes into an image. Times in nanoseconds since 1970.

    ``base`` is what relative paths in manifests are relative to (None: the first manifest's folder);
    ``defines`` are the values of ``%(name)s``; ``mode`` is as ``chmod`` takes it; ``depfile`` is written for
    ``make``, with ``output`` as its target; ``output`` is left out of every directory; ``time_ns`` is of the
    directories that no source has; ``warn`` hears, once each, of what is not done as asked.
    """

    sources: tuple[Source, ...] = ()
    skel: Path | None = None
    append: tuple[Path, ...] = ()
    base: Path | None = None
    defines: Mapping[str, str] = field(default_factory=dict)
    arch: str | None = None
    strip: bool = False
    owner: tuple[int, int | None] | None = None
    mode: str | None = None
    mtime_ns: int | None = None
    exclude: tuple[str, ...] = ()
    depfile: Path | None = None
    export: Path | None = None
    output: Path | None = None
    time_ns: int | None = None
    warn: Callable[[str], None] = _ignore

    @classmethod
    def of(cls, *paths: str | os.PathLike[str]) -> SourceOptions:
        """``paths``, each at the root of the image, and nothing else."""
        return cls(sources=tuple(Source(Path(path)) for path in paths))


def assemble(options: SourceOptions) -> Node:
    """The tree that ``options`` describe.

    What its nodes' content lies in (archives, stripped copies) stays as long as the nodes do.

    :raises HostError: a file that cannot be read
    :raises ManifestError: what a manifest gets wrong, and all the host files that it misses
    """
    keys = [key for key in [options.output and file_key(options.output)] if key]
    (source,) = options.sources
    if source.path.is_dir():
        return scan(source.path, exclude=keys)
    if not source.path.exists():
        raise HostError(f"{source.path}: No such file or directory")
    return read_tree(source.path, exclude=keys, time_ns=options.time_ns)
