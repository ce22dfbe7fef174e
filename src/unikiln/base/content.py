"""The content of a regular file of a tree, onto a device: for writers without records of their own."""

from __future__ import annotations

from unikiln.base.device import BlockDevice
from unikiln.base.source import chunks
from unikiln.base.tree import Node


def copy(node: Node, device: BlockDevice, offset: int) -> None:
    """Write the content of ``node``, which is a regular file, at ``offset`` of ``device``.

    Pieces of zeros are not written: the device must read as zeros there.

    :raises HostError: the file cannot be read, or is no longer as long as it was
    """
    for piece in chunks(node.source, node.size):
        if piece.count(0) < len(piece):
            device.write_at(offset, piece)
        offset += len(piece)
