"""Guests from start to end, under QEMU, with the stand-in kernels."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.qemu import wait_until
from unikiln.engine.qemu import session
from unikiln.engine.qemu.guest import Guest
from unikiln.engine.qemu.options import Bus, Disk, Hypervisor, Network, Options
from unikiln.engine.qemu.outcome import End, Outcome
from unikiln.engine.qemu.plan import Command, plan
from unikiln.errors import HostError

ARM, X86 = "qemu-system-aarch64", "qemu-system-x86_64"
TIMEOUT = 60.0
pytestmark = pytest.mark.judge(ARM)


@pytest.fixture
def options(arm_kernel: Path, tmp_path: Path) -> Options:
    disk = tmp_path / "disk.raw"
    disk.write_bytes(bytes(1 << 20))
    return Options(arch="aarch64", disk=Disk(disk, "raw"), kernel=arm_kernel, memory=128 << 20, cpus=1)


class Run:
    """A run that is over: how it ended, and what was said."""

    def __init__(self, commands: tuple[Command, ...], terms: session.Terms, **more: object) -> None:
        self.console, self.complaints = bytearray(), bytearray()
        self.processes: list[subprocess.Popen[bytes]] = []
        started = more.pop("started", None)

        def keep(guest: Guest) -> None:
            self.processes.append(guest.process)
            if callable(started):
                started(guest)

        self.outcome: Outcome = session.run(
            commands,
            terms,
            say=self.console.extend,
            complain=self.complaints.extend,
            started=keep,
            **more,  # type: ignore[arg-type]
        )
        assert all(process.returncode is not None for process in self.processes)

    @property
    def lines(self) -> list[str]:
        return self.console.decode().replace("\r", "").splitlines()


def run(options: Options, line: str, *, timeout: float = TIMEOUT, **more: object) -> Run:
    commands = plan(replace(options, command_line=line), Hypervisor.qemu)
    return Run(commands, session.Terms(timeout=timeout), **more)


def test_a_good_run_says_what_osv_says(options: Options) -> None:
    done = run(options, "--rootfs=zfs --verbose /hello")
    assert done.lines == [
        "OSv v0.0 (a stand-in)",
        "Cmdline: /hello",
        "Hello from C code",
        "VFS: unmounting /",
        "Powering off.",
    ]
    assert done.outcome == Outcome(End.powered_off, 0)
    assert not done.complaints


@pytest.mark.parametrize(
    ("line", "end", "status", "reason"),
    [
        ("/nothing", End.failed, 1, "Failed to load object: /nothing"),
        ("--verbose /fail", End.failed, 3, "program /fail returned 3"),
        ("--verbose /fail; /hello", End.failed, 3, "program /fail returned 3"),
        ("/reset", End.reset, 1, "the guest reset its machine"),
        ("/abort", End.crashed, 134, "Assertion failed: false (tests/abort.cc: main: 7)"),
        (
            "--power-off-on-abort /abort",
            End.crashed,
            134,
            "Assertion failed: false (tests/abort.cc: main: 7)",
        ),
        ("/fault", End.crashed, 134, "page fault outside application, addr: 0x0000000000000000"),
    ],
)
def test_other_ends(options: Options, line: str, end: End, status: int, reason: str) -> None:
    outcome = run(options, line).outcome
    assert (outcome.end, outcome.status, outcome.reason) == (end, status, reason)
    assert outcome.report.startswith(reason) == (end is End.crashed)


def test_a_guest_that_hangs_is_ended(options: Options) -> None:
    begun = time.monotonic()
    done = run(options, "/hang", timeout=1.0)
    assert done.outcome == Outcome(End.timeout, 124, "the guest did not end within 1 s")
    assert time.monotonic() - begun < 30
    assert "Cmdline: /hang" in done.lines


def test_a_halted_guest_is_left_to_a_debugger(options: Options) -> None:
    commands = plan(replace(options, command_line="/abort"), Hypervisor.qemu)
    done = Run(commands, session.Terms(timeout=4.0, wait_when_halted=True))
    assert done.outcome.end is End.timeout


def test_qemu_that_is_killed(options: Options) -> None:
    done = run(options, "/hang", started=lambda guest: guest.process.kill())
    assert done.outcome.end in (End.died,)
    assert done.outcome.reason == "QEMU died of SIGKILL"


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        (lambda guest: guest.qmp.execute("quit"), "host-qmp-quit"),
        (lambda guest: os.kill(guest.process.pid, signal.SIGTERM), "host-signal"),
    ],
)
def test_an_end_from_outside_is_no_good_end(
    options: Options, how: Callable[[Guest], object], reason: str
) -> None:
    commands = plan(replace(options, command_line="/hang"), Hypervisor.qemu)
    done = Run(commands, session.Terms(timeout=TIMEOUT, paused=True), started=how)
    assert done.outcome.end is End.stopped
    assert reason in done.outcome.reason


def test_words_arrive_as_they_are(options: Options) -> None:
    done = run(options, '/echo one "two three" "a;b" "q\\"q" "back\\\\slash"')
    assert done.lines[2:-1] == ["[one]", "[two three]", "[a;b]", '[q"q]', "[back\\slash]"]


def test_the_machine_that_was_asked_for(options: Options) -> None:
    more = replace(options, memory=192 << 20, cpus=3, bus=Bus.scsi, network=Network(cards=2))
    done = run(more, "/machine")
    assert done.lines[2:4] == ["memory 192 MiB", "processors 3"]
    network, random, scsi = "pci 1af4:1000", "pci 1af4:1005", "pci 1af4:1004"
    assert [line for line in done.lines if "1af4" in line] == [scsi, network, network, random]
    plain = run(replace(options, network=Network(cards=0)), "/machine")
    assert [line for line in plain.lines if "1af4" in line] == ["pci 1af4:1001", random]


def test_keys_reach_the_guest(options: Options) -> None:
    reading, writing = os.pipe()
    data = bytes(range(1, 120)) * 40
    data = data.replace(b"q", b"-") + b"q"
    thread = threading.Thread(target=_write_all, args=(writing, data))
    thread.start()
    done = run(options, "/keys", keys=reading)
    thread.join()
    os.close(reading)
    assert done.outcome.status == 0
    typed = bytes(int(line.removeprefix("key "), 16) for line in done.lines if line.startswith("key "))
    assert typed == data


def _write_all(descriptor: int, data: bytes) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def test_keys_may_be_a_file_or_at_their_end(options: Options, tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(b"abq")
    for path, line in ((tmp_path / "keys", "/keys"), (Path("/dev/null"), "/hello")):
        with path.open("rb") as file:
            done = run(options, line, keys=file.fileno())
        assert done.outcome.status == 0


def test_a_free_port_is_qemus_own(options: Options) -> None:
    ports: list[int] = []
    rules = ("tcp:127.0.0.1:0-:10000", "tcp:127.0.0.1:0-:8000", "udp:127.0.0.1:0-:53")

    def look(guest: Guest) -> None:
        forwards = guest.forwards()
        assert [(each.protocol, each.inside) for each in sorted(forwards, key=lambda each: each.inside)] == [
            ("udp", 53),
            ("tcp", 8000),
            ("tcp", 10000),
        ]
        ports.append(guest.forwarded_port(10000))
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", ports[0]))
        with pytest.raises(HostError, match="no port of this host leads to the guest's port 9"):
            guest.forwarded_port(9)

    done = run(replace(options, network=Network(forward=rules)), "/hello", started=look)
    assert done.outcome.status == 0
    assert ports[0] > 0


def test_a_port_that_is_taken(options: Options) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        taken = replace(options, network=Network(forward=(f"tcp:127.0.0.1:{port}-:80",)))
        with pytest.raises(HostError, match="Could not set up host forwarding"):
            run(taken, "/hello")


def test_an_image_that_is_in_use(options: Options) -> None:
    (command,) = plan(replace(options, command_line="/hello"), Hypervisor.qemu)
    with Guest(command) as first, pytest.raises(HostError, match=r"Failed to get .write. lock \(Is another"):
        Guest(command)
    assert first.process.returncode is not None


def test_what_qemu_refuses_is_told_in_its_words(options: Options) -> None:
    with pytest.raises(HostError, match=r"'no-such-device' is not a valid device model name"):
        run(replace(options, extra=("-device", "no-such-device")), "/hello")
    with pytest.raises(HostError, match="/no-such-image"):
        run(replace(options, disk=Disk(Path("/no-such-image"), "raw")), "/hello")


def test_kvm_that_does_not_work_is_done_without(options: Options) -> None:
    """The first command fails as one with a KVM that lacks something does; the second one runs."""
    (good,) = plan(replace(options, command_line="/hello"), Hypervisor.qemu)
    bad = (*good, "-object", "no-such-accelerator")
    done = Run((bad, good), session.Terms(timeout=TIMEOUT))
    assert done.outcome.status == 0
    assert done.complaints.startswith(
        b"unikiln: KVM does not work here, QEMU translates instead: qemu-system-"
    )
    with pytest.raises(HostError, match="no-such-accelerator"):
        Run((bad, bad), session.Terms(timeout=TIMEOUT))


@pytest.mark.judge(X86, "x86_64-linux-gnu-gcc")
def test_x86_64(x86_kernel: Path, options: Options) -> None:
    machine = replace(options, arch="x86_64", kernel=x86_kernel)
    done = run(machine, '--verbose /echo "a b"; /machine')
    assert done.outcome.status == 0, done.outcome
    assert done.lines[2] == "[a b]"
    assert [line for line in done.lines if "1af4" in line] == [
        "pci 1af4:1001",
        "pci 1af4:1000",
        "pci 1af4:1005",
    ]
    assert run(machine, "/abort").outcome.end is End.crashed
    nvme = run(replace(machine, bus=Bus.nvme, network=Network(vmxnet3=True)), "/machine")
    assert {"pci 1b36:0010", "pci 15ad:07b0"} <= set(nvme.lines)


@pytest.mark.judge(X86, "x86_64-linux-gnu-gcc")
def test_auto_runs_whatever_the_host_has(x86_kernel: Path, options: Options) -> None:
    commands = plan(
        replace(options, arch="x86_64", kernel=x86_kernel, command_line="/hello"), Hypervisor.auto
    )
    assert Run(commands, session.Terms(timeout=TIMEOUT)).outcome == Outcome(End.powered_off, 0)


def test_no_qemu_survives_us(options: Options, tmp_path: Path) -> None:
    """Not even if we are killed and can do nothing about it."""
    (command,) = plan(replace(options, command_line="/hang"), Hypervisor.qemu)
    code = textwrap.dedent("""
        import sys, time
        from unikiln.engine.qemu.guest import Guest
        guest = Guest(sys.argv[1:])
        guest.go()
        print(guest.process.pid, flush=True)
        time.sleep(100)
    """)
    ours = subprocess.Popen([sys.executable, "-c", code, *command], stdout=subprocess.PIPE)
    assert ours.stdout is not None
    qemu = int(ours.stdout.readline())
    assert Path(f"/proc/{qemu}/exe").resolve().name.startswith("qemu-system")
    ours.kill()
    ours.communicate()
    wait_until(lambda: _is_gone(qemu), "QEMU is gone")


def _is_gone(pid: int) -> bool:
    """Whether no such process runs; as a zombie it may wait for whoever reaps orphans here."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_what_ends_before_it_has_a_monitor(tmp_path: Path) -> None:
    odd = tmp_path / "odd"
    odd.write_text("#!/bin/sh\ntrap '' TERM\necho a last word >&2\n")
    odd.chmod(0o755)
    with pytest.raises(HostError, match=r"^a last word$"):
        Guest([str(odd)])
    odd.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(HostError, match="odd exited 3 before the guest started"):
        Guest([str(odd)])
    with pytest.raises(HostError, match="No such file"):
        Guest([str(tmp_path / "none")])
