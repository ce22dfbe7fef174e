"""From options to a command that can be started: what the host has is looked at, and both are checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from unikiln.engine.qemu import command, installed, kvm
from unikiln.engine.qemu.check import check_installed, check_options
from unikiln.engine.qemu.guest import Guest
from unikiln.engine.qemu.options import Hypervisor, Options
from unikiln.errors import HostError

Command = tuple[str, ...]
"""QEMU's program and its arguments."""


def plan(options: Options, hypervisor: Hypervisor, program: str | None = None) -> tuple[Command, ...]:
    """The command to start, and what to start instead where KVM turns out not to work.

    ``program`` is QEMU's; None: by its name in ``PATH``. ``kvm`` and ``microvm`` of the options follow from
    ``hypervisor``.

    :raises UsageError: there can be no such machine, or not with this QEMU
    :raises HostError: no QEMU
    """
    wants_microvm = hypervisor is Hypervisor.qemu_microvm
    first = replace(options, kvm=kvm.choose(hypervisor, options.arch), microvm=wants_microvm)
    check_options(first)
    qemu = installed.look(installed.find(options.arch, program))
    may_change = first.kvm and hypervisor is not Hypervisor.kvm and options.cpu != "host"
    tries = [first, replace(first, kvm=False)] if may_change else [first]
    for each in tries:
        check_installed(each, qemu)
    return tuple((qemu.program, *command.arguments(each, qemu.properties)) for each in tries)


def start(commands: tuple[Command, ...], complain: Callable[[bytes], object]) -> Guest:
    """Start the first command that QEMU can start: a KVM that is there may still lack what a guest needs.

    ``complain`` is told what QEMU said when it could not.

    :raises HostError: none; the message is that of the last
    """
    for each in commands[:-1]:
        try:
            return Guest(each)
        except HostError as error:
            complain(f"unikiln: KVM does not work here, QEMU translates instead: {error.message}\n".encode())
    return Guest(commands[-1])
