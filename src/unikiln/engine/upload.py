"""Filling an image the original's way: a guest makes the pool and receives a tree as a cpio archive over TCP.

Whatever goes wrong, the guest has ended and the image is as it was: it is made beside its place and renamed
when what is in it was compared with what was sent.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from unikiln.base.atomic import replacing
from unikiln.base.progress import QUIET, Progress
from unikiln.base.tree import Node, totals
from unikiln.engine.builder.guest import READY, BuilderGuest, Ending, Say
from unikiln.errors import UploadError, ZfsError
from unikiln.image.compare import Item, compare, of_filesystem, of_tree
from unikiln.image.container import open_image
from unikiln.image.cpio.writer import Sent, Writer, check_sizes
from unikiln.image.opening import only_volume

DATASET = "osv/zfs"
_NS = 1_000_000_000
_PLAIN = frozenset({0o040000, 0o100000, 0o120000})
_RETRY_SECONDS = 0.05
_LAST_WORDS_SECONDS = 2.0
_HOST = "127.0.0.1"
_CACHE = 16 << 20
"""Bytes of blocks to keep while everything is read once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds: until the guest listens, without a byte taken, and from the last byte to the guest's end.

    ``settle``: how long a connection that may be early has to stand before it counts, where the guest's
    console says nothing.
    """

    start: float = 120.0
    stall: float = 60.0
    finish: float = 600.0
    settle: float = 10.0


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What was sent: entries and bytes of the archive; ``files`` of them regular, by inode."""

    image: str
    entries: int
    files: int
    size: int
    seconds: float


def upload(
    tree: Node,
    output: Path,
    make_guest: Callable[[Path], BuilderGuest],
    *,
    say: Say,
    progress: Progress = QUIET,
    patience: Patience | None = None,
) -> Uploaded:
    """Fill a new image with ``tree``; it is at ``output`` whole, or not at all.

    :param make_guest: gives the guest for the disk in a file that it shall write
    :raises UploadError: the guest failed, or did not keep what it was sent
    :raises CpioError: a file that is too large for the archive
    :raises HostError: a file of the tree cannot be read, the disk is full
    """
    started = time.monotonic()
    check_sizes(tree)
    with replacing(output) as beside:
        guest = make_guest(beside)
        sent = send(guest, tree, say=say, progress=progress, patience=patience or Patience())
        check_arrival(beside, tree, sent, everything=guest.keeps_everything)
    return Uploaded(str(output), sent.entries, len(sent.files), sent.size, time.monotonic() - started)


def send(
    guest: BuilderGuest, tree: Node, *, say: Say, progress: Progress = QUIET, patience: Patience
) -> Sent:
    """Start ``guest``, stream ``tree`` to it, and wait for its end; what was sent. Then it has ended.

    :raises UploadError: the guest failed, went away, or takes too long
    """
    sending = _Sending(guest, say, patience)
    try:
        return sending.run(tree, progress)
    finally:
        guest.end()


