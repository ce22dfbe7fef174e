"""The devices of a guest: disks, network cards, random numbers, a shared folder; as OSv's ``run.py`` attaches
them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from unikiln.engine.qemu.device import Device, escaped, properties
from unikiln.engine.qemu.options import Bus, Cache, Disk, Options, Virtio

Properties = Collection[str]
"""Names of the properties that a driver knows."""

USED = (
    "ide-hd",
    "nvme",
    "scsi-hd",
    "vfio-pci",
    "vhost-user-fs-pci",
    "virtio-balloon-pci",
    "virtio-blk-device",
    "virtio-blk-pci",
    "virtio-net-device",
    "virtio-net-pci",
    "virtio-rng-pci",
    "virtio-scsi-pci",
    "vmxnet3",
)
"""Every driver that can be asked for below."""

SUBNET, HOST = "192.168.122.0/24", "192.168.122.1"
"""The user network as OSv's scripts have it."""

_VIRTIO = {
    Virtio.legacy: {"disable_legacy": "off", "disable_modern": "on"},
    Virtio.transitional: {},
    Virtio.modern: {"disable_legacy": "on", "disable_modern": "off"},
}


def devices(options: Options, known: Mapping[str, Properties]) -> Iterator[Device]:
    """Every device, in the order that the guest shall find them.

    ``known`` are the properties of the drivers of the QEMU that is meant, for those that come and go with its
    versions.
    """
    virtio = _VIRTIO[options.virtio]
    yield from _disk(options, known, virtio)
    queues = options.queues if options.queues > 1 else None
    second = 1
    if options.cloud_init:
        yield Device.of("virtio-blk-pci", id="blk1", bootindex=1, drive="hd1", num_queues=queues, **virtio)
        second = 2
    if options.second_disk:
        name = f"blk{second}"
        yield Device.of("virtio-blk-pci", id=name, drive=f"hd{second}", num_queues=queues, **virtio)
    if options.second_nvme:
        yield Device.of("nvme", serial="second", drive="nvm1")
    if options.shared_folder:
        folder = options.shared_folder
        window = {} if folder.dax is None else {"cache_size": folder.dax}
        yield Device.of("vhost-user-fs-pci", queue_size=1024, chardev="virtiofs", tag=folder.tag, **window)
    if options.pass_pci:
        yield Device.of("vfio-pci", host=options.pass_pci)
    yield from _cards(options, virtio)
    if not options.microvm:
        yield Device.of("virtio-rng-pci", **virtio)
    if options.balloon:
        yield Device.of("virtio-balloon-pci", **virtio)


def _disk(options: Options, known: Mapping[str, Properties], virtio: dict[str, str]) -> Iterator[Device]:
    boot = None if options.kernel else 0
    queues = options.queues if options.queues > 1 else None
    if options.microvm:
        yield Device.of("virtio-blk-device", id="blk0", drive="hd0")
    elif options.bus is Bus.virtio:
        # Until QEMU 10 a legacy disk could pass SCSI commands through; OSv's scripts switch that off.
        scsi = "off" if "scsi" in known.get("virtio-blk-pci", ()) else None
        yield Device.of(
            "virtio-blk-pci", id="blk0", drive="hd0", scsi=scsi, bootindex=boot, num_queues=queues, **virtio
        )
    elif options.bus is Bus.scsi:
        yield Device.of("virtio-scsi-pci", id="scsi0", **virtio)
        yield Device.of("scsi-hd", bus="scsi0.0", drive="hd0", scsi_id=1, lun=0, bootindex=boot)
    elif options.bus is Bus.nvme:
        yield Device.of("nvme", serial="first", drive="hd0", bootindex=boot)
    else:
        yield Device.of("ide-hd", id="idehd0", bus="ide.0", drive="hd0", bootindex=boot)


def _cards(options: Options, virtio: dict[str, str]) -> Iterator[Device]:
    network = options.network
    for index in range(network.cards):
        if network.vmxnet3:
            yield Device.of("vmxnet3", netdev=f"net{index}", mac=network.mac)
        elif options.microvm:
            yield Device.of("virtio-net-device", netdev=f"net{index}", mac=network.mac)
        else:
            yield Device.of("virtio-net-pci", netdev=f"net{index}", mac=network.mac, **virtio)


def backends(options: Options) -> Iterator[str]:
    """What the devices stand on, ``-drive``, ``-netdev`` and so on: option and value in turn."""
    yield from _drive(options, options.disk, "hd0")
    others = [disk for disk in (options.cloud_init, options.second_disk) if disk]
    for number, disk in enumerate(others, 1):
        yield from _drive(options, disk, f"hd{number}")
    if options.second_nvme:
        yield from _drive(options, options.second_nvme, "nvm1")
    if options.shared_folder:
        yield from ("-chardev", f"socket,id=virtiofs,path={escaped(options.shared_folder.socket)}")
        yield from ("-object", f"memory-backend-memfd,id=mem,size={options.memory},share=on")
        yield from ("-machine", "memory-backend=mem")
    if not options.network.cards:
        yield from ("-nic", "none")
    for index in range(options.network.cards):
        yield from ("-netdev", _netdev(options, index))


def _drive(options: Options, disk: Disk, name: str) -> tuple[str, str]:
    snapshot = "on" if options.snapshot else None
    file = properties(file=disk.path, format=disk.form, snapshot=snapshot)
    return "-drive", f"if=none,id={name}{file},{_cache(options, disk)}"


def _cache(options: Options, disk: Disk) -> str:
    """Past the host's cache where its file system can do that, as OSv's scripts have it."""
    if options.cache is not None:
        return f"cache={options.cache},aio=threads"
    if options.snapshot:
        return f"cache={Cache.unsafe},aio=threads"
    return f"cache={Cache.none},aio=native" if disk.direct else f"cache={Cache.writeback},aio=threads"


def _netdev(options: Options, index: int) -> str:
    network, name = options.network, f"net{index}"
    if network.tap:
        vhost = "on" if network.vhost else None
        return f"tap,id={name}" + properties(ifname=network.tap, script="no", downscript="no", vhost=vhost)
    if network.bridge:
        return f"bridge,id={name}" + properties(br=network.bridge, helper=network.helper)
    rules = network.forward if index == 0 else ()
    forward = "".join(properties(hostfwd=rule) for rule in rules)
    return f"user,id={name},net={SUBNET},host={HOST}{forward}"
