"""Command lines of QEMU's, without a QEMU."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unikiln.engine.qemu.command import arguments, control_socket, quoted
from unikiln.engine.qemu.device import Device, escaped
from unikiln.engine.qemu.options import Bus, Cache, Disk, Network, Options, SharedFolder, Virtio

DISK = Disk(Path("/images/disk.qcow2"), "qcow2", direct=True)
ARM = Options(arch="aarch64", disk=DISK, kernel=Path("/osv/loader.img"), command_line="--rootfs=zfs /hello")
X86 = Options(arch="x86_64", disk=DISK)


def values(options: Options, name: str, known: Any = None) -> list[str]:  # noqa: ANN401
    """What stands behind each option of that name."""
    given = arguments(options, known)
    return [given[at + 1] for at, word in enumerate(given) if word == name]


def test_a_guest_for_aarch64_in_full() -> None:
    assert arguments(replace(ARM, memory=512 << 20, cpus=1, network=Network(cards=0))) == [
        *("-machine", "virt,gic-version=2", "-cpu", "cortex-a57", "-accel", "tcg", "-m", "512M", "-smp", "1"),
        *("-kernel", "/osv/loader.img", "-append", "--rootfs=zfs /hello"),
        *("-drive", "if=none,id=hd0,file=/images/disk.qcow2,format=qcow2,cache=none,aio=native"),
        *("-nic", "none"),
        *("-device", "virtio-blk-pci,id=blk0,drive=hd0", "-device", "virtio-rng-pci"),
        *("-display", "none", "-chardev", "stdio,id=console,signal=off", "-monitor", "none"),
        *("-serial", "chardev:console", "-no-reboot"),
    ]


def test_a_disk_of_x86_64_boots_itself() -> None:
    assert not values(X86, "-kernel") and not values(X86, "-cpu")
    assert values(X86, "-machine") == ["pc"]
    assert values(X86, "-device")[0] == "virtio-blk-pci,id=blk0,drive=hd0,bootindex=0"
    assert values(X86, "-netdev") == ["user,id=net0,net=192.168.122.0/24,host=192.168.122.1"]
    assert values(X86, "-device")[1:] == ["virtio-net-pci,netdev=net0", "virtio-rng-pci"]


def test_kvm() -> None:
    arm, x86 = replace(ARM, kvm=True), replace(X86, kvm=True)
    assert values(arm, "-machine") == ["virt,gic-version=max"]
    assert values(arm, "-cpu") == ["host"]
    assert values(x86, "-cpu") == ["host,+x2apic"]
    assert values(x86, "-accel") == ["kvm"]
    assert values(replace(arm, gic_version="3", cpu="max"), "-machine") == ["virt,gic-version=3"]
    assert values(replace(arm, cpu="max"), "-cpu") == ["max"]


def test_a_microvm_has_no_pci() -> None:
    small = replace(X86, microvm=True, kernel=Path("/loader.elf"))
    assert values(small, "-machine")[0].startswith("microvm,")
    assert values(small, "-device") == [
        "virtio-blk-device,id=blk0,drive=hd0",
        "virtio-net-device,netdev=net0",
    ]


@pytest.mark.parametrize(
    ("bus", "devices"),
    [
        (Bus.scsi, ["virtio-scsi-pci,id=scsi0", "scsi-hd,bus=scsi0.0,drive=hd0,scsi-id=1,lun=0,bootindex=0"]),
        (Bus.sata, ["ide-hd,id=idehd0,bus=ide.0,drive=hd0,bootindex=0"]),
        (Bus.ide, ["ide-hd,id=idehd0,bus=ide.0,drive=hd0,bootindex=0"]),
        (Bus.nvme, ["nvme,serial=first,drive=hd0,bootindex=0"]),
    ],
)
def test_buses(bus: Bus, devices: list[str]) -> None:
    options = replace(X86, bus=bus, network=Network(cards=0))
    assert values(options, "-device") == [*devices, "virtio-rng-pci"]
    assert values(options, "-machine") == ["q35" if bus is Bus.sata else "pc"]


def test_scsi_commands_are_off_where_the_disk_has_them() -> None:
    assert "scsi=off" in values(ARM, "-device", {"virtio-blk-pci": ["drive", "scsi"]})[0]
    assert "scsi" not in values(ARM, "-device", {"virtio-blk-pci": ["drive"]})[0]


def test_versions_of_virtio_and_queues() -> None:
    modern = values(replace(ARM, virtio=Virtio.modern, queues=4, balloon=True), "-device")
    suffix = ",disable-legacy=on,disable-modern=off"
    assert modern == [
        f"virtio-blk-pci,id=blk0,drive=hd0,num-queues=4{suffix}",
        f"virtio-net-pci,netdev=net0{suffix}",
        f"virtio-rng-pci{suffix}",
        f"virtio-balloon-pci{suffix}",
    ]
    assert "disable-modern=on" in values(replace(ARM, virtio=Virtio.legacy), "-device")[0]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, "cache=none,aio=native"),
        ({"disk": Disk(Path("/tmp/a"), "raw")}, "cache=writeback,aio=threads"),
        ({"snapshot": True}, "snapshot=on,cache=unsafe,aio=threads"),
        ({"cache": Cache.unsafe}, "cache=unsafe,aio=threads"),
        ({"snapshot": True, "cache": Cache.none}, "snapshot=on,cache=none,aio=threads"),
    ],
)
def test_caches(change: dict[str, Any], expected: str) -> None:
    assert values(replace(ARM, **change), "-drive")[0].endswith("," + expected)


def test_more_disks() -> None:
    more = replace(
        X86,
        cloud_init=Disk(Path("/c"), "raw"),
        second_disk=Disk(Path("/s"), "qcow2"),
        second_nvme=Disk(Path("/n"), "raw"),
    )
    drives = [each.split(",cache")[0] for each in values(more, "-drive")]
    assert drives[1:] == [
        "if=none,id=hd1,file=/c,format=raw",
        "if=none,id=hd2,file=/s,format=qcow2",
        "if=none,id=nvm1,file=/n,format=raw",
    ]
    assert values(more, "-device")[1:4] == [
        "virtio-blk-pci,id=blk1,bootindex=1,drive=hd1",
        "virtio-blk-pci,id=blk2,drive=hd2",
        "nvme,serial=second,drive=nvm1",
    ]


def test_networks() -> None:
    forward = replace(ARM, network=Network(cards=2, forward=("tcp::8000-:8000", "tcp:127.0.0.1:0-:22")))
    first, second = values(forward, "-netdev")
    assert first.endswith(",hostfwd=tcp::8000-:8000,hostfwd=tcp:127.0.0.1:0-:22")
    assert "hostfwd" not in second  # a port is bound once
    bridged = replace(ARM, network=Network(bridge="br0", helper=Path("/usr/lib/qemu/qemu-bridge-helper")))
    assert values(bridged, "-netdev") == ["bridge,id=net0,br=br0,helper=/usr/lib/qemu/qemu-bridge-helper"]
    tap = replace(ARM, network=Network(tap="tap0", vhost=True, vmxnet3=True, mac="52:54:00:12:34:56"))
    assert values(tap, "-netdev") == ["tap,id=net0,ifname=tap0,script=no,downscript=no,vhost=on"]
    assert "vmxnet3,netdev=net0,mac=52:54:00:12:34:56" in values(tap, "-device")


def test_a_shared_folder_needs_shared_memory() -> None:
    shared = replace(ARM, shared_folder=SharedFolder(tag="myfs", socket=Path("/run/s"), dax="1G"))
    assert values(shared, "-chardev")[0] == "socket,id=virtiofs,path=/run/s"
    assert values(shared, "-object") == ["memory-backend-memfd,id=mem,size=2147483648,share=on"]
    assert "vhost-user-fs-pci,queue-size=1024,chardev=virtiofs,tag=myfs,cache-size=1G" in values(
        shared, "-device"
    )


def test_screen_debugger_and_the_end() -> None:
    shown = replace(X86, vnc=":1", graphics=True, gdb="1234", wait=True, no_shutdown=True, extra=("-s", "x"))
    assert values(shown, "-vnc") == [":1"]
    assert values(shown, "-display") == ["sdl"]
    assert values(shown, "-gdb") == ["tcp:localhost:1234,server=on,wait=off"]
    assert values(replace(shown, gdb="unix:/run/gdb"), "-gdb") == ["unix:/run/gdb"]
    assert {"-S", "-no-shutdown", "-no-reboot"} <= set(arguments(shown))
    assert arguments(shown)[-2:] == ["-s", "x"]
    assert {"-S", "-no-shutdown", "-vnc", "-gdb"}.isdisjoint(arguments(X86))


def test_a_monitor_shares_the_console() -> None:
    shared = replace(X86, monitor=True)
    assert values(shared, "-mon") == ["chardev=console"]
    assert "mux=on" in values(shared, "-chardev")[0]
    assert not values(shared, "-monitor")


def test_memory_that_is_no_whole_mebibyte() -> None:
    assert values(replace(X86, memory=(1 << 30) + 4096), "-m") == ["1073745920B"]


def test_commas_in_names() -> None:
    assert escaped("a,b,,c") == "a,,b,,,,c"
    odd = replace(ARM, disk=Disk(Path("/a,b/disk"), "raw"))
    assert values(odd, "-drive")[0].startswith("if=none,id=hd0,file=/a,,b/disk,format=raw,")
    device = Device.of("nvme", serial="a,b", bus="pci.0", lun=None, ats=True)
    assert str(device) == "nvme,serial=a,,b,bus=pci.0,ats=on"
    assert device.specific == {"serial", "ats"}


def test_the_monitor_of_ours() -> None:
    assert control_socket(7) == ["-chardev", "socket,id=qmp,fd=7", "-mon", "chardev=qmp,mode=control"]


@settings(max_examples=25)
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1))
def test_a_quoted_command_is_the_command(words: list[str]) -> None:
    shell = ["sh", "-c", "printf '%s\\0' " + quoted(["qemu", *words])]
    said = subprocess.run(shell, capture_output=True, check=True).stdout.decode()
    assert said.split("\0") == ["qemu", *words, ""]


def test_an_option_a_line() -> None:
    assert quoted(["qemu", "-m", "1G", "-append", "--verbose /a b"]) == (
        "qemu \\\n  -m 1G \\\n  -append '--verbose /a b'"
    )
