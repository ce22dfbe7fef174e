"""``--key``: where the keys of what is encrypted in a pool come from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unikiln.errors import HostError, UsageError

if TYPE_CHECKING:
    from unikiln.zfs.keys import Key, Keys

KEY_FLAG = "--key"
KEY_META = "[ROOT=]FILE"
KEY_HELP = "Key of an encryption root: a file, 'prompt', or 'env:NAME'; may be repeated."
KeyOption = Annotated[list[str] | None, typer.Option(KEY_FLAG, metavar=KEY_META, help=KEY_HELP)]
_FILE_MAX = 4096
"""No key is longer, and a device does not end."""


def keys_from(options: Sequence[str] | None) -> Keys:
    """What the ``--key`` options of a command line give.

    :raises UsageError: several for all encryption roots, or a variable that is not set
    :raises HostError: a file that cannot be read
    """
    pairs = [_split(each) for each in options or ()]
    if not pairs:
        return None
    unnamed = [source for root, source in pairs if not root]
    if unnamed and len(pairs) > 1:
        raise UsageError(f"{KEY_FLAG} {unnamed[0]}: whose key?", hint=f"{KEY_FLAG} ROOT={unnamed[0]}")
    return _key(unnamed[0]) if unnamed else {root: _key(source) for root, source in pairs}


def _split(option: str) -> tuple[str, str]:
    """(encryption root, source); no dataset's name starts as a path does."""
    root, equals, source = option.partition("=")
    if not equals or root.startswith(("/", ".", "~")):
        return "", option
    if not root or not source:
        raise UsageError(f"{KEY_FLAG} {option}: a name or a source is missing", hint=f"{KEY_FLAG} ROOT=FILE")
    return root, source


def _key(source: str) -> Key:
    if source == "prompt":
        return _ask
    if source.startswith("env:"):
        return _variable(source[4:])
    try:
        with Path(source).open("rb") as file:
            return file.read(_FILE_MAX)
    except OSError as error:
        raise HostError(f"{source}: {error.strerror}") from error


def _variable(name: str) -> bytes:
    value = os.environ.get(name)
    if value is None:
        raise UsageError(f"{KEY_FLAG} env:{name}: there is no such variable")
    return os.fsencode(value)


def _ask(root: str) -> str:
    from getpass import GetPassWarning, getpass
    from warnings import catch_warnings, simplefilter

    try:
        with catch_warnings():
            simplefilter("error", GetPassWarning)  # what is typed would be shown
            return getpass(f"Key of {root}: ")
    except (EOFError, GetPassWarning) as error:
        raise UsageError(
            f"nobody there to ask for the key of {root}", hint="give a file, or env:NAME"
        ) from error
