"""The programs that the machine has built in: OSv's mkfs, cpiod and umount, and zpool and zfs of ZFS.

Each knows what OSv's scripts ask of it, and refuses the rest. Sources: OSv's ``tools/mkfs/mkfs.cc`` and
``tools/cpiod/cpiod.cc``; zpool-create(8), zpool-export(8), zfs-create(8) and zfs-set(8).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from typing import NoReturn, Protocol

from unikiln.engine.builder.guest import READY
from unikiln.engine.builder.pool import Pool
from unikiln.errors import MachineError
from unikiln.image.cpio.gather import Spool, TreeReceiver
from unikiln.image.cpio.newc import Header
from unikiln.image.cpio.reader import Stream
from unikiln.image.cpio.receive import Received, receive
from unikiln.image.cpiod import PORT, Cpiod

DEVICE = "/dev/vblk0.1"


class Machine(Protocol):
    """What programs ask of the machine; ``pool`` is None before one is made."""

    pool: Pool | None

    @property
    def time_ns(self) -> int:
        """Nanoseconds since 1970."""

    def say(self, line: str) -> None:
        """Print a line on the console."""

    def spool(self) -> Spool:
        """A new file for content."""

    def service(self, port: int) -> Cpiod:
        """What listens on the machine's TCP port."""

    def sync(self) -> None:
        """Write what changed to the disk."""


class _Parser(argparse.ArgumentParser):
    """Complains by an exception, not by ending the process."""

    def error(self, message: str) -> NoReturn:
        raise MachineError(f"{self.prog}: {message}")


def _parser(program: str) -> _Parser:
    return _Parser(program, add_help=False, allow_abbrev=False)


def mkfs(machine: Machine, arguments: Sequence[str]) -> None:
    """Create the pool ``osv`` and ``osv/zfs``, as OSv's mkfs does with zpool and zfs."""
    parser = _parser("mkfs.so")
    parser.add_argument("device", nargs="?", default=DEVICE)
    device = parser.parse_args(arguments).device
    machine.say("Running mkfs...")
    zpool(machine, ["create", "-f", "-R", "/zfs", "osv", device])
    zfs(machine, ["create", "-o", "relatime=on", "osv/zfs"])
    zfs(machine, ["set", "canmount=noauto", "osv"])
    zfs(machine, ["set", "canmount=noauto", "osv/zfs"])
    zfs(machine, ["set", "compression=lz4", "osv"])


def cpiod(machine: Machine, arguments: Sequence[str]) -> None:
    """Take one archive, and expand it below the prefix."""
    parser = _parser("cpiod.so")
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--prefix", default="/")
    parser.add_argument("--verbose", type=int, nargs="?", const=1, default=1)
    chosen = parser.parse_args(arguments)
    receiver = TreeReceiver(machine.spool(), _pool(machine).folder(chosen.prefix))
    service = machine.service(chosen.port)

    def note(header: Header) -> None:
        if chosen.verbose:
            machine.say(f"Adding {os.fsdecode(header.name)}...")

    def keep(stream: Stream) -> Received:
        return receive(stream, receiver, note)

    machine.say(f"{READY} from host...")
    service.receive(keep)
    machine.say("cpiod finished")


def zpool(machine: Machine, arguments: Sequence[str]) -> None:
    """Create the machine's one pool, or export it."""
    commands = _parser("zpool").add_subparsers(dest="command", required=True, parser_class=_Parser)
    create = commands.add_parser("create", add_help=False)
    create.add_argument("-f", action="store_true")
    create.add_argument("-R", default="/")
    create.add_argument("-m", default="/")
    create.add_argument("pool")
    create.add_argument("device")
    export = commands.add_parser("export", add_help=False)
    export.add_argument("pool")
    chosen = _parse("zpool", commands, arguments)
    if chosen.command == "export":
        if _pool(machine).name != chosen.pool:
            raise MachineError(f"cannot open '{chosen.pool}': no such pool")
        machine.sync()
        return
    if machine.pool is not None:
        raise MachineError(f"cannot create '{chosen.pool}': pool already exists")
    if chosen.device != DEVICE:
        raise MachineError(f"cannot open '{chosen.device}': no such device, there is {DEVICE}")
    machine.pool = Pool(chosen.pool, chosen.R, chosen.m, machine.time_ns)


def zfs(machine: Machine, arguments: Sequence[str]) -> None:
    """Create a dataset, or set a property."""
    commands = _parser("zfs").add_subparsers(dest="command", required=True, parser_class=_Parser)
    create = commands.add_parser("create", add_help=False)
    create.add_argument("-o", action="append", default=[])
    create.add_argument("dataset")
    change = commands.add_parser("set", add_help=False)
    change.add_argument("o", nargs="+")
    change.add_argument("dataset")
    chosen = _parse("zfs", commands, arguments)
    pool = _pool(machine)
    made = pool.create(chosen.dataset) if chosen.command == "create" else pool.dataset(chosen.dataset)
    for setting in chosen.o:
        name, separator, value = setting.partition("=")
        if not separator:
            raise MachineError(f"zfs: {setting!r} is not property=value")
        made.set(name, value)


def umount(machine: Machine, arguments: Sequence[str]) -> None:
    """Nothing: what is mounted is written when the machine ends."""
    parser = _parser("umount.so")
    parser.add_argument("path")
    path = parser.parse_args(arguments).path.rstrip("/")
    if path not in (each.mountpoint for each in _pool(machine).datasets.values()):
        raise MachineError(f"umount: {path}: not mounted")


def _pool(machine: Machine) -> Pool:
    if machine.pool is None:
        raise MachineError("no pools available")
    return machine.pool


def _parse(
    program: str, commands: argparse._SubParsersAction[_Parser], arguments: Sequence[str]
) -> argparse.Namespace:
    if not arguments or arguments[0] not in commands.choices:
        known = ", ".join(commands.choices)
        raise MachineError(f"{program}: {' '.join(arguments[:1])!r} is not known here, only {known}")
    chosen = commands.choices[arguments[0]].parse_args(arguments[1:])
    chosen.command = arguments[0]
    return chosen


Program = Callable[[Machine, Sequence[str]], None]
PROGRAMS: dict[str, Program] = {
    "/tools/mkfs.so": mkfs,
    "/tools/cpiod.so": cpiod,
    "/tools/umount.so": umount,
    "/zpool.so": zpool,
    "/zfs.so": zfs,
}
"""The programs by their paths in the guest."""


def find(path: str) -> Program:
    """The program ``path``; without a slash, that name in any folder, as OSv's build puts them.

    :raises MachineError: there is none
    """
    for known, program in PROGRAMS.items():
        if path in (known, known.rpartition("/")[2]):
            return program
    raise MachineError(f"Failed to load object: {path}", hint=f"built in are {', '.join(PROGRAMS)}")