class _Sending:
    """One guest's life, and its console on the way to whoever shows it."""

    def __init__(self, guest: BuilderGuest, say: Say, patience: Patience) -> None:
        self._guest = guest
        self._show = say
        self._patience = patience
        self._listens = threading.Event()
        self._heard = False

    def run(self, tree: Node, progress: Progress) -> Sent:
        self._guest.start(self._hear)
        with self._connect() as connection:
            sent = self._stream(connection, tree, progress)
            self._await_end(connection, sent)
        ending = self._guest.wait(self._patience.finish)
        if ending is None:
            raise UploadError(f"the guest did not end within {self._patience.finish:g} s")
        if ending.status:
            raise UploadError(f"the guest failed: {ending.reason}")
        return sent

    def _hear(self, line: str) -> None:
        self._heard = True
        if READY in line:
            self._listens.set()
        self._show(line)

    def _connect(self) -> socket.socket:
        """A connection that the guest's service has, not only what forwards to it."""
        deadline = time.monotonic() + self._patience.start
        while time.monotonic() < deadline:
            self._refuse_ended("before it listened")
            connection = self._try(deadline)
            if connection is not None:
                return connection
            time.sleep(_RETRY_SECONDS)
        raise UploadError(f"the guest does not listen after {self._patience.start:g} s")

    def _try(self, deadline: float) -> socket.socket | None:
        try:
            connection = socket.create_connection((_HOST, self._guest.port), timeout=1)
        except OSError:
            return None
        if self._guest.early and not self._stands(connection, deadline):
            connection.close()
            return None
        connection.settimeout(self._patience.stall)
        return connection

    def _stands(self, connection: socket.socket, deadline: float) -> bool:
        """Whether an early connection stays: forwarders take one for a guest that then refuses it.

        A console that is heard will tell when the service listens; without one, time has to tell.
        """
        settled = time.monotonic() + self._patience.settle
        while time.monotonic() < deadline:
            readable, _, _ = select.select([connection], [], [], _RETRY_SECONDS)
            if readable or self._guest.wait(0) is not None:
                return False  # the service says nothing: this is its end
            if self._listens.is_set() or (not self._heard and time.monotonic() > settled):
                return True
        return False

    def _stream(self, connection: socket.socket, tree: Node, progress: Progress) -> Sent:
        writer = Writer(tree, absolute=True, every_link=not self._guest.keeps_everything)
        progress.total(*totals(tree))
        entries = 0
        for piece in writer.pieces():
            self._send(connection, piece, writer.sent)
            progress.advance(writer.sent.entries - entries, len(piece))
            entries = writer.sent.entries
        try:
            connection.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise self._lost(writer.sent, error) from error
        return writer.sent

    def _send(self, connection: socket.socket, piece: bytes, sent: Sent) -> None:
        view = memoryview(piece)
        while view:
            try:
                view = view[connection.send(view) :]
            except TimeoutError:
                raise UploadError(
                    f"the guest took nothing for {self._patience.stall:g} s, some {sent.size} bytes in"
                ) from None
            except OSError as error:
                raise self._lost(sent, error) from error

    def _await_end(self, connection: socket.socket, sent: Sent) -> None:
        """Wait until the guest has kept all and closes the connection."""
        deadline = time.monotonic() + self._patience.finish
        connection.settimeout(1)
        while time.monotonic() < deadline:
            try:
                if not connection.recv(1):
                    return
            except TimeoutError:
                continue
            except OSError as error:
                raise self._lost(sent, error) from error
        raise UploadError(f"the guest did not finish within {self._patience.finish:g} s of the last byte")

    def _lost(self, sent: Sent, error: OSError) -> UploadError:
        """Why the connection ended; the guest may have more to say about it than the host."""
        ending = self._guest.wait(_LAST_WORDS_SECONDS)
        why = ending.reason if ending is not None and ending.reason else error.strerror
        return UploadError(f"the connection to the guest was lost, some {sent.size} bytes in: {why}")

    def _refuse_ended(self, when: str) -> None:
        ending: Ending | None = self._guest.wait(0)
        if ending is not None:
            why = f": {ending.reason}" if ending.reason else ""
            raise UploadError(f"the guest ended {when}{why}")


def check_arrival(image: Path, tree: Node, sent: Sent, *, everything: bool) -> None:
    """Read the image, and compare what is in it with what was sent: names, attributes and checksums.

    :param everything: owners, times, links and special files were to be kept, too
    :raises UploadError: it is not the same, or cannot be read
    """
    from unikiln.zfs.pool import open_pool

    checksums = {node: file.checksum for node, file in sent.files.items()}
    expected = _as_sent(of_tree(tree, checksums), everything=everything)
    ignore = frozenset() if everything else frozenset({"uid", "gid", "links", "mtime"})
    try:
        with (
            closing(open_image(image)) as disk,
            open_pool(only_volume(disk).device, cache=_CACHE) as pool,
        ):
            arrived = of_filesystem(pool.filesystem(DATASET))
            different = next(compare(expected, arrived, ignore), None)
    except ZfsError as error:
        raise UploadError(f"what the guest left cannot be read: {error.message}") from error
    if different is not None:
        raise UploadError(f"what arrived is not what was sent: {different}")


def _as_sent(items: Iterator[Item], *, everything: bool) -> Iterator[Item]:
    """What the archive, and then the guest, can tell of each."""
    for item in items:
        plain = replace(item, xattrs={}, mtime_ns=min(max(item.mtime_ns // _NS, 0), 2**32 - 1) * _NS)
        if everything:
            yield plain
        elif item.kind in _PLAIN:
            yield replace(plain, mode=item.kind | item.mode & 0o777)
