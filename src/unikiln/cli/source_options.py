"""Arguments and options about what goes into an image, shared by verbs that build and verbs that look."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer
from typer.core import TyperCommand

from unikiln.errors import UsageError

if TYPE_CHECKING:
    from unikiln.image.sources import Source, SourceOptions

SourcesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[--at PATH] SOURCE...",
        help="Directories, manifests in OSv's syntax, tar archives (any compression; - is standard input); "
        "of two files for one name the later's stays.",
        show_default=False,
    ),
]
AtOption = Annotated[
    str | None, typer.Option("--at", metavar="PATH", help="Where the SOURCE that follows goes; default: /.")
]
DefineOption = Annotated[
    list[str] | None,
    typer.Option("-D", "--define", metavar="NAME=VALUE", help="What %(NAME)s in manifests stands for."),
]
AppendOption = Annotated[
    list[Path] | None,
    typer.Option("--append-manifest", metavar="FILE", help="A manifest to read after the last SOURCE."),
]
SkelOption = Annotated[
    Path | None,
    typer.Option("--skel", metavar="MANIFEST", help="A base manifest, read before the first SOURCE."),
]
BaseOption = Annotated[
    Path | None,
    typer.Option(
        "--base",
        metavar="DIR",
        help="What paths in manifests are relative to; default: the manifest's folder.",
    ),
]
StripOption = Annotated[
    bool, typer.Option("--strip", help="Strip programs and shared objects; the originals stay as they are.")
]
DepfileOption = Annotated[
    Path | None,
    typer.Option("--depfile", "-d", metavar="FILE", help="Write there, for make, what the image depends on."),
]
ExportOption = Annotated[
    Path | None, typer.Option("--export", metavar="DIR", help="Copy what goes into the image to DIR, too.")
]
OwnerOption = Annotated[str | None, typer.Option("--owner", metavar="UID[:GID]", help="Owner of everything.")]
ModeOption = Annotated[
    str | None,
    typer.Option("--mode", metavar="MODE", help="Mode of everything, as for chmod: 755, u+rwX,go-w."),
]
MtimeOption = Annotated[
    str | None,
    typer.Option(
        "--mtime", metavar="TIME", help="Time of everything: 2026-01-31, 2026-01-31T12:00Z, @SECONDS."
    ),
]
ExcludeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude",
        metavar="GLOB",
        help="Leave out: a name anywhere (*.a), or a path of the image (/usr/**/doc).",
    ),
]


class Arch(StrEnum):
    """What the image is for."""

    aarch64 = "aarch64"
    x86_64 = "x86_64"


ArchOption = Annotated[Arch | None, typer.Option(help="Architecture; default: this host's.")]

_AT = "\0"
"""Marks an argument as the PATH of an ``--at``: no argument of a process can have a NUL byte itself."""


class SourcesCommand(TyperCommand):
    """A verb whose ``--at PATH`` is for the SOURCE that follows it, which needs the order of both.

    click forgets how options and arguments were mixed, so ``--at PATH`` becomes one of the arguments.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse ``args``."""
        return super().parse_args(ctx, list(_mark(args)))


def _mark(args: list[str]) -> Iterable[str]:
    rest = iter(args)
    for each in rest:
        if each == "--":
            yield each
            yield from rest
        elif each == "--at":
            path = next(rest, None)
            yield each if path is None else _AT + path
        elif each.startswith("--at="):
            yield _AT + each.removeprefix("--at=")
        else:
            yield each


def source_options(
    source: list[str] | None,
    define: list[str] | None,
    append_manifest: list[Path] | None,
    skel: Path | None,
    *,
    owner: str | None = None,
    mode: str | None = None,
    mtime: str | None = None,
    exclude: list[str] | None = None,
    **others: Any,  # noqa: ANN401
) -> SourceOptions:
    """What the options of this module, and ``others`` as :class:`SourceOptions` has them, ask for.

    :raises UsageError: one that makes no sense
    """
    from unikiln.image.source_change import parse_mode, parse_owner, parse_time
    from unikiln.image.sources import SourceOptions

    return SourceOptions(
        sources=parse_sources(source),
        defines=parse_defines(define),
        append=tuple(append_manifest or ()),
        skel=skel,
        owner=None if owner is None else parse_owner(owner),
        mode=None if mode is None else parse_mode(mode),
        mtime_ns=None if mtime is None else parse_time(mtime),
        exclude=tuple(exclude or ()),
        **others,
    )


def parse_sources(arguments: list[str] | None) -> tuple[Source, ...]:
    """The sources that :data:`SourcesArgument` gave.

    :raises UsageError: an ``--at`` that no SOURCE follows
    """
    import os

    from unikiln.image.sources import Source

    found: list[Source] = []
    at: str | None = None
    for argument in arguments or []:
        if argument.startswith(_AT) and at is None:
            at = argument.removeprefix(_AT)
        elif argument.startswith(_AT):
            break
        else:
            found.append(Source(Path(argument), os.fsencode("/" if at is None else at)))
            at = None
    if at is not None:
        raise UsageError(f"--at {at}: no SOURCE follows", hint="write --at PATH before the SOURCE it is for")
    return tuple(found)


def parse_defines(definitions: list[str] | None) -> dict[str, str]:
    """The values that ``-D`` gave.

    :raises UsageError: one without ``=``
    """
    values = {}
    for each in definitions or []:
        name, equals, value = each.partition("=")
        if not (name and equals):
            raise UsageError(f"-D {each} gives no value", hint="write it like -D name=value")
        values[name] = value
    return values
