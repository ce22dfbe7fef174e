"""``unikiln cpio list``: what is in a newc archive."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Annotated

import typer

from unikiln.cli.common import JsonOption
from unikiln.cli.cpio_stream import ArchiveArgument, reading
from unikiln.cli.listing import time_text, type_name
from unikiln.cli.output import json_name, name_text, print_json

if TYPE_CHECKING:
    from unikiln.image.cpio.reader import Entry


def list(
    archive: ArchiveArgument,
    long: Annotated[bool, typer.Option("--long", "-l", help="Modes, owners, sizes and times.")] = False,
    json: JsonOption = False,
) -> None:
    """List what is in a newc archive, in its order; exits with 1 if it is damaged or cut off."""
    from unikiln.image.cpio.reader import entries

    with reading(archive) as stream:
        if json:
            print_json([_record(entry) for entry in entries(stream)])
            return
        for entry in entries(stream):
            print(_long(entry) if long else name_text(entry.header.name))


def _target(entry: Entry) -> bytes:
    return b"".join(entry.content()) if stat.S_ISLNK(entry.header.mode) else b""


def _long(entry: Entry) -> str:
    header = entry.header
    size = f"{header.size:10}"
    if stat.S_ISCHR(header.mode) or stat.S_ISBLK(header.mode):
        size = f"{header.rdevice[0]:4}, {header.rdevice[1]:4}"
    when = time_text(header.mtime * 1_000_000_000, "%Y-%m-%d %H:%M")
    name = name_text(header.name)
    target = _target(entry)
    arrow = f" -> {name_text(target)}" if target else ""
    owner = f"{header.nlink:3} {header.uid:5} {header.gid:5}"
    return f"{stat.filemode(header.mode)} {owner} {size} {when} {name}{arrow}"


def _record(entry: Entry) -> dict[str, object]:
    header = entry.header
    described: dict[str, object] = {
        "name": json_name(header.name), "type": type_name(header.mode),
        "mode": f"{stat.S_IMODE(header.mode):04o}", "uid": header.uid, "gid": header.gid,
        "nlink": header.nlink, "size": header.size, "mtime": header.mtime, "inode": header.inode,
    }  # fmt: skip
    if stat.S_ISLNK(header.mode):
        described["target"] = json_name(_target(entry))
    if stat.S_ISCHR(header.mode) or stat.S_ISBLK(header.mode):
        described["device"] = [*header.rdevice]
    return described
