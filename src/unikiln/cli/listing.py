"""How ``ls`` and ``stat`` describe a file: a line, or a record for JSON."""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING

from unikiln.cli.output import json_name, name_text

if TYPE_CHECKING:
    from unikiln.base.filesystem import Inode

_TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
    stat.S_IFSOCK: "socket",
}


def type_name(mode: int) -> str:
    """What kind of file a mode tells of."""
    return _TYPES.get(stat.S_IFMT(mode), "unknown")


def record(name: bytes, inode: Inode) -> dict[str, object]:
    """Everything ``stat`` tells about ``inode``, for JSON; times in nanoseconds since 1970."""
    attributes = inode.attributes
    described: dict[str, object] = {
        "name": json_name(name),
        "type": type_name(attributes.mode),
        "object": inode.object,
        "mode": f"{stat.S_IMODE(attributes.mode):04o}",
        "uid": attributes.uid,
        "gid": attributes.gid,
        "nlink": attributes.nlink,
        "size": attributes.size,
        "atime_ns": attributes.atime_ns,
        "mtime_ns": attributes.mtime_ns,
    }
    if stat.S_ISLNK(attributes.mode):
        described["target"] = json_name(inode.readlink())
    if _is_device(attributes.mode):
        described["device"] = [os.major(attributes.rdev), os.minor(attributes.rdev)]
    return described


def long_line(name: bytes, inode: Inode) -> tuple[str, ...]:
    """The columns of ``ls -l``: mode, links, owner, group, size or device, time, name."""
    attributes = inode.attributes
    size = str(attributes.size)
    if _is_device(attributes.mode):
        size = f"{os.major(attributes.rdev)}, {os.minor(attributes.rdev)}"
    shown = name_text(name)
    if stat.S_ISLNK(attributes.mode):
        shown += f" -> {name_text(inode.readlink())}"
    return (
        stat.filemode(attributes.mode),
        str(attributes.nlink),
        str(attributes.uid),
        str(attributes.gid),
        size,
        time_text(attributes.mtime_ns, "%Y-%m-%d %H:%M"),
        shown,
    )


def time_text(time_ns: int, layout: str) -> str:
    """A time in this host's zone; the number itself where the calendar ends."""
    try:
        return time.strftime(layout, time.localtime(time_ns // 1_000_000_000))
    except (OverflowError, OSError, ValueError):
        return str(time_ns // 1_000_000_000)


def aligned(lines: list[tuple[str, ...]], left: frozenset[int] = frozenset()) -> list[str]:
    """Lines with their columns aligned right, except the last and those in ``left``."""
    if not lines:
        return []
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]) - 1)]
    return [
        " ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=False))
        )
        + f" {line[-1]}"
        for line in lines
    ]


def _is_device(mode: int) -> bool:
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)
