"""What boots, with which command line; and what the host gives to it."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from tests import judges
from tests.osv_like.kernel import build_boot_disk
from unikiln.base.device import FileDevice
from unikiln.engine.qemu import boot, host, overlay, session
from unikiln.engine.qemu.boot import Stored
from unikiln.engine.qemu.options import Disk, Hypervisor, Options
from unikiln.engine.qemu.osvline import LoaderOptions
from unikiln.engine.qemu.plan import plan
from unikiln.errors import HostError, ImageError, UsageError
from unikiln.image import mbr
from unikiln.image.container import create_image, open_image
from unikiln.image.disk import get_args
from unikiln.image.mbr import write_disk

COMPILER, X86 = "x86_64-linux-gnu-gcc", "qemu-system-x86_64"
NONE = LoaderOptions()


def elf(machine: int) -> bytes:
    return b"\x7fELF" + bytes(14) + struct.pack("<H", machine) + bytes(500)


@pytest.mark.parametrize(
    ("start", "arch"),
    [
        (elf(62), "x86_64"),
        (elf(3), "x86_64"),
        (elf(183), "aarch64"),
        (elf(243), None),
        (bytes(56) + b"ARM\x64" + bytes(500), "aarch64"),
        (bytes(510) + b"\x55\xaa", "x86_64"),
        (bytes(600), None),
        (b"", None),
    ],
)
def test_kernels_tell_what_they_are_for(tmp_path: Path, start: bytes, arch: str | None) -> None:
    kernel = tmp_path / "kernel"
    kernel.write_bytes(start)
    assert boot.arch_of_kernel(kernel) == arch
    assert boot.choose_arch("aarch64" if arch is None else None, kernel, Stored(False, None)) == (
        arch or "aarch64"
    )


def test_the_architecture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = tmp_path / "kernel"
    kernel.write_bytes(elf(183))
    with pytest.raises(UsageError, match="is for aarch64, not for x86_64"):
        boot.choose_arch("x86_64", kernel, Stored(False, None))
    assert boot.choose_arch(None, None, Stored(True, None)) == "x86_64"
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert boot.choose_arch(None, None, Stored(False, None)) == "aarch64"
    with pytest.raises(HostError, match="No such file"):
        boot.arch_of_kernel(tmp_path / "none")


def test_the_kernel_that_osv_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"no kernel: build/debug/loader.img is not there \(name one"):
        boot.built_kernel("aarch64", "debug")
    (tmp_path / "build/last").mkdir(parents=True)
    (tmp_path / "build/last/loader-stripped.elf").touch()
    assert boot.built_kernel("x86_64", "last") == Path("build/last/loader-stripped.elf")


@pytest.mark.parametrize(
    ("stored", "execute", "program", "expected"),
    [
        ("--rootfs=rofs --nopci /a; /b", None, ["/c", "d e"], '--rootfs=rofs --nopci /c "d e"'),
        ("--rootfs=rofs /a", None, [], "--rootfs=rofs /a"),
        ("--rootfs=rofs /a", "/x --y", [], "/x --y"),
        ("/a", None, ["/c"], "--rootfs=zfs /c"),
        (None, None, ["/c"], "--rootfs=zfs /c"),
        (None, "", [], ""),
    ],
)
def test_command_lines(
    tmp_path: Path, stored: str | None, execute: str | None, program: list[str], expected: str
) -> None:
    image = tmp_path / "disk.raw"
    image.write_bytes(bytes(1 << 20))
    assert boot.command_line(Stored(False, stored), image, execute, program, NONE) == expected


def test_command_lines_that_say_nothing_or_too_much(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no program to run"):
        boot.command_line(Stored(False, None), tmp_path, None, [], NONE)
    with pytest.raises(UsageError, match="given twice"):
        boot.command_line(Stored(False, "/a"), tmp_path, "/b", ["/c"], NONE)


def disk_with_cmdline(path: Path, form: str, size: int) -> Disk:
    path.touch()
    device = create_image(path, form)
    device.truncate(size)
    write_disk(device, 1 << 20, size - (1 << 20), "--rootfs=zfs /stored")
    device.write_at(40 << 10, b"behind the command line")
    device.write_at(size - 512, b"at the end")
    device.flush()
    device.close()
    return host.disk(path)


@pytest.mark.judge("qemu-img")
@pytest.mark.parametrize("form", ["raw", "qcow2"])
@pytest.mark.parametrize("size", [2 << 20, (1 << 29) + 512, 3 << 30])
def test_an_overlay_is_the_disk_with_another_command_line(tmp_path: Path, form: str, size: int) -> None:
    below = disk_with_cmdline(tmp_path / "a,disk", form, size)
    before = below.path.read_bytes() if size < 1 << 24 else b""
    line = "--rootfs=zfs " + "x" * 20_000
    made = overlay.make(tmp_path / "overlay", below, line)
    judges.run("qemu-img", "check", "-f", "qcow2", made.path)
    assert judges.run("qemu-img", "compare", made.path, below.path, check=False).returncode == 1
    disk = open_image(made.path)
    assert get_args(disk) == line
    assert disk.size == size
    disk.close()
    plain = tmp_path / "plain"
    judges.run("qemu-img", "convert", "-O", "raw", below.path, plain)
    with FileDevice(plain, writable=True) as device:
        device.write_at(512, mbr.encode_cmdline(line))
    assert "identical" in judges.run("qemu-img", "compare", "-F", "raw", made.path, plain).stdout
    assert not before or below.path.read_bytes() == before


def test_a_disk_without_room_for_a_command_line(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    with FileDevice(path := _empty(path), writable=True) as device:
        write_disk(device, 512, (1 << 20) - 512, None)
        device.write_at(512, b"a file system, from its first byte on\0\1")
    with pytest.raises(ImageError, match="no room for a command line"):
        overlay.make(tmp_path / "overlay", Disk(path, "raw"), "/hello")


def _empty(path: Path) -> Path:
    path.write_bytes(bytes(1 << 20))
    return path


@pytest.mark.judge(COMPILER, X86)
def test_a_disk_boots_with_the_command_line_in_it(tmp_path: Path) -> None:
    image = tmp_path / "disk"
    build_boot_disk(image)
    stored = boot.look(image)
    assert stored.boots
    for snapshot, line in ((False, "--verbose /first"), (True, "/second"), (False, "/third")):
        said = bytearray()
        with boot.stored_in_disk(host.disk(image), line, snapshot=snapshot) as disk:
            options = Options(arch="x86_64", disk=disk, memory=64 << 20, cpus=1, snapshot=snapshot)
            commands = plan(options, Hypervisor.qemu)
            outcome = session.run(
                commands, session.Terms(timeout=60), say=said.extend, complain=lambda data: None
            )
        assert outcome.status == 0
        assert said.decode().splitlines()[1] == f"Cmdline: {line}"
        with FileDevice(image) as after:
            assert (get_args(after) == line) != snapshot
        assert not snapshot or not disk.path.exists()


def test_what_would_be_done_is_told(tmp_path: Path) -> None:
    told: list[list[str]] = []
    disk = Disk(tmp_path / "none", "raw")
    with boot.stored_in_disk(disk, "/a b", snapshot=False, instead=told.append) as same:
        assert same is disk
    with host.virtiofsd(tmp_path, told.append) as socket:
        pass
    assert told == [
        ["unikiln", "disk", "setargs", str(disk.path), "/a b"],
        ["virtiofsd", f"--socket-path={socket}", "-o", f"source={tmp_path}"],
    ]


def test_images_of_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, other = tmp_path / "raw.qcow2", tmp_path / "other.raw"
    raw.write_bytes(bytes(1024))
    other.write_bytes(b"QFI\xfb" + bytes(1024))
    assert (host.disk(raw).form, host.disk(other).form) == ("raw", "qcow2")
    monkeypatch.chdir(tmp_path)
    assert host.disk(Path("raw.qcow2")).path == raw
    with pytest.raises(HostError, match="No such file"):
        host.disk(tmp_path / "none")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(HostError, match=r"cannot be written \(--snapshot"):
        host.disk(raw)
    assert host.disk(raw, writable=False).form == "raw"


def fake_virtiofsd(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "virtiofsd"
    program.write_text(f"#!/usr/bin/env python3\nimport os, socket, sys, time\n{body}")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


LISTEN = """
path = sys.argv[1].removeprefix("--socket-path=")
assert sys.argv[2:] == ["-o", "source=" + os.environ["EXPECTED"]]
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
open(os.environ["EXPECTED"] + "/pid", "w").write(str(os.getpid()))
time.sleep(100)
"""


def test_virtiofsd_lives_as_long_as_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_virtiofsd(tmp_path, LISTEN, monkeypatch)
    monkeypatch.setenv("EXPECTED", str(tmp_path))
    with host.virtiofsd(tmp_path) as socket:
        assert socket.parent.stat().st_mode & 0o077 == 0
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            pass
        pid = int((tmp_path / "pid").read_text())
        os.kill(pid, 0)
    assert not socket.parent.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_virtiofsd_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HostError, match="is no directory"), host.virtiofsd(tmp_path / "none"):
        pass
    fake_virtiofsd(tmp_path, "sys.exit('not today')", monkeypatch)
    with pytest.raises(HostError, match="virtiofsd exited 1: not today"), host.virtiofsd(tmp_path):
        pass
    monkeypatch.setattr(host, "_VIRTIOFSD_SECONDS", 0.3)
    fake_virtiofsd(tmp_path, "time.sleep(100)", monkeypatch)
    with pytest.raises(HostError, match="does not listen"), host.virtiofsd(tmp_path):
        pass
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setattr(host, "_FOLDERS", ())
    with pytest.raises(HostError, match=r"not installed .*package virtiofsd"), host.virtiofsd(tmp_path):
        pass
    with pytest.raises(HostError, match=r"not installed .*package qemu-system-common"):
        host.bridge_helper()


def test_addresses_of_a_tap_interface(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ip = tmp_path / "ip"
    ip.write_text('#!/bin/sh\necho "$@" >"$0.args"\necho "5: tap0    inet 172.18.0.1/30 scope global tap0"\n')
    ip.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert [str(each) for each in host.tap_addresses("tap0")] == ["172.18.0.1", "172.18.0.2"]
    assert (tmp_path / "ip.args").read_text() == "-4 -oneline address show dev tap0\n"
    ip.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(UsageError, match="no tap interface tap0 with an address"):
        host.tap_addresses("tap0")
    with pytest.raises(UsageError, match="is no name of an interface"):
        host.tap_addresses("../tap")
