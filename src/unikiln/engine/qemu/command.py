"""The command line of QEMU for a machine: a function of :class:`Options`, without a QEMU.

The facts are those of OSv's ``scripts/run.py``. Three things differ: nothing listens on a port unless it is
asked for (there, a gdbstub on 1234 and, on x86-64, VNC on 5901); a guest that resets has ended; the format of
a disk is told, not guessed.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence

from unikiln.engine.qemu.devices import Properties, backends, devices
from unikiln.engine.qemu.options import AARCH64, Bus, Options

_MIB = 1 << 20
_MICROVM = "microvm,x-option-roms=off,pit=off,pic=off,rtc=off,auto-kernel-cmdline=on,acpi=off"


def arguments(options: Options, known: Mapping[str, Properties] | None = None) -> list[str]:
    """The arguments after the program's name.

    ``known`` are the properties of drivers, as :class:`.installed.Installed` has them; they decide only about
    those that not every version of QEMU has.
    """
    given = [*_machine(options), *_boot(options), *backends(options)]
    for device in devices(options, known or {}):
        given += ["-device", str(device)]
    return [*given, *_display(options), *_console(options), *_control(options), *options.extra]


def quoted(command: Sequence[str]) -> str:
    """The command as a person would type it into a shell, an option a line."""
    words = [shlex.quote(each) for each in command]
    return "".join(f" \\\n  {word}" if word.startswith("-") else f" {word}" for word in words).lstrip()


def machine(options: Options) -> str:
    """The machine's name and its own options (``-machine``)."""
    if options.arch == AARCH64:
        version = options.gic_version or ("max" if options.kvm else "2")
        return f"virt,gic-version={version}"
    if options.microvm:
        return _MICROVM
    return "q35" if options.bus is Bus.sata else "pc"


def cpu(options: Options) -> str | None:
    """The processor's model (``-cpu``); None: QEMU's default."""
    if options.cpu:
        return options.cpu
    if options.kvm:
        return "host" if options.arch == AARCH64 else "host,+x2apic"
    return "cortex-a57" if options.arch == AARCH64 else None


def _machine(options: Options) -> Iterator[str]:
    yield from ("-machine", machine(options))
    model = cpu(options)
    if model:
        yield from ("-cpu", model)
    yield from ("-accel", "kvm" if options.kvm else "tcg")
    whole = options.memory % _MIB == 0
    yield from ("-m", f"{options.memory // _MIB}M" if whole else f"{options.memory}B")
    yield from ("-smp", str(options.cpus))
    if options.microvm:
        yield from ("-nodefaults", "-no-user-config", "-global", "virtio-mmio.force-legacy=off")


def _boot(options: Options) -> Iterator[str]:
    if options.kernel:
        yield from ("-kernel", str(options.kernel), "-append", options.command_line)


def _display(options: Options) -> Iterator[str]:
    yield from ("-display", "sdl" if options.graphics else "none")
    if options.vnc:
        yield from ("-vnc", options.vnc)


def _console(options: Options) -> Iterator[str]:
    """The serial line on standard input and output; with a monitor on the same, behind Ctrl-A C."""
    if options.monitor:
        yield from ("-chardev", "stdio,id=console,mux=on,signal=off", "-mon", "chardev=console")
    else:
        yield from ("-chardev", "stdio,id=console,signal=off", "-monitor", "none")
    yield from ("-serial", "chardev:console")


def _control(options: Options) -> Iterator[str]:
    yield "-no-reboot"
    if options.no_shutdown:
        yield "-no-shutdown"
    if options.wait:
        yield "-S"
    if options.gdb:
        where = f"tcp:localhost:{options.gdb},server=on,wait=off" if options.gdb.isdecimal() else options.gdb
        yield from ("-gdb", where)


def control_socket(descriptor: int) -> list[str]:
    """Arguments that put QMP on an open socket that QEMU inherits."""
    return ["-chardev", f"socket,id=qmp,fd={descriptor}", "-mon", "chardev=qmp,mode=control"]
