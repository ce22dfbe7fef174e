"""Tar archives as sources: every member a node, whose content stays in the archive until it is read.

Taken are the formats that Python's ``tarfile`` knows - v7, ustar, GNU, pax, with GNU's sparse files - and of
pax headers times to the nanosecond and extended attributes (``SCHILY.xattr.*``). A name with ``..`` is
refused; an absolute one is taken inside the image. Sources: POSIX.1-2017, pax, "ustar Interchange
Format" and "pax Extended Header"; GNU tar's manual, "Tar Internals".
"""

from __future__ import annotations

import os
import re
import stat
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import ROUND_FLOOR, Decimal
from pathlib import Path
from typing import IO, Any

from unikiln.base.source import Extent, OpenFile, Part
from unikiln.base.tree import NO_XATTRS, Node
from unikiln.errors import ImageError, ManifestError
from unikiln.image.placing import find
from unikiln.image.source_compression import is_compressed, open_plain
from unikiln.image.source_draft import Draft

_XATTR = "SCHILY.xattr."
_BLOCK = tarfile.BLOCKSIZE
_DIRECTORIES = (tarfile.DIRTYPE, b"D")  # b"D": a directory of GNU tar's incremental archives
_VOLUME_LABEL = b"V"
_OTHER_VOLUME = b"M"
_SPECIAL = {
    tarfile.CHRTYPE: stat.S_IFCHR, tarfile.BLKTYPE: stat.S_IFBLK, tarfile.FIFOTYPE: stat.S_IFIFO,
}  # fmt: skip
_TIME = re.compile(r"-?[0-9]{1,20}(\.[0-9]*)?(e[-+]?[0-9]{1,2})?")
"""Seconds; the exponent is what Python's own ``tarfile`` writes for times near the epoch."""

_LARGEST_ID = 0xFFFF_FFFF
_DAMAGED = (tarfile.TarError, ValueError, ArithmeticError, LookupError, EOFError, RecursionError)


def is_tar(path: Path) -> bool:
    """Whether the file ``path`` is a tar archive, or compressed and so cannot be a manifest."""
    if path == Path("-"):
        return True
    with path.open("rb") as file:
        start = file.read(_BLOCK)
    return is_compressed(start) or _is_header(start)


def add_archive(draft: Draft, path: Path, at: bytes = b"/") -> None:
    """Put the members of the archive ``path`` into ``draft``, below ``at``.

    :raises HostError: the archive cannot be read
    :raises ImageError: it is damaged, or has a member that cannot be
    """
    draft.used(path)
    file = open_plain(path)
    if not _is_header(os.pread(file.handle, _BLOCK, 0)):
        raise ImageError(f"{path} holds no tar archive")
    reader = _Reader(draft, str(path), file, at.rstrip(b"/"))
    with open(file.handle, "rb", closefd=False) as stream:
        stream.seek(0)
        reader.run(stream)


def _is_header(block: bytes) -> bool:
    if len(block) == _BLOCK and not block.strip(b"\0"):
        return True  # the end comes first: an archive of nothing
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


