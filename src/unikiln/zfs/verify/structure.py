"""Check what blocks add up to: ZAPs that parse, names that lead somewhere, links that are counted right."""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Iterator

from unikiln.errors import CorruptError, KeyMissingError
from unikiln.zfs.attributes import Attributes, read_attributes
from unikiln.zfs.filesystem import FileSystem
from unikiln.zfs.format.dmu import NEWTYPE, ObjectType
from unikiln.zfs.format.dnode import Dnode
from unikiln.zfs.objset import DmuObject, ObjectSet
from unikiln.zfs.pool import Pool
from unikiln.zfs.zap import Zap, read_zap

_ZAPS = frozenset(
    {
        ObjectType.OBJECT_DIRECTORY, ObjectType.DSL_DIR_CHILD_MAP, ObjectType.DSL_DS_SNAP_MAP,
        ObjectType.DSL_PROPS, ObjectType.DIRECTORY_CONTENTS, ObjectType.MASTER_NODE,
        ObjectType.UNLINKED_SET, ObjectType.ZVOL_PROP, ObjectType.ZAP_OTHER, ObjectType.POOL_PROPS,
        ObjectType.DSL_PERMS, ObjectType.NEXT_CLONES, ObjectType.USERREFS, ObjectType.SA_MASTER_NODE,
        ObjectType.SA_ATTR_REGISTRATION, ObjectType.SA_ATTR_LAYOUTS, ObjectType.DEADLIST,
        ObjectType.DSL_CLONES, ObjectType.USERGROUP_USED, ObjectType.USERGROUP_QUOTA,
    }
)  # fmt: skip
_ZAP_BYTESWAP = 4
_IS_XATTR = 0x1
"""In ``z_pflags``: a directory of extended attributes, or a file in one."""
_FILES = (ObjectType.PLAIN_FILE_CONTENTS, ObjectType.DIRECTORY_CONTENTS)


def is_zap(kind: int) -> bool:
    """Whether objects of this type are ZAPs."""
    return kind & 0x1F == _ZAP_BYTESWAP if kind & NEWTYPE else kind in _ZAPS


def structure_findings(pool: Pool, locked: list[str]) -> Iterator[str]:
    """One line for each thing in the meta object set, or in a file system, that does not fit the rest.

    Datasets whose keys were not given are added to ``locked``.
    """
    yield from _zap_findings(pool.mos)
    for info in pool.datasets():
        objset = pool.dsl.object_set(info.object, info.name)
        try:
            if info.type == "filesystem" or objset.type == 2:
                yield from Structure(FileSystem(objset)).findings()
            else:
                yield from _zap_findings(objset)
        except KeyMissingError:
            locked.append(info.name)
        except CorruptError as error:
            yield f"{info.name}: {error.message}"


def _zap_findings(objset: ObjectSet) -> Iterator[str]:
    for number, dn in objset.dnodes():
        if is_zap(dn.type):
            yield from _entries_or_finding(objset, number, dn)[1]


def _entries_or_finding(
    objset: ObjectSet, number: int, dn: Dnode
) -> tuple[list[tuple[bytes, int]], list[str]]:
    try:
        return list(Zap(DmuObject(objset.reader, number, dn)).numbers()), []
    except CorruptError as error:
        return [], [f"{objset.name}: object {number}: {error.message}"]


class Structure:
    """One file system: what its directories say against what its files say."""

    def __init__(self, filesystem: FileSystem) -> None:
        self.fs = filesystem
        self.objset = filesystem.objset
        self._links: Counter[int] = Counter()
        self._subdirectories: Counter[int] = Counter()
        self._entries: dict[int, int] = {}
        self._parents: dict[int, int] = {}
        self._types: dict[int, int] = {}
        self._files: dict[int, Attributes] = {}
        self._findings: list[str] = []

    def findings(self) -> Iterator[str]:
        """One line for each disagreement."""
        self._collect()
        yield from self._findings
        deleted = self._deleted()
        for target in self._links.keys() - self._files.keys():
            yield self._line(self._parents[target], f"an entry leads to object {target}, which is no file")
        self._count_subdirectories()
        owned = {each.xattr_object for each in self._files.values()}
        for number, found in self._files.items():
            yield from (
                self._line(number, problem) for problem in self._problems(found, number in owned, deleted)
            )

    def _line(self, number: int, problem: str) -> str:
        return f"{self.fs.name}: object {number}: {problem}"

    def _collect(self) -> None:
        layouts = self.fs.layouts
        for number, dn in self.objset.dnodes():
            entries: list[tuple[bytes, int]] = []
            if is_zap(dn.type):
                entries, problems = _entries_or_finding(self.objset, number, dn)
                self._findings += problems
            if dn.type in _FILES or dn.bonus_type in (ObjectType.SA, ObjectType.ZNODE):
                try:
                    self._files[number] = read_attributes(DmuObject(self.objset.reader, number, dn), layouts)
                except CorruptError as error:
                    self._findings.append(self._line(number, error.message))
            if dn.type == ObjectType.DIRECTORY_CONTENTS:
                self._note_entries(number, entries)

    def _note_entries(self, directory: int, entries: list[tuple[bytes, int]]) -> None:
        self._entries[directory] = len(entries)
        for _, value in entries:
            target, kind = value & (1 << 48) - 1, value >> 60
            self._links[target] += 1
            self._parents[target] = directory
            self._types[target] = kind

    def _count_subdirectories(self) -> None:
        """By the modes of what is in them: entries of old versions do not say types."""
        for target, directory in self._parents.items():
            if target in self._files and stat.S_ISDIR(self._files[target].mode):
                self._subdirectories[directory] += 1

    def _deleted(self) -> set[int]:
        """Files that are gone from every directory and wait to be freed."""
        queue = self.fs.master.get(b"DELETE_QUEUE")
        return set(read_zap(self.objset, queue).values()) if queue else set()

    def _problems(self, found: Attributes, is_owned: bool, deleted: set[int]) -> Iterator[str]:
        number, links = found.object, self._links[found.object]
        directory = stat.S_ISDIR(found.mode)
        special = found.flags & _IS_XATTR or number in deleted
        if number in self._types and self._types[number] and self._types[number] != found.mode >> 12:
            yield f"it is of mode {found.mode:o}, its directory entry of type {self._types[number]}"
        if not links and not special and not is_owned and number != self.fs.master.get(b"ROOT"):
            yield "no directory names it"
        if special:
            return
        expected = 2 + self._subdirectories[number] if directory else links
        if found.nlink != expected:
            yield f"it says it has {found.nlink} links, and has {expected}"
        if directory:
            yield from self._directory_problems(found)

    def _directory_problems(self, found: Attributes) -> Iterator[str]:
        parent = self._parents.get(found.object, found.object)
        if found.parent != parent:
            yield f"it says its parent is {found.parent}, and is in {parent}"
        if found.size != self._entries.get(found.object, 0) + 2:
            yield f"it says it has {found.size} entries, and has {self._entries.get(found.object, 0) + 2}"
