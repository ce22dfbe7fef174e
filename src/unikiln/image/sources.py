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
from unikiln.errors import HostError, ManifestError, UsageError
from unikiln.image import manifest
from unikiln.image.depfile import write_depfile
from unikiln.image.directory import file_key
from unikiln.image.export import export
from unikiln.image.manifest_tree import add_lines
from unikiln.image.manifest_variables import Variables
from unikiln.image.source_change import ModeChange, Owner, change
from unikiln.image.source_draft import Draft
from unikiln.image.source_exclude import excluder
from unikiln.image.strip import strip_tree
from unikiln.image.tar import add_archive, is_tar


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
    ``defines`` are the values of ``%(name)s``; ``depfile`` is written for
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
    owner: Owner | None = None
    mode: ModeChange | None = None
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
    :raises ImageError: an archive that is damaged, or does not stay in its place
    :raises ManifestError: what manifests get wrong, and all the host files that they miss
    """
    return _Assembly(options).run()


class _Assembly:
    def __init__(self, options: SourceOptions) -> None:
        self._options = options
        self._variables = Variables(options.defines, options.arch)
        self._problems: list[str] = []
        keys = [key for key in [options.output and file_key(options.output)] if key]
        self._draft = Draft(self._time_ns(), excluder(options.exclude), keys)

    def run(self) -> Node:
        options, draft = self._options, self._draft
        self._add_all()
        change(draft.root, owner=options.owner, mode=options.mode, mtime_ns=options.mtime_ns)
        if options.strip:
            strip_tree(draft.root, options.warn)
        if options.depfile:
            write_depfile(options.depfile, options.output or Path("image"), draft.inputs)
        if options.export:
            export(draft.root, options.export, options.warn)
        return draft.root

    def _add_all(self) -> None:
        options = self._options
        if options.skel:
            self._add_manifest(options.skel, self._base)
        for source in options.sources:
            self._add(source)
        for path in options.append:
            self._add_manifest(path, self._base)
        if self._problems:
            raise ManifestError("; ".join(self._problems), problems=tuple(self._problems))

    def _time_ns(self) -> int:
        """Of directories that no source has: what is asked for, or the newest of the sources themselves."""
        options = self._options
        if options.time_ns is not None:
            return options.time_ns
        paths = [source.path for source in options.sources]
        paths += [*options.append, *([options.skel] if options.skel else [])]
        if not paths:
            raise UsageError("there is nothing to build from", hint="name a SOURCE, or a manifest to append")
        return max(map(_mtime_ns, paths))

    @property
    def _base(self) -> Path | None:
        """What manifests that are no sources are relative to: as if they were part of the first that is."""
        if self._options.base is not None:
            return self._options.base
        manifests = (source.path for source in self._options.sources if _is_manifest(source.path))
        return next((path.parent for path in manifests), None)

    def _add(self, source: Source) -> None:
        if source.path.is_dir():
            self._draft.add_directory(os.fsencode(source.path), source.at)
        elif is_tar(source.path):
            add_archive(self._draft, source.path, source.at)
        else:
            self._add_manifest(source.path, self._options.base, source.at)

    def _add_manifest(self, path: Path, base: Path | None, at: bytes = b"/") -> None:
        self._draft.used(path)
        lines, problems = manifest.read(path, self._variables)
        folder = base or path.parent
        problems += add_lines(self._draft, lines, b"" if folder == Path() else os.fsencode(folder), at)
        self._problems += problems


def _is_manifest(path: Path) -> bool:
    return not path.is_dir() and not is_tar(path)


def _mtime_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns if path != Path("-") else 0
    except OSError as error:
        raise HostError(f"{path}: {error.strerror}") from error
