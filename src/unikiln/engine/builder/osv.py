"""A real OSv under QEMU that makes the pool: its own mkfs, cpiod and zfs, on a disk of a file of ours.

What OSv's cpiod does not keep - owners, times, hard links, special files - is lost.
"""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

from unikiln.base.device import FileDevice
from unikiln.engine.builder.disk import DiskPlan, pool_partition
from unikiln.engine.builder.guest import Ending, Say, command_line
from unikiln.engine.qemu import boot, host, plan, session
from unikiln.engine.qemu.guest import Guest
from unikiln.engine.qemu.options import AARCH64, Cache, Hypervisor, Network, Options
from unikiln.engine.qemu.outcome import Outcome
from unikiln.errors import HostError, UnikilnError
from unikiln.image.container import create_image, open_image
from unikiln.image.cpiod import PORT

DISK_SIZE = 256 << 20
"""Of a new disk, in bytes, when nobody says: as OSv's build script makes it."""
_MEMORY = 512 << 20
_PIECE = 1 << 20
_START_SECONDS = 60.0


class OsvGuest:
    """QEMU with the OSv ``kernel`` (None: the one in OSv's build folder below the current one).

    :param arch: ``aarch64`` or ``x86_64``; None: the kernel's, else this host's
    """

    keeps_everything = False
    early = True

    def __init__(self, disk: DiskPlan, *, kernel: Path | None, arch: str | None, verbose: bool) -> None:
        self._disk = disk
        self._kernel = kernel
        self._arch = arch
        self._verbose = verbose
        self._qemu: Guest | None = None
        self._port: int | None = None
        self._started = threading.Event()
        self._outcome: Outcome | None = None
        self._failure: UnikilnError | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """Where QEMU listens for the guest."""
        assert self._port is not None
        return self._port

    def start(self, say: Say) -> None:
        """Make the disk, and start QEMU; ``say`` hears the console.

        :raises HostError: no QEMU, or it does not start
        :raises UsageError: no kernel, or not for this machine
        """
        self._make_disk()
        commands = plan.plan(self._options(), Hypervisor.auto)
        lines = _Lines(say)
        self._thread = threading.Thread(target=self._run, args=(commands, lines), name="unikiln-qemu")
        self._thread.start()
        if not self._started.wait(_START_SECONDS):
            self.end()
            raise HostError(f"QEMU did not start within {_START_SECONDS:g} s")
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    def wait(self, seconds: float) -> Ending | None:
        """How it ended, if it does within ``seconds``."""
        if self._thread is None:
            return None
        self._thread.join(seconds)
        if self._thread.is_alive():
            return None
        if self._outcome is None:
            return Ending(1, str(self._failure or "QEMU is gone"))
        return Ending(self._outcome.status, self._outcome.reason)

    def end(self) -> None:
        """End QEMU, and wait until it has."""
        if self._qemu is not None:
            self._qemu.end()
        if self._thread is not None:
            self._thread.join()

    def _run(self, commands: tuple[plan.Command, ...], lines: _Lines) -> None:
        """In a thread of its own: QEMU dies with the thread that starts it."""
        try:
            self._outcome = session.run(
                commands, session.Terms(), say=lines.feed, complain=lines.feed, started=self._note
            )
        except UnikilnError as error:
            self._failure = error
        finally:
            lines.end()
            self._started.set()

    def _note(self, guest: Guest) -> None:
        self._qemu = guest
        self._port = guest.forwarded_port(PORT)
        self._started.set()

    def _make_disk(self) -> None:
        if self._disk.before is not None:
            with closing(open_image(self._disk.before)) as before:
                pool_partition(before)
            _copy(self._disk.before, self._disk.path)
            return
        size = self._disk.size or DISK_SIZE
        device = create_image(self._disk.path, self._disk.form)
        try:
            self._disk.layout.begin(device)
            self._disk.layout.finish(device, self._disk.layout.room(size), size)
        finally:
            device.close()

    def _options(self) -> Options:
        arch = boot.choose_arch(self._arch, self._kernel, boot.Stored(False, None))
        kernel = self._kernel or boot.built_kernel(arch, "last")
        console = "" if arch == AARCH64 else "--console=serial"
        return Options(
            arch=arch,
            disk=host.disk(self._disk.path),
            kernel=kernel.absolute(),
            command_line=command_line(verbose=self._verbose, console=console),
            memory=_MEMORY,
            cpus=1,
            cache=Cache.unsafe,
            network=Network(forward=(f"tcp:127.0.0.1:0-:{PORT}",)),
        )


class _Lines:
    """Bytes of a console to lines."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._rest = b""

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._say(line.decode("utf-8", "replace").rstrip("\r"))

    def end(self) -> None:
        if self._rest:
            self.feed(b"\n")


def _copy(before: Path, path: Path) -> None:
    """The file as it is, but what is zeros a hole."""
    old, new = FileDevice(before), FileDevice(path, writable=True)
    try:
        new.truncate(old.size)
        for offset in range(0, old.size, _PIECE):
            data = old.read_at(offset, min(_PIECE, old.size - offset))
            if data.count(0) < len(data):
                new.write_at(offset, data)
    finally:
        old.close()
        new.close()
