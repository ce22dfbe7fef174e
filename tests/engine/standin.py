"""A guest whose service speaks the wire as OSv's cpiod does (tools/cpiod, May 2022), and whose disk is ours.

It takes one connection, knows files, directories and symbolic links, keeps permissions only, makes a copy of
every link, dies of a bad header, and says nothing on the wire: it closes the connection when all is written.
"""

from __future__ import annotations

import contextlib
import socket
import stat
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from unikiln.base.device import FileDevice
from unikiln.engine.builder.guest import Ending, Say
from unikiln.image import mbr
from unikiln.image.directory import scan
from unikiln.image.growing import GrowingSlice
from unikiln.zfs.create import CreateOptions, create_pool


class Aborted(Exception):
    """An uncaught exception of C++."""


class StandIn:
    """As :class:`unikiln.engine.builder.guest.BuilderGuest`; ``hurt`` makes it fail in some way.

    ``hurt``: ``abort`` after the first file, ``lose`` the last file, ``change`` a byte, ``hang`` at the end,
    ``forget`` to write the disk.
    """

    keeps_everything = False
    early = False

    def __init__(self, disk: Path, hurt: str = "") -> None:
        self._disk = disk
        self._hurt = hurt
        self._server = socket.create_server(("127.0.0.1", 0))
        self._ending: Ending | None = None
        self._killed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.names: list[str] = []

    @property
    def port(self) -> int:
        port: int = self._server.getsockname()[1]
        return port

    def start(self, say: Say) -> None:
        self._say = say
        self._thread.start()

    def wait(self, seconds: float) -> Ending | None:
        self._thread.join(seconds)
        return self._ending

    def end(self) -> None:
        self._killed.set()
        for each in (self._server, getattr(self, "_connection", None)):
            with contextlib.suppress(OSError):
                if each is not None:
                    each.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._say("Waiting for connection from host...")
            self._connection, _ = self._server.accept()
            with (
                TemporaryDirectory() as folder,
                self._connection,
                self._connection.makefile("rb") as stream,
            ):
                while self._parse_one(stream, Path(folder)):
                    pass
                self._hurt_folder(Path(folder))
                if self._hurt != "forget":
                    self._write_disk(Path(folder))
            self._say("cpiod finished")
            self._ending = Ending(0)
        except (Aborted, OSError) as error:
            self._ending = Ending(1, f"terminate called: {error}")

    def _parse_one(self, stream: BinaryIO, prefix: Path) -> bool:
        """``cpio_in::parse_one``."""
        header = stream.read(110)
        if header[:6] != b"070701" or len(header) < 110:
            raise Aborted(f"bad cpio magic: {header[:6]!r}")
        fields = [int(header[at : at + 8], 16) for at in range(6, 110, 8)]
        mode, filesize, namesize = fields[1], fields[6], fields[11]
        aligned = (110 + namesize + 3) // 4 * 4 - 110
        name = stream.read(aligned)[: namesize - 1]
        if name == b"TRAILER!!!":
            return False
        self.names.append(name.decode())
        assert name.startswith(b"/"), "the prefix is put in front as it is"
        path, perm = prefix / name.decode().lstrip("/"), mode & 0o777
        if stat.S_ISREG(mode):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(stream.read(filesize))
            path.chmod(perm)
            if self._hurt == "abort":
                raise Aborted("no space left on device")
        elif stat.S_ISDIR(mode):
            if filesize:
                raise Aborted("bad directory size")
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(perm)
        elif stat.S_ISLNK(mode):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(stream.read(filesize).decode())
        else:
            stream.read(filesize)
        stream.read(-filesize % 4)
        return True

    def _hurt_folder(self, folder: Path) -> None:
        files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
        if self._hurt == "lose":
            files[-1].unlink()
        elif self._hurt == "change":
            data = bytearray(files[-1].read_bytes())
            data[len(data) // 2] ^= 1
            files[-1].write_bytes(data)
        elif self._hurt == "hang":
            self._killed.wait()

    def _write_disk(self, folder: Path) -> None:
        device = FileDevice(self._disk, writable=True)
        device.truncate(0)
        made = create_pool(GrowingSlice(device, 512), scan(folder), CreateOptions())
        device.truncate(512 + made.size)
        mbr.write_disk(device, 512, made.size, None)
        device.close()
