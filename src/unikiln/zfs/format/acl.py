"""The ACL that says the same as a file's mode: what the ZPL stores for every new file.

Entries are (type, flags, access mask) of 8 bytes, ``zfs_ace_hdr_t`` (sys/zfs_acl.h); the masks are
those of ``acl_trivial_access_masks`` and their order that of ``zfs_acl_chmod``.
"""

from __future__ import annotations

import stat
import struct
from functools import lru_cache
from typing import NamedTuple

ALLOW, DENY = 0, 1
OWNER, EVERYONE = 0x1000, 0x4000
OWNING_GROUP = 0x2000 | 0x40

_READ, _WRITE, _EXECUTE, _DELETE_CHILD = 0x01, 0x02 | 0x04, 0x20, 0x40
_ANYONE = 0x20000 | 0x80 | 0x08 | 0x100000
"""Read the ACL, attributes and named attributes; synchronize."""
_OWNER_ALSO = 0x100 | 0x80000 | 0x40000 | 0x10
"""Write attributes, owner, ACL and named attributes."""

TRIVIAL = 0x4
NO_EXECS_DENIED = 0x100
ARCHIVE = 0x0000000800000000
AV_MODIFIED = 0x0000040000000000
AUTO_INHERIT = 0x40


class Trivial(NamedTuple):
    """The number of entries, the entries, and the bits of ``z_pflags`` that go with them."""

    entries: int
    aces: bytes
    flags: int


@lru_cache(maxsize=1024)
def trivial(mode: int) -> Trivial:
    """The ACL and flags for ``mode`` (a whole ``st_mode``)."""
    directory = stat.S_ISDIR(mode)
    owner, group, other = (_mask(mode >> shift & 7, directory) for shift in (6, 3, 0))
    entries = [
        (ALLOW, OWNER, owner & ~group & other),
        (DENY, OWNER, ~owner & (group | other)),
        (DENY, OWNING_GROUP, ~group & other),
    ]
    kept = [entry for entry in entries if entry[2]]
    kept += [
        (ALLOW, OWNER, owner | _ANYONE | _OWNER_ALSO),
        (ALLOW, OWNING_GROUP, group | _ANYONE),
        (ALLOW, EVERYONE, other | _ANYONE),
    ]
    aces = b"".join(struct.pack("<HHI", *entry) for entry in kept)
    flags = TRIVIAL | AUTO_INHERIT | ARCHIVE | AV_MODIFIED
    executable = all(mode >> shift & 1 for shift in (6, 3, 0))
    return Trivial(len(kept), aces, flags | (NO_EXECS_DENIED if executable else 0))


def _mask(bits: int, directory: bool) -> int:
    write = _WRITE | (_DELETE_CHILD if directory else 0)
    return (_READ if bits & 4 else 0) | (write if bits & 2 else 0) | (_EXECUTE if bits & 1 else 0)