class _Reader:
    """Makes nodes of the members of one archive, in their order."""

    def __init__(self, draft: Draft, name: str, file: OpenFile, at: bytes) -> None:
        self._draft = draft
        self._name = name
        self._file = file
        self._size = os.fstat(file.handle).st_size
        self._at = at
        self._members: dict[bytes, Node] = {}

    def run(self, stream: IO[bytes]) -> None:
        """Read the whole archive."""
        with self._naming():
            archive = tarfile.open(  # noqa: SIM115
                fileobj=stream,
                mode="r:",
                encoding="utf-8",
                errors="surrogateescape",
            )
            for member in self._each(archive):
                # Of a sparse file, the pax header "path" is only a name for programs that do not know such.
                member.name = member.pax_headers.get("GNU.sparse.name", member.name)
                with self._naming(member.name):
                    self._add(member)

    def _each(self, archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
        """The members; ``tarfile`` takes a damaged header for the end, which we do not."""
        position = -1
        while (member := archive.next()) is not None:
            if member.size < 0 or archive.offset <= position:
                raise ImageError(f"{self._name} is damaged: member {member.name!r} ends before it begins")
            position = archive.offset
            archive.members.clear()  # type: ignore[attr-defined]  # it would keep every one
            yield member
        if os.pread(self._file.handle, _BLOCK, archive.offset).strip(b"\0"):
            raise ImageError(f"{self._name} is damaged: no member begins at byte {archive.offset}")

    @contextmanager
    def _naming(self, member: str = "") -> Iterator[None]:
        where = f"{self._name}: member {member!r}" if member else self._name
        try:
            yield
        except ManifestError as error:
            raise ImageError(f"{where}: {error}") from error
        except _DAMAGED as error:
            raise ImageError(f"{where} is damaged: {error}") from error

    def _add(self, member: tarfile.TarInfo) -> None:
        if member.type == _VOLUME_LABEL:
            return
        name = _bytes(member.name)
        names = [part for part in name.split(b"/") if part not in (b"", b".")]
        if b".." in names:
            raise ImageError(f"{self._name}: member {member.name!r} leads out of the archive")
        if b"\0" in name or (not names and member.type not in _DIRECTORIES):
            raise ImageError(f"{self._name}: member {member.name!r} has a name that no file can have")
        node = self._linked(member) if member.islnk() else self._node(member)
        path = b"/".join(names)
        self._members[path] = node
        self._draft.place(self._at + b"/" + path, node)

    def _linked(self, member: tarfile.TarInfo) -> Node:
        """The node that a hard link is another name of."""
        target = _bytes(member.linkname)
        path = b"/".join(part for part in target.split(b"/") if part not in (b"", b"."))
        node = self._members.get(path) or find(self._draft.root, self._at + b"/" + path)
        if node is None or node.is_directory:
            raise ImageError(
                f"{self._name}: member {member.name!r} is a hard link to {member.linkname!r}, "
                + ("a directory" if node else "which is not there")
            )
        node.link_key = node.link_key or (-1, id(node))  # no host has a device of that number
        return node

    def _node(self, member: tarfile.TarInfo) -> Node:
        made = Node(_type(member) | member.mode & 0o7777, _id(member.uid), _id(member.gid))
        made.atime_ns, made.mtime_ns, made.ctime_ns = _times(member)
        made.xattrs = _xattrs(member.pax_headers)
        if made.is_symlink:
            made.target = _bytes(member.linkname)
            if not made.target or b"\0" in made.target:
                raise ImageError(f"{self._name}: member {member.name!r} is a link that leads nowhere")
        elif stat.S_ISCHR(made.mode) or stat.S_ISBLK(made.mode):
            made.rdev = os.makedev(member.devmajor, member.devminor)
        elif made.is_file and member.size:
            made.size = member.size
            made.source = Part(f"{self._name}: member {member.name!r}", self._file, self._extents(member))
        return made

    def _extents(self, member: tarfile.TarInfo) -> list[Extent]:
        """Where the member's data lie in the archive."""
        if member.type == _OTHER_VOLUME:
            raise ImageError(f"{self._name}: member {member.name!r} begins on another volume")
        sparse: Any = member.sparse  # pairs, and not what typeshed says
        pieces: list[tuple[int, int]] = [(0, member.size)] if sparse is None else sparse
        extents, start, end = [], member.offset_data, 0
        for offset, length in pieces:
            if length < 0 or offset < end or offset + length > member.size:
                raise ImageError(f"{self._name}: member {member.name!r} has a sparse map that cannot be")
            if length:
                extents.append(Extent(offset, start, length))
            start, end = start + length, offset + length
        if start > self._size:
            raise ImageError(f"{self._name} is cut short in member {member.name!r}")
        return extents


def _times(member: tarfile.TarInfo) -> tuple[int, int, int]:
    """Access, modification and change time, in nanoseconds."""
    headers = member.pax_headers
    modified = _nanoseconds(headers.get("mtime", str(member.mtime)))
    accessed, changed = (
        _nanoseconds(headers[key]) if key in headers else modified for key in ("atime", "ctime")
    )
    return accessed, modified, changed


def _type(member: tarfile.TarInfo) -> int:
    """The type bits of the mode; what no standard names is a regular file, as the standard says."""
    if member.type in _DIRECTORIES:
        return stat.S_IFDIR
    if member.issym():
        return stat.S_IFLNK
    return _SPECIAL.get(member.type, stat.S_IFREG)


def _id(value: int) -> int:
    if not 0 <= value <= _LARGEST_ID:
        raise ValueError(f"owner {value} is no number of a user or group")
    return value


def _nanoseconds(text: str) -> int:
    if _TIME.fullmatch(text) is None:
        raise ValueError(f"{text!r} is no time that a file can have")
    value = int(Decimal(text).scaleb(9).to_integral_value(ROUND_FLOOR))
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError(f"{text} is no time that a file can have")
    return value


def _xattrs(headers: Mapping[str, str]) -> dict[bytes, bytes]:
    """Extended attributes; GNU tar writes ``=`` and ``%`` in their names as ``%3D`` and ``%25``."""
    found = {
        _bytes(key.removeprefix(_XATTR)).replace(b"%3D", b"=").replace(b"%25", b"%"): _bytes(value)
        for key, value in headers.items()
        if key.startswith(_XATTR)
    }
    return found or NO_XATTRS


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
