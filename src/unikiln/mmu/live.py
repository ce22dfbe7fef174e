"""Physical memory and system registers of a guest that runs under QEMU, through its monitor and its gdbstub.

The guest is stopped while it is looked at, and no longer.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType

from unikiln.base.gdbremote import GdbRemote
from unikiln.base.qmp import Qmp
from unikiln.base.signals import deferred
from unikiln.errors import GuestGoneError, MmuError
from unikiln.mmu.live_memory import LiveMemory, ram_of
from unikiln.mmu.live_regime import aarch64_regime, x86_64_config, x86_64_regime
from unikiln.mmu.space import Regime, Space
from unikiln.mmu.x86.config import Config

_STUB = "gdb"
"""What QEMU calls the character device of its gdbstub."""
_NOBODY = "disconnected:"


class LiveGuest:
    """The guest of the QEMU whose monitor listens at the UNIX socket ``path``.

    :ivar arch: "aarch64" or "x86_64"; :ivar paused: seconds that the guest was stopped the last time

    :raises GuestGoneError: QEMU is not there, or cannot do what is needed
    :raises MmuError: a guest of another architecture, or without that vcpu
    """

    def __init__(self, path: Path, vcpu: int = 0, timeout: float = 10.0) -> None:
        self.path = path
        self.paused = 0.0
        self._timeout = timeout
        self._stub: GdbRemote | None = None
        self._memory: LiveMemory | None = None
        with ExitStack() as undo:
            self._qmp = undo.enter_context(Qmp(path, timeout))
            self.arch = self._find_arch()
            self._vcpu = vcpu
            self._config = self._find_config(self._find_vcpu(vcpu))
            self._ram = ram_of(self._qmp.human("info mtree -f"))
            self._address = self._open_stub(undo)
            self._undo = undo.pop_all()

    def __enter__(self) -> LiveGuest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    @contextmanager
    def stopped(self) -> Iterator[LiveMemory]:
        """Stop the guest for the block, which looks at its memory; then let it run, if it ran.

        Ctrl-C waits until then.
        """
        with deferred():
            ran = self._qmp.execute("query-status")["running"]
            begun = time.monotonic()
            try:
                with self._reading() as memory:
                    yield memory
            finally:
                if ran:
                    self._qmp.execute("cont")
                self.paused = time.monotonic() - begun

    @contextmanager
    def look(self) -> Iterator[Space]:
        """The address space of the processor, stopped for the block."""
        with self.stopped() as memory:
            yield Space(memory, self._regime())

    def snapshot(self, regime: Regime | None = None) -> Space:
        """The address space with all its tables, of one moment; the guest is stopped while they are read.

        It is that of ``regime``, if the processor may have switched to another one since. It lasts until the
        guest is looked at again.
        """
        with self.stopped() as memory:
            space = Space(memory, regime or self._regime())
            memory.fetch(space.tables())
        return space

    def register(self, name: str) -> int:
        """The system register ``name`` of the stopped guest, by the name that QEMU's gdbstub has for it."""
        assert self._stub is not None, "the guest runs"
        return self._stub.read_register(name)

    def _regime(self) -> Regime:
        config = self._config
        return x86_64_regime(self.register, config) if config else aarch64_regime(self.register)

    @contextmanager
    def _reading(self) -> Iterator[LiveMemory]:
        """The memory of the guest, which is stopped from here on; the stub is left in its usual mode."""
        if self._stub is None or self._memory is None:
            self._stub = self._attach()  # which stops the guest
            self._memory = LiveMemory(self._stub, self._ram)
        else:
            self._qmp.execute("stop")
            self._memory.open()
        self._stub.select(self._vcpu)
        self._stub.physical(True)
        try:
            yield self._memory
        finally:
            self._memory.close()
            self._stub.physical(False)

    def _find_arch(self) -> str:
        arch: str = self._qmp.execute("query-target")["arch"]
        if arch not in ("aarch64", "x86_64"):
            raise MmuError(f"{self.path}: a guest of {arch}", hint="unikiln knows aarch64 and x86_64")
        return arch

    def _find_vcpu(self, vcpu: int) -> str:
        """QEMU's name for the object of the processor."""
        cpus = {cpu["cpu-index"]: cpu["qom-path"] for cpu in self._qmp.execute("query-cpus-fast")}
        if vcpu not in cpus:
            raise MmuError(
                f"{self.path}: the guest has no vcpu {vcpu}", hint=f"it has 0 to {max(cpus, default=0)}"
            )
        path: str = cpus[vcpu]
        return path

    def _find_config(self, cpu: str) -> Config | None:
        """What an x86-64 processor has; that of AArch64 has registers that say it."""
        if self.arch == "aarch64":
            return None
        return x86_64_config(lambda name: self._qmp.execute("qom-get", path=cpu, property=name))

    def _open_stub(self, undo: ExitStack) -> str:
        """Where the gdbstub listens: the one that QEMU was started with, or one until ``undo``."""
        stub, said = self._find_stub(), ""
        if stub is None:
            place = os.fspath(self.path.absolute()).replace(",", ",,")
            said = self._qmp.human(f"gdbserver unix:{place}.gdb,server=on,wait=off")
            undo.callback(self._close_stub)
            stub = self._find_stub()
        if stub is None:
            hint = "start QEMU with -gdb unix:PATH,server=on,wait=off"
            raise GuestGoneError(f"{self.path}: QEMU starts no gdbstub: {' '.join(said.split())}", hint=hint)
        if not stub.startswith(_NOBODY):
            raise GuestGoneError(f"{self.path}: a debugger is connected to the guest", hint="detach it first")
        return stub.removeprefix(_NOBODY)

    def _find_stub(self) -> str | None:
        devices = self._qmp.execute("query-chardev")
        return next((device["filename"] for device in devices if device["label"] == _STUB), None)

    def _close_stub(self) -> None:
        with suppress(GuestGoneError):
            self._qmp.human("gdbserver none")

    def _attach(self) -> GdbRemote:
        name = f"{self.path} (gdbstub {self._address})"
        try:
            connection = _connect(self._address, self._timeout)
        except OSError as error:
            raise GuestGoneError(f"{name}: cannot connect: {error.strerror or error}") from error
        return self._undo.enter_context(GdbRemote(connection, name, self._timeout))


def _connect(address: str, timeout: float) -> socket.socket:
    """A connection to a character device that listens, such as ``unix:/run/gdb,server=on``."""
    kind, _, place = address.partition(",server")[0].partition(":")
    if kind == "unix":
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(timeout)
        connection.connect(place)
        return connection
    host, _, port = place.rpartition(":")
    anywhere = host in ("", "0.0.0.0", "[::]", "::")
    return socket.create_connection(("localhost" if anywhere else host.strip("[]"), int(port)), timeout)
