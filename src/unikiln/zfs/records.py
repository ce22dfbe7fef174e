"""What is kept about datasets besides their properties: bookmarks, holds, space by owner, delegations.

(dsl_bookmark.c, dsl_userhold.c, zfs_quota.c, dsl_deleg.c)
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from unikiln.errors import CorruptError
from unikiln.zfs.dsl import Datasets
from unikiln.zfs.filesystem import FileSystem
from unikiln.zfs.format.dsl import DslDataset, DslDir
from unikiln.zfs.kin import extension
from unikiln.zfs.objset import DmuObject
from unikiln.zfs.zap import Zap, read_zap

BOOKMARKS = b"com.delphix:bookmarks"
_OBJECTS = b"obj-"
_ACCOUNTED = ("user", "group", "project")
_SIGN = 1 << 63


class Bookmark(NamedTuple):
    """A bookmark: the birth of a snapshot that may be gone (``zfs_bookmark_phys_t``).

    Sizes in bytes, ``creation`` in seconds since 1970; 0 where older bookmarks have no such field.
    """

    guid: int
    createtxg: int
    creation: int
    redaction_object: int = 0
    flags: int = 0
    referenced: int = 0
    compressed: int = 0
    logicalreferenced: int = 0
    freed: int = 0
    compressed_freed: int = 0
    uncompressed_freed: int = 0
    ivset_guid: int = 0


class SpaceUse(NamedTuple):
    """What one owner uses of a file system: bytes and objects, and how many of each it may (0: any).

    ``kind`` is ``user``, ``group`` or ``project``; ``id`` a FUID: the domain's index above 32 bits.
    """

    kind: str
    id: int
    used: int
    quota: int
    objects: int
    object_quota: int


class Delegation(NamedTuple):
    """A row of ``zfs allow``: ``kind`` is ``user``, ``group``, ``everyone``, ``create`` or ``set``.

    ``local`` and ``descendent`` say where it holds; permissions that begin with ``@`` are sets.
    """

    kind: str
    who: str
    local: bool
    descendent: bool
    permissions: tuple[str, ...]


def read_bookmarks(datasets: Datasets, dataset: int) -> dict[str, Bookmark]:
    """The bookmarks of the dataset that is object ``dataset``, by name.

    :raises CorruptError: one is too short
    """
    listed = extension(datasets, dataset).get(BOOKMARKS)
    if not listed:
        return {}
    entries = Zap(datasets.mos.object(listed)).entries()
    return {os.fsdecode(entry.name): _bookmark(entry.values) for entry in sorted(entries)}


def _bookmark(values: tuple[int, ...]) -> Bookmark:
    if len(values) < 3:
        raise CorruptError(f"a bookmark of {len(values)} words")
    return Bookmark(*values[: len(Bookmark._fields)])


def read_holds(datasets: Datasets, phys: DslDataset) -> dict[str, int]:
    """Tags of holds on a snapshot, and when each was set."""
    found = read_zap(datasets.mos, phys.userrefs_obj) if phys.userrefs_obj else {}
    return {os.fsdecode(tag): when for tag, when in sorted(found.items())}


def read_space(filesystem: FileSystem) -> list[SpaceUse]:
    """What each user, group and project uses of ``filesystem``, in order."""
    head = filesystem.objset.head
    counters = (head.user_used, head.group_used, head.project_used)
    rows: list[SpaceUse] = []
    for kind, counter in zip(_ACCOUNTED, counters, strict=True):
        used: dict[bytes, int] = {}
        if counter is not None and counter.type:
            used = dict(Zap(DmuObject(filesystem.objset.reader, -1, counter)).numbers())
        quotas = _quotas(filesystem, f"{kind}quota@"), _quotas(filesystem, f"{kind}objquota@")
        ids = {name for name in used if not name.startswith(_OBJECTS)} | quotas[0].keys() | quotas[1].keys()
        rows += [_space(kind, each, used, quotas) for each in sorted(ids, key=lambda text: int(text, 16))]
    return rows


def _quotas(filesystem: FileSystem, name: str) -> Mapping[bytes, int]:
    number = filesystem.master.get(name.encode())
    return read_zap(filesystem.objset, number) if number else {}


def _space(
    kind: str, name: bytes, used: Mapping[bytes, int], quotas: tuple[Mapping[bytes, int], Mapping[bytes, int]]
) -> SpaceUse:
    number = used.get(name, 0)
    return SpaceUse(
        kind,
        int(name, 16),
        number - 2 * _SIGN if number & _SIGN else number,
        quotas[0].get(name, 0),
        used.get(_OBJECTS + name, 0),
        quotas[1].get(name, 0),
    )


_WHO = {"u": "user", "g": "group", "e": "everyone", "c": "create", "s": "set"}


def read_delegations(datasets: Datasets, directory: DslDir) -> list[Delegation]:
    """The permissions that a DSL directory gives away, one row for each grantee and reach."""
    if not directory.deleg_zapobj:
        return []
    granted: dict[tuple[str, str, str], set[str]] = {}
    for key, number in read_zap(datasets.mos, directory.deleg_zapobj).items():
        head, _, who = os.fsdecode(key).partition("$")
        names = (os.fsdecode(name) for name in read_zap(datasets.mos, number))
        granted.setdefault((head[:1].lower(), head[1:2], who), set()).update(names)
    rows: dict[tuple[str, str, tuple[str, ...]], str] = {}
    for (kind, reach, who), permissions in sorted(granted.items()):
        row = _WHO.get(kind, kind), who, tuple(sorted(permissions))
        rows[row] = rows.get(row, "") + reach
    return [
        Delegation(kind, who, "l" in reach or reach == "-", "d" in reach, permissions)
        for (kind, who, permissions), reach in rows.items()
    ]
