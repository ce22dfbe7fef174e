"""A qcow2 overlay whose only content is another command line: a disk boots with it, and stays as it is.

The overlay is the snapshot, too: what the guest writes goes there. Layout (QEMU, docs/interop/qcow2.rst), a
cluster each: header, L1 table, refcount table, refcount block, one L2 table, and the disk's first cluster,
which has the boot loader's 63 sectors of command line.
"""

from __future__ import annotations

import struct
from pathlib import Path

from unikiln.base.device import FileDevice
from unikiln.base.size import round_up
from unikiln.engine.qemu.options import Disk
from unikiln.errors import UsageError
from unikiln.image import disk as image_disk
from unikiln.image.container import open_image

_CLUSTER_BITS = 16
_CLUSTER = 1 << _CLUSTER_BITS
_HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQII")
_BACKING_FORMAT = 0xE2792ACA
_COPIED = 1 << 63
_L1, _REFCOUNTS, _REFCOUNT_BLOCK, _L2, _DATA, _CLUSTERS = 1, 2, 3, 4, 5, 6
"""Which cluster of the file each part is."""
_MOST_BACKING_NAME = 1023


def make(path: Path, below: Disk, text: str) -> Disk:
    """Make the overlay ``path`` on ``below`` with ``text`` as its command line.

    :raises ImageError: the disk has no room for a command line
    :raises UsageError: its name is too long for qcow2
    """
    base = open_image(below.path)
    try:
        path.write_bytes(base.read_at(0, min(_CLUSTER, base.size)))
        with FileDevice(path, writable=True) as first:
            image_disk.set_args(first, text)
        path.write_bytes(_encode(base.size, below, path.read_bytes()))
    finally:
        base.close()
    return Disk(path, "qcow2")


def _encode(size: int, below: Disk, first: bytes) -> bytes:
    name = str(below.path).encode("utf-8", "surrogateescape")
    if len(name) > _MOST_BACKING_NAME:
        raise UsageError(f"{below.path}: the path is too long for an overlay")
    per_l1_entry = _CLUSTER * (_CLUSTER // 8)
    l1_entries = max(1, -(-size // per_l1_entry))
    if l1_entries * 8 > _CLUSTER:
        raise UsageError(f"{below.path}: is too large for an overlay")
    extension = struct.pack(">II8s", _BACKING_FORMAT, len(below.form), below.form.encode()) + bytes(8)
    name_at = _HEADER.size + len(extension)
    header = _HEADER.pack(
        b"QFI\xfb", 3, name_at, len(name), _CLUSTER_BITS, round_up(size, 512), 0, l1_entries,
        _L1 * _CLUSTER, _REFCOUNTS * _CLUSTER, 1, 0, 0, 0, 0, 0, 4, _HEADER.size,
    )  # fmt: skip
    clusters = [
        header + extension + name,
        struct.pack(">Q", _L2 * _CLUSTER | _COPIED),
        struct.pack(">Q", _REFCOUNT_BLOCK * _CLUSTER),
        struct.pack(f">{_CLUSTERS}H", *[1] * _CLUSTERS),
        struct.pack(">Q", _DATA * _CLUSTER | _COPIED),
        first,
    ]
    return b"".join(each.ljust(_CLUSTER, b"\0") for each in clusters)
