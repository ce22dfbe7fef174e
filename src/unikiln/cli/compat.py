"""``unikiln compat``: OSv's own scripts by their names, with their very arguments."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperCommand

from unikiln.errors import HostError, ImageError, UsageError

_INSTALL = "install"
_WRAPPER = """\
#!/usr/bin/env python3
# In place of OSv's script of this name.
import os
import sys

os.execvp("unikiln", ["unikiln", "compat", os.path.basename(sys.argv[0]), *sys.argv[1:]])
"""


class COMMAND(TyperCommand):
    """Everything behind the name of the script is the script's."""

    allow_interspersed_args = False


def compat(
    script: Annotated[str, typer.Argument(metavar="SCRIPT", help="Such as imgedit.py; or install.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="ARGUMENTS...", help="What the script takes; or a folder.")
    ] = None,
) -> None:
    """Do what a script of OSv's does: upload_manifest.py, imgedit.py, gen-rofs-img.py, mkbootfs.py, run.py.

    SCRIPT install FOLDER puts small programs of these names into FOLDER that call unikiln, so
    that OSv's build script runs with them in place of its own.
    """
    from unikiln.cli.compat_scripts import OFFSET_OF, SCRIPTS
    from unikiln.cli.main import run_verb

    given = arguments or []
    if script == _INSTALL:
        _install(given)
        return
    translate = SCRIPTS.get(Path(script).name)
    if translate is None:
        raise UsageError(f"no script {script!r}", hint=f"there are: {', '.join([*SCRIPTS, _INSTALL])}")
    words = translate(given)
    if OFFSET_OF in words[:2]:
        print(_partition_offset(Path(words[2]), words[3]))
        return
    raise typer.Exit(run_verb(words))


def _install(arguments: list[str]) -> None:
    from unikiln.cli.compat_scripts import SCRIPTS

    if len(arguments) != 1:
        raise UsageError("install takes one folder, to put the scripts into")
    folder = Path(arguments[0])
    for name in SCRIPTS:
        path = folder / name
        try:
            path.write_text(_WRAPPER)
            path.chmod(0o755)
        except OSError as error:
            raise HostError(f"{path}: {error.strerror}") from error
        print(path)


def _partition_offset(image: Path, number: str) -> int:
    """Where a partition of the MBR begins, in bytes."""
    from unikiln.image.container import open_image
    from unikiln.image.partitions import partitions

    with closing(open_image(image)) as disk:
        found = next((each for each in partitions(disk) if str(each.number) == number), None)
    if found is None:
        raise ImageError(f"{image}: has no partition {number}")
    return found.start
