"""Physical memory and system registers of a guest that runs under QEMU, through its monitor and its gdbstub.

The guest is stopped while it is looked at and no longer. Memory is read in chunks, many in flight: 30
microseconds a table, where ``pmemsave`` to a file takes 400 and ``xp`` 900. Only RAM is read, never a device.
"""

from __future__ import annotations

import os
import re
import socket
import time
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from unikiln.base.gdbremote import GdbRemote, Piece
from unikiln.base.qmp import Qmp
from unikiln.errors import GuestGoneError, MmuError
from unikiln.mmu.live_regime import aarch64_regime, x86_64_config, x86_64_regime
from unikiln.mmu.space import Space
from unikiln.mmu.x86.config import Config

if TYPE_CHECKING:
    from unikiln.mmu.memory import Mask, Words

_LARGEST_CHUNK = 1 << 11
_STUB = "gdb"
"""What QEMU calls the character device of its gdbstub."""
_NOBODY = "disconnected:"
_READABLE = re.compile(r"^ *([0-9a-f]{16})-([0-9a-f]{16}) \(prio -?\d+, (?:ram|rom|romd)\):", re.MULTILINE)


class Range(NamedTuple):
    """Physical addresses, both inclusive."""

    first: int
    last: int


class LiveMemory:
    """The RAM of a stopped guest; what was read is kept until :meth:`forget`."""

    def __init__(self, stub: GdbRemote, ram: list[Range]) -> None:
        self._stub = stub
        self._ram = sorted(ram)
        self._chunk = min(_LARGEST_CHUNK, 1 << stub.largest_read.bit_length() - 1)
        self._shift = self._chunk.bit_length() - 1
        self.forget()

    def forget(self) -> None:
        """Read everything again: the guest ran in between."""
        self._row: dict[int, int] = {}
        self._words = np.zeros((0, self._chunk // 8), dtype=np.uint64)

    def load(self, pa: int) -> int:
        """The word at ``pa``.

        :raises MmuError: the guest has no RAM there
        """
        values, present = self.gather(np.array([pa], dtype=np.uint64))
        if not present[0]:
            raise MmuError(f"{self._stub.name}: the guest has no RAM at {pa:#x}")
        return int(values[0])

    def gather(self, addresses: Words) -> tuple[Words, Mask]:
        """The words at many addresses: their values (0 where there is no RAM), and where there is."""
        chunks = addresses >> np.uint64(self._shift)
        begins = np.flatnonzero(np.diff(chunks, prepend=~chunks[:1]))
        rows = self._rows(chunks[begins].tolist())
        row = np.repeat(rows, np.diff(np.append(begins, len(chunks))))
        present: Mask = row >= 0
        values = np.zeros(len(addresses), dtype=np.uint64)
        column = (addresses[present] & np.uint64(self._chunk - 1)) >> np.uint64(3)
        values[present] = self._words[row[present], column]
        return values, present

    def _rows(self, chunks: list[int]) -> list[int]:
        """Where each chunk stands in ``_words``, read if it is new; -1 for one that is no RAM."""
        new = sorted({chunk for chunk in chunks if chunk not in self._row})
        ram = [chunk for chunk in new if self._is_ram(chunk << self._shift)]
        read = self._stub.read_many([Piece(chunk << self._shift, self._chunk) for chunk in ram])
        self._row.update(dict.fromkeys(new, -1))
        self._row.update((chunk, row) for row, chunk in enumerate(ram, len(self._words)))
        content = np.frombuffer(b"".join(read), dtype="<u8")
        self._words = np.concatenate((self._words, content.reshape(-1, self._chunk // 8)))
        return [self._row[chunk] for chunk in chunks]

    def _is_ram(self, address: int) -> bool:
        at = bisect_right(self._ram, (address, 1 << 64)) - 1
        return at >= 0 and address + self._chunk - 1 <= self._ram[at].last


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
            self._ram = _ram(self._qmp.human("info mtree -f"))
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
        """Stop the guest for the block, which looks at its memory; then let it run, if it ran."""
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
            config = self._config
            regime = x86_64_regime(self.register, config) if config else aarch64_regime(self.register)
            yield Space(memory, regime)

    def register(self, name: str) -> int:
        """The system register ``name`` of the stopped guest, by the name that QEMU's gdbstub has for it."""
        assert self._stub is not None, "the guest runs"
        return self._stub.read_register(name)

    @contextmanager
    def _reading(self) -> Iterator[LiveMemory]:
        """The memory of the guest, which is stopped from here on; the stub is left in its usual mode."""
        if self._stub is None or self._memory is None:
            self._stub = self._attach()  # which stops the guest
            self._memory = LiveMemory(self._stub, self._ram)
        else:
            self._qmp.execute("stop")
            self._memory.forget()
        self._stub.select(self._vcpu)
        self._stub.physical(True)
        try:
            yield self._memory
        finally:
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


def _ram(tree: str) -> list[Range]:
    """What is RAM or ROM in the address space "memory", by QEMU's ``info mtree -f``."""
    views = re.split(r"^FlatView #\d+$", tree, flags=re.MULTILINE)
    view = next(
        (view for view in views if re.search(r'^ AS "memory", root: system$', view, re.MULTILINE)), ""
    )
    return [Range(int(first, 16), int(last, 16)) for first, last in _READABLE.findall(view)]


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
