"""Object sets: an array of dnodes with a head that says what they make up (sys/dmu_objset.h)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from unikiln.errors import CorruptError
from unikiln.zfs.format import dnode
from unikiln.zfs.format.dnode import Dnode

SIZE_V1 = 1024
SIZE_V2 = 2048
"""With dnodes that count what users and groups use."""
SIZE_V3 = 4096
"""With a third, for projects."""
USERACCOUNTING_COMPLETE = 1
_ZIL_HEADER = 192


class ObjsetType(IntEnum):
    """``dmu_objset_type_t``."""

    NONE = 0
    META = 1
    ZFS = 2
    ZVOL = 3


@dataclass(slots=True)
class Objset:
    """``objset_phys_t``: the meta-dnode, whose blocks are the objects; counts of users and groups."""

    meta_dnode: Dnode
    type: int
    flags: int = 0
    zil_header: bytes = bytes(_ZIL_HEADER)
    user_used: Dnode | None = None
    group_used: Dnode | None = None
    project_used: Dnode | None = None

    @property
    def accounting(self) -> list[Dnode]:
        """The dnodes here that count what users, groups and projects use."""
        counters = (self.user_used, self.group_used, self.project_used)
        return [each for each in counters if each is not None and each.type]

    def pack(self) -> bytes:
        """2048 bytes (version 2), or 1024 when users are not counted."""
        tail = struct.pack("<QQ", self.type, self.flags)
        head = (self.meta_dnode.pack() + self.zil_header + tail).ljust(SIZE_V1, b"\0")
        if self.user_used is None or self.group_used is None:
            return head
        return head + self.user_used.pack() + self.group_used.pack()


def unpack(data: bytes) -> Objset:
    """The object set in a block of 1, 2 or 4 KiB.

    :raises CorruptError: too short, or no known type
    """
    if len(data) < SIZE_V1:
        raise CorruptError(f"an object set of {len(data)} bytes")
    start = dnode.SIZE + _ZIL_HEADER
    kind, flags = struct.unpack_from("<QQ", data, start)
    if kind not in ObjsetType.__members__.values():
        raise CorruptError(f"an object set of type {kind}")
    counted = len(data) >= SIZE_V2
    return Objset(
        dnode.unpack(data),
        kind,
        flags,
        data[dnode.SIZE : start],
        dnode.unpack(data, SIZE_V1) if counted else None,
        dnode.unpack(data, SIZE_V1 + dnode.SIZE) if counted else None,
        dnode.unpack(data, SIZE_V2) if len(data) >= SIZE_V3 else None,
    )
