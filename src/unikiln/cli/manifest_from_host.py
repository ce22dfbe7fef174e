"""``unikiln manifest from-host``: a manifest of programs and what they need."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer


def from_host(
    programs: Annotated[
        list[str],
        typer.Argument(metavar="PROGRAM...", help="Programs or shared objects, by path or name."),
    ],
    root: Annotated[
        Path, typer.Option("--root", metavar="DIR", help="Root directory to look in, such as a sysroot.")
    ] = Path("/"),
    library: Annotated[
        list[str] | None,
        typer.Option("--library", "-L", metavar="DIR", help="One more directory of shared objects."),
    ] = None,
    at: Annotated[
        str, typer.Option("--at", metavar="PATH", help="Directory of the image that the programs go to.")
    ] = "/",
    osv: Annotated[bool, typer.Option("--osv", help="Leave out what OSv's kernel brings itself.")] = False,
) -> None:
    """Print a manifest of programs and the shared objects that they need, for any architecture.

    Nothing is run: shared objects are looked for as ld.so does. What dlopen would open is not seen.
    """
    from unikiln.image.manifest_from_host import manifest_of

    lines = list(manifest_of(programs, root=os.fspath(root), at=at, extra=library or (), osv=osv))
    sys.stdout.flush()
    sys.stdout.buffer.write(b"".join(line + b"\n" for line in lines))
