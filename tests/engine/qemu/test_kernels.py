"""Kernels that nobody here wrote: Debian's Linux, and OSv's where ``UNIKILN_OSV_KERNEL`` names one."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests import judges
from tests.guest_linux.initramfs import initramfs
from unikiln.cli.main import main
from unikiln.engine.qemu import host, session
from unikiln.engine.qemu.options import Hypervisor, Network, Options
from unikiln.engine.qemu.outcome import End, Outcome
from unikiln.engine.qemu.plan import plan

OSV_KERNEL = os.environ.get("UNIKILN_OSV_KERNEL")
HELLO = """int puts(const char *text);
int main(void) { puts("Hello from C code"); return 0; }
"""
"""A shared object is a program to OSv, which has the C library in its kernel."""

QEMU, LINUX, BUSYBOX = "qemu-system-aarch64", "linux-arm64", "busybox-arm64"
INIT = """#!/busybox sh
/busybox mkdir /proc /sys
/busybox mount -t proc proc /proc
/busybox mount -t sysfs sys /sys
echo "memory $(/busybox grep MemTotal /proc/meminfo)"
echo "processors $(/busybox grep -c ^processor /proc/cpuinfo)"
for each in /sys/bus/pci/devices/*; do
    echo "pci $(/busybox cat $each/vendor) $(/busybox cat $each/device)"
done
{end}
"""


def linux(folder: Path, end: str) -> Options:
    """Debian's kernel, which says what it finds, and then does ``end``."""
    kernel, busybox = judges.find(LINUX), judges.find(BUSYBOX)
    assert kernel is not None and busybox is not None
    programs = {"busybox": busybox.read_bytes(), "init": INIT.format(end=end).encode()}
    (folder / "initramfs").write_bytes(initramfs(programs))
    (folder / "disk").write_bytes(bytes(3 << 20))
    return Options(
        arch="aarch64",
        disk=host.disk(folder / "disk"),
        kernel=kernel,
        command_line="console=ttyAMA0 quiet",
        memory=256 << 20,
        cpus=2,
        extra=("-initrd", str(folder / "initramfs")),
    )


def run(options: Options) -> tuple[Outcome, str]:
    said = bytearray()
    commands = plan(options, Hypervisor.qemu)
    terms = session.Terms(timeout=180)
    outcome = session.run(commands, terms, say=said.extend, complain=lambda data: None)
    return outcome, said.decode(errors="replace").replace("\r", "")


@pytest.mark.judge(QEMU, LINUX, BUSYBOX)
def test_linux_finds_the_machine_and_powers_off(tmp_path: Path) -> None:
    options = linux(tmp_path, "/busybox poweroff -f")
    outcome, said = run(replace(options, network=Network(mac="52:54:00:ab:cd:ef")))
    assert outcome == Outcome(End.powered_off, 0), said
    assert "processors 2\n" in said
    memory = re.search(r"memory MemTotal: +(\d+) kB", said)
    assert memory is not None and 200 << 10 < int(memory[1]) <= 256 << 10
    devices = [line for line in said.splitlines() if line.startswith("pci 0x1af4")]
    assert devices == ["pci 0x1af4 0x1001", "pci 0x1af4 0x1000", "pci 0x1af4 0x1005"]


@pytest.mark.judge(QEMU, LINUX, BUSYBOX)
@pytest.mark.parametrize(
    ("end", "expected", "reason"),
    [
        ("/busybox reboot -f", End.reset, "the guest reset its machine"),
        ("exit 7", End.crashed, "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000700"),
    ],
)
def test_linux_that_does_not_power_off(tmp_path: Path, end: str, expected: End, reason: str) -> None:
    outcome, said = run(linux(tmp_path, end))
    assert (outcome.end, outcome.reason) == (expected, reason), said


@pytest.mark.skipif(OSV_KERNEL is None, reason="UNIKILN_OSV_KERNEL names no kernel of OSv's")
@pytest.mark.judge(QEMU, "aarch64-linux-gnu-gcc")
def test_osv_boots_to_its_program(tmp_path: Path) -> None:
    """The profile ``osv`` is what OSv mounts, and the console is that of a good boot."""
    assert OSV_KERNEL is not None
    (tmp_path / "tree").mkdir()
    (tmp_path / "hello.c").write_text(HELLO)
    shared = ("-shared", "-fPIC", "-nostdlib", "-o", tmp_path / "tree/hello")
    judges.run("aarch64-linux-gnu-gcc", *shared, tmp_path / "hello.c")
    disk = tmp_path / "disk.qcow2"
    made = ["build", str(tmp_path / "tree"), "-o", str(disk), "--arch", "aarch64", "--profile", "osv", "-q"]
    assert main(made) == 0
    done = _osv(disk, "/hello")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert lines[0].startswith("OSv v")
    expected = [
        "zfs: driver has been initialized!",
        "VFS: mounting zfs at /zfs",
        "zfs: mounting osv/zfs from device /dev/vblk0.1",
        "Cmdline: /hello",
        "Hello from C code",
        "VFS: unmounting /",
        "Powering off.",
    ]
    assert [line for line in lines if line in expected] == expected
    missing = _osv(disk, "/nothing")
    assert missing.returncode == 1
    assert "unikiln: Failed to load object: /nothing" in missing.stderr


def _osv(disk: Path, program: str) -> subprocess.CompletedProcess[str]:
    assert OSV_KERNEL is not None
    command = ["unikiln", "run", "--engine", "qemu", "--kernel", OSV_KERNEL, "--nics", "0", "-m", "512M"]
    command += ["-c", "1", "-V", "--timeout", "60", "--snapshot", "--hypervisor", "qemu", str(disk)]
    return subprocess.run(
        [*command, "--", program], capture_output=True, text=True, errors="replace", check=False
    )
