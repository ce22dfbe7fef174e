"""What arrives in an archive, checked, to whoever keeps it: a folder, or a tree.

A name that begins with a slash is taken below the receiver's top, as OSv's cpiod does; one with ``..`` is
refused. Names of one inode are links to one file, whichever of them brings its content.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from unikiln.errors import CpioError
from unikiln.image.cpio.newc import PATH_MAX, Header
from unikiln.image.cpio.reader import Entry, Stream, entries, placed

Names = tuple[bytes, ...]
_NAME_MAX = 255
_SPECIAL = frozenset({stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK})


class Receiver(Protocol):
    """Keeps files; ``names`` lead down from its top, through links that must not lead out of it.

    What a method gives for a new file is what :meth:`link` and :meth:`fill` take for it later.
    """

    def directory(self, names: Names, header: Header) -> None: ...  # noqa: D102
    def file(self, names: Names, header: Header, content: Iterator[bytes]) -> Any: ...  # noqa: ANN401, D102
    def symlink(self, names: Names, header: Header, target: bytes) -> Any: ...  # noqa: ANN401, D102
    def special(self, names: Names, header: Header) -> Any: ...  # noqa: ANN401, D102

    def link(self, names: Names, earlier: Any) -> None:  # noqa: ANN401
        """Give the file ``earlier`` one more name."""

    def fill(self, earlier: Any, content: Iterator[bytes]) -> None:  # noqa: ANN401
        """Replace the content of the regular file ``earlier``."""

    def finish(self) -> None:
        """The archive was whole."""


@dataclass(slots=True)
class Received:
    """What arrived: entries, and bytes of the files' content."""

    entries: int = 0
    size: int = 0


def _ignore(_header: Header) -> None:
    """Nobody wants to know."""


def receive(stream: Stream, receiver: Receiver, on_entry: Callable[[Header], None] = _ignore) -> Received:
    """Give all that is in the archive ``stream`` to ``receiver``; ``on_entry`` hears of each entry first.

    :raises CpioError: the archive is damaged, ends early, or has names or sizes that lie
    :raises HostError: the receiver cannot keep it
    """
    reception = _Reception(receiver)
    for entry in entries(stream):
        on_entry(entry.header)
        try:
            reception.take(entry)
        except CpioError as error:
            raise placed(error, entry.header.name) from None
    receiver.finish()
    return reception.done


class _Reception:
    """One archive; remembers the files that have more names than were met so far."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._links: dict[tuple[object, ...], Any] = {}
        self.done = Received()

    def take(self, entry: Entry) -> None:
        header = entry.header
        names, kind = split(header.name), stat.S_IFMT(header.mode)
        if not names and kind != stat.S_IFDIR:
            raise CpioError("the top of the archive is no directory")
        if header.size and kind not in (stat.S_IFREG, stat.S_IFLNK):
            raise CpioError(f"{header.size} bytes of content that this kind of file cannot have")
        if kind == stat.S_IFDIR:
            self._receiver.directory(names, header)
        else:
            self._take_file(names, kind, entry)
        self.done.entries += 1
        self.done.size += header.size if kind == stat.S_IFREG else 0

    def _take_file(self, names: Names, kind: int, entry: Entry) -> None:
        header = entry.header
        key = (kind, header.device, header.inode)
        earlier = self._links.get(key) if header.nlink > 1 else None
        if earlier is not None:
            self._receiver.link(names, earlier)
            if kind == stat.S_IFREG and header.size:
                self._receiver.fill(earlier, entry.content())
            return
        made = self._make(names, kind, entry)
        if header.nlink > 1 and made is not None:
            self._links[key] = made

    def _make(self, names: Names, kind: int, entry: Entry) -> Any:  # noqa: ANN401
        if kind == stat.S_IFREG:
            return self._receiver.file(names, entry.header, entry.content())
        if kind == stat.S_IFLNK:
            return self._receiver.symlink(names, entry.header, _target(entry))
        if kind in _SPECIAL:
            return self._receiver.special(names, entry.header)
        raise CpioError(f"a file of unknown type {kind:#o}")


def split(name: bytes) -> Names:
    """The names on the way to ``name``, which may begin with slashes.

    :raises CpioError: one of them is ``..``, or longer than a name can be
    """
    names = tuple(part for part in name.split(b"/") if part not in (b"", b"."))
    if b".." in names:
        raise CpioError("a name with '..' in it", hint="it would lead out of the folder")
    if any(len(part) > _NAME_MAX for part in names):
        raise CpioError(f"a name longer than {_NAME_MAX} bytes")
    return names


def _target(entry: Entry) -> bytes:
    if not 0 < entry.header.size < PATH_MAX:
        raise CpioError(f"a symbolic link to a path of {entry.header.size} bytes")
    target = b"".join(entry.content())
    if b"\0" in target:
        raise CpioError("a symbolic link to a path with a NUL in it")
    return target
