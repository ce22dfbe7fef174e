"""Owners from other systems: a FUID is an index into a table of domains, and a number in that domain.

Index 0 is this machine: such a FUID is a plain uid or gid (zfs_fuid.c).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from unikiln.errors import CorruptError
from unikiln.zfs.filesystem import FileSystem
from unikiln.zfs.format import nvlist
from unikiln.zfs.format.words import first_word

_TABLE_MAX = 16 << 20
_INDEX = 32


class Owner(NamedTuple):
    """Who a FUID is: ``id`` in ``domain``, which is empty for this machine's own."""

    domain: str
    id: int


def read_domains(filesystem: FileSystem) -> Mapping[int, str]:
    """The domains of a file system by index; empty when it never had an owner from elsewhere.

    :raises CorruptError: the table is damaged
    """
    number = filesystem.master.get(b"FUID")
    if not number:
        return {}
    obj = filesystem.objset.object(number)
    size = first_word(obj.dnode.bonus)
    if size > min(_TABLE_MAX, obj.blocks * obj.block_size):
        raise CorruptError(f"{filesystem.name}: its table of domains claims {size} bytes")
    rows = nvlist.decode(obj.read(0, size)).get("fuid_nvlist")
    found: dict[int, str] = {}
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict) and isinstance(index := row.get("fuid_idx"), int):
            found[index] = str(row.get("fuid_domain", ""))
    return found


def owner_of(fuid: int, domains: Mapping[int, str]) -> Owner:
    """Who ``fuid`` is.

    :raises CorruptError: its domain is not in the table
    """
    index, number = fuid >> _INDEX, fuid & (1 << _INDEX) - 1
    if index and index not in domains:
        raise CorruptError(f"FUID {fuid:#x} is of domain {index}, which the file system does not list")
    return Owner(domains.get(index, ""), number)
