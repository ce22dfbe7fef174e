"""A tree of nodes to a bootfs, byte for byte as ``mkbootfs.py`` packs the same files in the same order.

What a bootfs has no place for is left behind: owners, modes, times, extended attributes; a hard link
is a copy. A directory gets a record only when nothing is in it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from unikiln.base.content import copy
from unikiln.base.device import BlockDevice
from unikiln.base.progress import QUIET, Progress
from unikiln.base.tree import Node, walk
from unikiln.bootfs import format as disk
from unikiln.errors import ImageError


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: ``size`` of the bootfs and ``bytes_in`` of files, in bytes."""

    size: int
    records: int
    bytes_in: int


def files(tree: Node) -> Iterator[tuple[bytes, Node]]:
    """(path, node) of all in ``tree`` that needs a record, in the tree's order."""
    for path, node in walk(tree):
        if path != b"/" and not node.children:
            yield path, node


def write(device: BlockDevice, named: Iterable[tuple[bytes, Node]], progress: Progress = QUIET) -> Written:
    """Write the files, each at its path, to ``device``, which reads as zeros and grows.

    :param named: as :func:`files` gives it, or in whatever order the records are to have
    :raises ImageError: something that a bootfs cannot hold, by name; too many files
    :raises HostError: a source cannot be read, or the device cannot be written
    """
    given = list(named)
    if len(given) > disk.MOST_RECORDS:
        raise ImageError(f"{len(given)} files are too many for a bootfs", hint="use --fs rofs")
    at = (len(given) + 1) * disk.RECORD
    records = []
    for path, node in given:
        records.append(_record(path, node, at))
        at += records[-1].size
    device.write_at(0, b"".join(map(disk.encode, records)) + disk.END)
    for record, (_, node) in zip(records, given, strict=True):
        if node.is_symlink:
            device.write_at(record.offset, node.target + b"\0")
        elif node.is_file:
            copy(node, device, record.offset)
        progress.advance(1, node.size if node.is_file else 0)
    if device.size < at:  # it ends in zeros, which were not written
        device.write_at(at - 1, b"\0")
    return Written(at, len(records), sum(node.size for _, node in given if node.is_file))


def _record(path: bytes, node: Node, offset: int) -> disk.Record:
    if node.is_directory:
        return disk.Record(0, offset, disk.OTHER, path.rstrip(b"/") + b"/")
    if node.is_symlink:
        return disk.Record(len(node.target) + 1, offset, disk.SYMLINK, path)
    if node.is_file:
        return disk.Record(node.size, offset, disk.OTHER, path)
    kind = stat.filemode(node.mode)[0]
    raise ImageError(
        f"{os.fsdecode(path)}: a bootfs holds files, directories and symbolic links, and this is of "
        f"type {kind!r}",
        hint="leave it out",
    )
