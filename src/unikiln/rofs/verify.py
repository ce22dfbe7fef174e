"""Whether a ROFS is whole, as far as it can tell: it has no checksums, but much that must agree."""

from __future__ import annotations

from collections.abc import Iterator

from unikiln.errors import ImageError
from unikiln.rofs import format as disk
from unikiln.rofs.filesystem import FileSystem, Inode


def verify(filesystem: FileSystem) -> Iterator[str]:
    """A finding for each thing that is wrong."""
    for number, record in enumerate(filesystem.structures.inodes, start=1):
        if record.number != number:
            yield f"inode {number} says that it is {record.number}"
        try:
            inode = filesystem.inode(number)
            yield from _inode(inode)
        except ImageError as error:
            yield error.message
    yield from _reach(filesystem)


def _inode(inode: Inode) -> Iterator[str]:
    """What is wrong with one inode and what it leads to."""
    record, device = inode.record, inode.filesystem.device
    if record.mode == disk.SYMLINK:
        inode.readlink()
    elif record.mode == disk.FILE:
        end = record.offset * disk.BLOCK + record.length
        if record.length and (end > device.size or record.offset < 1):
            yield f"file {inode.object} is in bytes {record.offset * disk.BLOCK}..{end} of {device.size}"
        first, count = inode.filesystem.superblock.first_block, inode.filesystem.superblock.blocks
        if record.length and record.offset < first + count and end > first * disk.BLOCK:
            yield f"file {inode.object} lies in the structures"
    else:
        names = [entry.name for entry in inode.entries()]
        if len(set(names)) < len(names):
            yield f"directory {inode.object} has a name twice"


def _reach(filesystem: FileSystem) -> Iterator[str]:
    """Inodes that no path leads to, and directories that more than one leads to."""
    seen = {1}
    stack = [1]
    while stack:
        for child, is_directory in _children(filesystem, stack.pop()):
            if child in seen and is_directory:
                yield f"directory {child} is reached by two names"
            elif child not in seen:
                seen.add(child)
                if is_directory:
                    stack.append(child)
    lost = len(filesystem.structures.inodes) - len(seen)
    if lost > 0:
        yield f"{lost} inodes are in no directory"


def _children(filesystem: FileSystem, number: int) -> list[tuple[int, bool]]:
    """(number, whether a directory) of all in a directory; none where it is damaged, which is told before."""
    try:
        return [(entry.object, entry.type == 4) for entry in filesystem.inode(number).entries()]
    except ImageError:
        return []
