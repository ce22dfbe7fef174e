from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from unikiln.engine.qemu import kvm
from unikiln.engine.qemu.check import check_installed, check_options
from unikiln.engine.qemu.devices import USED, devices
from unikiln.engine.qemu.installed import Installed
from unikiln.engine.qemu.options import Bus, Disk, Hypervisor, Network, Options, SharedFolder, Virtio
from unikiln.errors import UsageError

ARM = Options(arch="aarch64", disk=Disk(Path("/d"), "raw"), kernel=Path("/loader.img"))
X86 = Options(arch="x86_64", disk=Disk(Path("/d"), "raw"))
ALL = replace(
    X86,
    bus=Bus.scsi,
    virtio=Virtio.modern,
    queues=2,
    second_nvme=X86.disk,
    shared_folder=SharedFolder(tag="t", socket=Path("/s"), dax="1G"),
    pass_pci="0:1",
    balloon=True,
)
QEMU = Installed(
    program="/usr/bin/qemu-system-aarch64",
    version=[10, 0, 2],
    machines=["pc", "q35", "virt", "microvm"],
    cpus=["cortex-a57", "cortex-a53", "max"],
    properties={
        driver: ["bootindex", "disable-legacy", "disable-modern", "drive", "lun", "mac", "netdev", "scsi-id"]
        for driver in USED
    },
)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cpus": 0}, "at least one processor"),
        ({"memory": 1000}, "at least 1 MiB"),
        ({"bus": Bus.ide}, "--ide is for x86-64"),
        ({"bus": Bus.sata}, "--sata is for x86-64"),
        ({"microvm": True}, "qemu_microvm is for x86-64"),
        ({"kernel": None}, "boots from a kernel"),
        ({"cpu": "host"}, "--cpu host needs KVM"),
        ({"network": Network(cards=-1)}, "--nics"),
        ({"network": Network(cards=2, mac="52:54:00:12:34:56")}, "--mac goes with one"),
        ({"network": Network(cards=0, forward=("tcp::1-:1",))}, "--forward needs"),
        ({"network": Network(tap="t", forward=("tcp::1-:1",))}, "--forward is of the user network"),
    ],
)
def test_what_no_qemu_can_do(change: dict[str, Any], said: str) -> None:
    check_options(ARM)
    with pytest.raises(UsageError, match=said):
        check_options(replace(ARM, **change))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"gic_version": "3"}, "--gic-version is for AArch64"),
        ({"microvm": True}, "a microvm boots from a kernel"),
        ({"microvm": True, "kernel": Path("/k"), "bus": Bus.scsi}, "no PCI"),
        ({"microvm": True, "kernel": Path("/k"), "network": Network(vmxnet3=True)}, "no --vmxnet3"),
    ],
)
def test_what_no_x86_64_can_do(change: dict[str, Any], said: str) -> None:
    check_options(X86)
    with pytest.raises(UsageError, match=said):
        check_options(replace(X86, **change))


def test_loader_img_is_no_kernel_for_qemu_on_x86_64(tmp_path: Path) -> None:
    kernel = tmp_path / "loader.img"
    kernel.write_bytes(bytes(510) + b"\x55\xaa" + bytes(1024))
    with pytest.raises(UsageError, match=r"no kernel that QEMU can load.*unikiln build --kernel"):
        check_options(replace(X86, kernel=kernel))
    kernel.write_bytes(b"\x7fELF" + bytes(1024))
    check_options(replace(X86, kernel=kernel))
    kernel.write_bytes(bytes(0x202) + b"HdrS" + bytes(1024))
    check_options(replace(X86, kernel=kernel))


def test_what_is_installed_suffices() -> None:
    for each in (ARM, X86, replace(X86, bus=Bus.scsi, virtio=Virtio.legacy), replace(ARM, kvm=True)):
        check_installed(each, QEMU)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (replace(ARM, cpu="cortex-a72"), r"QEMU 10.0.2 \(.*\) has no processor 'cortex-a72' \(did you mean"),
        (replace(ARM, cpu="zzz"), "no processor 'zzz'$"),
        (replace(ARM, queues=2), "virtio-blk-pci has no property 'num-queues'"),
        (ALL, "virtio-scsi-pci|scsi-hd|nvme"),
    ],
)
def test_what_is_installed_does_not_suffice(options: Options, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_installed(options, QEMU)


def test_an_old_or_small_qemu() -> None:
    with pytest.raises(UsageError, match="has no machine 'virt'"):
        check_installed(ARM, replace(QEMU, machines=["pc"]))
    with pytest.raises(UsageError, match="has no device 'virtio-rng-pci'"):
        small = {driver: names for driver, names in QEMU.properties.items() if driver != "virtio-rng-pci"}
        check_installed(ARM, replace(QEMU, properties=small))


def test_every_device_is_one_that_is_looked_up() -> None:
    some = [ALL, replace(X86, bus=Bus.nvme), replace(X86, bus=Bus.ide), replace(X86, microvm=True)]
    some += [replace(X86, network=Network(vmxnet3=True)), ARM]
    assert {each.driver for options in some for each in devices(options, {})} == set(USED)


def test_kvm_is_for_guests_like_the_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert kvm.host_arch() == "aarch64"
    assert kvm.obstacle("x86_64") == "the guest is for x86_64, this host is aarch64"
    assert not kvm.choose(Hypervisor.auto, "x86_64")
    with pytest.raises(UsageError, match="no KVM: the guest is for x86_64"):
        kvm.choose(Hypervisor.kvm, "x86_64")
    monkeypatch.setattr(kvm, "_DEVICE", str(tmp_path / "kvm"))
    assert kvm.obstacle("aarch64") == f"{tmp_path}/kvm: No such file or directory"
    (tmp_path / "kvm").touch()
    assert kvm.obstacle("aarch64") == f"{tmp_path}/kvm: Inappropriate ioctl for device"
    assert not kvm.choose(Hypervisor.qemu, "aarch64")


def test_kvm_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "kvm").touch()
    monkeypatch.setattr(kvm, "_DEVICE", str(tmp_path / "kvm"))
    monkeypatch.setattr("fcntl.ioctl", lambda device, request: 12)
    assert kvm.choose(Hypervisor.auto, kvm.host_arch())
    monkeypatch.setattr("fcntl.ioctl", lambda device, request: 13)
    assert kvm.obstacle(kvm.host_arch()) == f"{tmp_path}/kvm: version 13 of the interface"
