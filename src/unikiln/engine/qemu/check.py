"""Whether a machine can be, and whether the QEMU that is installed has all that it takes."""

from __future__ import annotations

from difflib import get_close_matches

from unikiln.engine.qemu.command import cpu, machine
from unikiln.engine.qemu.devices import devices
from unikiln.engine.qemu.installed import Installed
from unikiln.engine.qemu.options import AARCH64, Bus, Options
from unikiln.errors import UsageError

_ELF = b"\x7fELF"
_LINUX_X86 = (0x202, b"HdrS")


def check_options(options: Options) -> None:
    """Refuse what no QEMU can do.

    :raises UsageError: options that contradict each other, or that this architecture has not
    """
    network = options.network
    arm = options.arch == AARCH64
    rules = (
        (options.cpus < 1, "a machine has at least one processor"),
        (options.memory < 1 << 20, "a machine has at least 1 MiB of memory"),
        (arm and options.bus in (Bus.ide, Bus.sata), f"--{options.bus} is for x86-64"),
        (arm and options.microvm, "--hypervisor qemu_microvm is for x86-64"),
        (not arm and options.gic_version is not None, "--gic-version is for AArch64"),
        (arm and options.kernel is None, "an AArch64 guest boots from a kernel: give it with --kernel"),
        (options.microvm and options.kernel is None, "a microvm boots from a kernel: give it with --kernel"),
        (options.microvm and options.bus is not Bus.virtio, "a microvm has no PCI, only --virtio disks"),
        (options.microvm and network.vmxnet3, "a microvm has no PCI, so no --vmxnet3"),
        (network.cards < 0, "--nics cannot be negative"),
        (network.mac is not None and network.cards != 1, "--mac goes with one network card"),
        (bool(network.forward) and not network.cards, "--forward needs a network card"),
        (bool(network.forward) and bool(network.bridge or network.tap), "--forward is of the user network"),
        (options.cpu == "host" and not options.kvm, "--cpu host needs KVM"),
    )
    for wrong, why in rules:
        if wrong:
            raise UsageError(why)
    if options.kernel and not arm:
        _check_x86_kernel(options)


def check_installed(options: Options, installed: Installed) -> None:
    """Refuse what the installed QEMU cannot do.

    :raises UsageError: it lacks the machine, the processor, a device or a property
    """
    here = f"QEMU {installed.version_text} ({installed.program})"
    name = machine(options).partition(",")[0]
    if name not in installed.machines:
        raise UsageError(f"{here} has no machine {name!r}")
    model = (cpu(options) or "").partition(",")[0]
    if model and installed.cpus and model not in (*installed.cpus, "host"):
        close = " or ".join(get_close_matches(model, installed.cpus))
        hint = f"did you mean {close}?" if close else None
        raise UsageError(f"{here} has no processor {model!r}", hint=hint)
    for device in devices(options, installed.properties):
        known = installed.properties.get(device.driver)
        if known is None:
            raise UsageError(f"{here} has no device {device.driver!r}")
        missing = sorted(device.specific.difference(known))
        if missing:
            raise UsageError(f"{here}: {device.driver} has no property {missing[0]!r}")


def _check_x86_kernel(options: Options) -> None:
    """QEMU loads an ELF or a Linux kernel; OSv's ``loader.img`` is a disk to boot from."""
    assert options.kernel is not None
    offset, magic = _LINUX_X86
    with options.kernel.open("rb") as file:
        start = file.read(offset + len(magic))
    if not start.startswith(_ELF) and start[offset:] != magic:
        raise UsageError(
            f"{options.kernel}: no kernel that QEMU can load for x86-64",
            hint="loader.img belongs at the start of the disk (unikiln build --kernel); give loader.elf here",
        )
