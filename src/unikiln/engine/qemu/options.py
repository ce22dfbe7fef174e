"""What a guest under QEMU shall be: options as data, from which :mod:`.command` makes the command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

AARCH64, X86_64 = "aarch64", "x86_64"


class Hypervisor(StrEnum):
    """What executes: ``auto`` is KVM where it can be, else QEMU's own translation (TCG)."""

    auto = "auto"
    kvm = "kvm"
    qemu = "qemu"
    qemu_microvm = "qemu_microvm"


class Bus(StrEnum):
    """What the disk is attached to."""

    virtio = "virtio"
    scsi = "scsi"
    sata = "sata"
    ide = "ide"
    nvme = "nvme"


class Virtio(StrEnum):
    """The version of virtio that devices offer."""

    legacy = "legacy"
    transitional = "transitional"
    modern = "modern"


class Cache(StrEnum):
    """QEMU's cache modes of a drive (``-drive cache=``)."""

    none = "none"
    writethrough = "writethrough"
    writeback = "writeback"
    directsync = "directsync"
    unsafe = "unsafe"


@dataclass(frozen=True, slots=True)
class Disk:
    """An image file; ``form`` is ``raw`` or ``qcow2``. ``direct``: its file system knows O_DIRECT."""

    path: Path
    form: str
    direct: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """The network cards: QEMU's user network unless ``bridge`` (with its ``helper``) or ``tap`` is set.

    ``forward`` are rules of ``hostfwd``; they go to the first card.
    """

    cards: int = 1
    forward: tuple[str, ...] = ()
    bridge: str | None = None
    helper: Path | None = None
    tap: str | None = None
    vhost: bool = False
    vmxnet3: bool = False
    mac: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedFolder:
    """A folder that virtiofsd shares at ``socket``; ``dax`` is the size of a DAX window (QEMU's syntax)."""

    tag: str
    socket: Path
    dax: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """A machine. ``memory`` in bytes; ``kvm`` and ``microvm`` are what became of the :class:`Hypervisor`.

    With a ``kernel``, QEMU loads it and passes ``command_line``; without, the disk boots. ``cache`` None: as
    the disk allows. ``snapshot``: what the guest writes to its disks is thrown away.
    """

    arch: str
    disk: Disk
    kernel: Path | None = None
    command_line: str = ""
    memory: int = 2 << 30
    cpus: int = 4
    cpu: str | None = None
    kvm: bool = False
    microvm: bool = False
    gic_version: str | None = None
    bus: Bus = Bus.virtio
    virtio: Virtio = Virtio.transitional
    queues: int = 1
    cache: Cache | None = None
    snapshot: bool = False
    cloud_init: Disk | None = None
    second_disk: Disk | None = None
    second_nvme: Disk | None = None
    network: Network = field(default_factory=Network)
    shared_folder: SharedFolder | None = None
    pass_pci: str | None = None
    balloon: bool = False
    vnc: str | None = None
    graphics: bool = False
    gdb: str | None = None
    wait: bool = False
    no_shutdown: bool = False
    monitor: bool = False
    extra: tuple[str, ...] = ()
