"""The process: everything the library operating system keeps for the one program it runs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from unikiln.base.filesystem import FileSystem
from unikiln.errors import ElfError
from unikiln.machine import elf, stack
from unikiln.machine.addrspace import AddressSpace
from unikiln.machine.checked import CheckedCpu
from unikiln.machine.counters import Counters
from unikiln.machine.cpu import Cpu
from unikiln.machine.events import Errno
from unikiln.machine.memory import GuestMemory
from unikiln.machine.pagecache import PageCache
from unikiln.machine.pagefault import ExceptionFrame, page_fault
from unikiln.machine.scanner import AccessScanner
from unikiln.machine.usermemory import UserMemory
from unikiln.machine.vfs.dataset import DatasetMount
from unikiln.machine.vfs.descriptors import DescriptorTable
from unikiln.machine.vfs.place import NameSpace, Place
from unikiln.machine.vfs.tmpfs import MemoryNode
from unikiln.mmu.check import Checker
from unikiln.mmu.memory import TableMemory
from unikiln.mmu.watch import WatchedMemory

DEFAULT_PATH = b"/bin:/usr/bin:/sbin:/usr/sbin"
TMP_MODE = 0o41777
SIG_DFL, SIG_IGN = 0, 1


def log_to_stderr(message: str) -> None:
    """One line for the person, beside the guest's own output."""
    print(f"unikiln: {message}", file=sys.stderr, flush=True)


class Process:
    """A program's memory, files and identity, over ``filesystem`` and ``memory`` bytes of RAM.

    ``check_mmu``: watch every change to the translation tables; :attr:`checker` has what is found.

    :raises GuestMemoryError: ``memory`` is too small
    """

    def __init__(
        self,
        filesystem: FileSystem,
        memory: int,
        *,
        log: Callable[[str], None] = log_to_stderr,
        check_mmu: bool = False,
    ) -> None:
        self.counters = Counters()
        self.memory = GuestMemory(memory, WatchedMemory if check_mmu else TableMemory)
        self.cache = PageCache(self.memory)
        self.space = AddressSpace(self.memory, self.cache)
        tables = self.memory.tables
        self.checker = Checker(tables, self.space.table.tables) if isinstance(tables, WatchedMemory) else None
        self.user = UserMemory(self.space, self.counters)
        self.scanner = AccessScanner(self.counters)
        self.names = NameSpace(Place(DatasetMount(filesystem).root), {b"tmp": MemoryNode(TMP_MODE)})
        self.cwd = self.names.root
        self.files = DescriptorTable()
        self.umask = 0o022
        self.program: elf.Program | None = None
        self.heap_start = self.heap_end = 0
        self.actions: dict[int, bytes] = {}
        self.signal_mask = 0
        self.command = b""
        self.started_ns = time.monotonic_ns()
        self._log = log
        self._logged: set[str] = set()

    # -- what an engine calls

    def attach(self, cpu: Cpu) -> None:
        """Run on ``cpu`` from now on."""
        self.space.cpu = CheckedCpu(cpu, self.checker) if self.checker else cpu
        self.memory.forget_code = cpu.forget_code

    def deliver_abort(self, esr: int, page: int) -> None:
        """An instruction or data abort from EL0; returning means that the access can be tried again."""
        space = self.space
        page_fault(space, self.counters, ExceptionFrame(space, esr, page))

    def tick(self) -> None:
        """A period of guest time is over."""
        self.scanner.scan(self.space)

    # -- programs

    def change_directory(self, path: str) -> None:
        """Where relative names begin.

        :raises ElfError: no such directory
        """
        try:
            place = self.names.resolve(self.cwd, os.fsencode(path))
            if not place.node.is_directory:
                raise ElfError(f"{path}: is not a directory in the image")
        except Errno as error:
            raise ElfError(f"{path}: {error.strerror} in the image") from error
        self.cwd = place

    def find_program(self, name: str, path: bytes = DEFAULT_PATH) -> Place:
        """The file that ``name`` means: as it stands with a slash, else in a directory of ``path``.

        :raises ElfError: there is none
        """
        candidates = [b""] if "/" in name else [each + b"/" for each in path.split(b":")]
        reason = "not found in the image"
        for directory in candidates:
            try:
                return self.names.resolve(self.cwd, directory + os.fsencode(name))
            except Errno as error:
                if "/" in name:
                    reason = f"{error.strerror} in the image"
        raise ElfError(f"{name}: {reason}", hint="see what is there with unikiln ls -R")

    def start(self, place: Place, argv: list[bytes], env: list[bytes]) -> None:
        """Load the program at ``place`` in place of the one that is there, and point the processor at it.

        :raises ElfError: it cannot be loaded; the program that was there is untouched
        """
        name = os.fsdecode(place.path)
        program = elf.read_program(place.node, name)
        self.space.remove(0, 1 << 48)
        elf.load(program, self.space, self.user)
        sp = stack.build(program, argv, env, self.space, self.user)
        self.program = program
        self.command = place.name[:15]
        self.heap_start = self.heap_end = program.end
        self.actions.clear()
        self.space.cpu.start(program.entry, sp)

    def handler(self, number: int) -> int:
        """What is to happen at signal ``number``: SIG_DFL, SIG_IGN or the address of a handler."""
        return int.from_bytes(self.actions.get(number, b"")[:8], "little")

    def ignores(self, number: int) -> bool:
        """Whether signal ``number`` is ignored."""
        return self.handler(number) == SIG_IGN

    def log_once(self, message: str) -> None:
        """Tell the person, unless this was told before."""
        if message not in self._logged:
            self._logged.add(message)
            self._log(message)
