"""Live guests: what is asked of QEMU, and what happens when it does not answer."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from tests.mmu.monitor import Monitor
from tests.qemu import machine
from tests.servers import serve, until_closed
from unikiln.base.gdbremote import GdbRemote
from unikiln.base.qmp import Qmp
from unikiln.errors import GuestGoneError, MmuError
from unikiln.mmu.live import LiveGuest
from unikiln.mmu.live_memory import Range, ram_of
from unikiln.mmu.request import Request
from unikiln.mmu.space import Space
from unikiln.mmu.translation import Translation

ARM, X86 = "qemu-system-aarch64", "qemu-system-x86_64"
RAM = 0x4200_0000
WORD = 0x1122_3344_5566_7788
VIRT = ("-M", "virt", "-cpu", "cortex-a57", "-smp", "2", "-m", "64", "-S")
LOADED = ("-device", f"loader,addr={RAM:#x},data={WORD:#x},data-len=8")


def words(*addresses: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.array(addresses, dtype=np.uint64)


@pytest.mark.judge(ARM)
def test_memory_is_ram_and_no_device(tmp_path: Path) -> None:
    with machine(ARM, tmp_path, *VIRT, *LOADED) as running, LiveGuest(running.socket) as guest:
        assert guest.arch == "aarch64"
        with guest.stopped() as memory:
            assert memory.load(RAM) == WORD
            values, present = memory.gather(
                words(RAM + 8, RAM, 0x900_0000, 0x4400_0000, RAM + (1 << 20), RAM)
            )
            assert present.tolist() == [True, True, False, False, True, True]
            assert values.tolist() == [0, WORD, 0, 0, 0, WORD]
            with pytest.raises(MmuError, match="no RAM at 0x9000000"):
                memory.load(0x900_0000)
        assert memory.load(RAM) == WORD
        with pytest.raises(MmuError, match="0x43000000 was not read while the guest was stopped"):
            memory.load(0x4300_0000)


@pytest.mark.judge(ARM)
def test_memory_is_read_anew_each_time(tmp_path: Path) -> None:
    arguments = (*VIRT, *LOADED, "-qmp", f"unix:{tmp_path / 'other'},server=on,wait=off")
    with machine(ARM, tmp_path, *arguments) as running, LiveGuest(running.socket) as guest:
        with guest.stopped() as memory:
            assert memory.load(RAM) == WORD
        with Qmp(tmp_path / "other") as monitor:
            monitor.execute("system_reset")
            monitor.human(f"pmemsave 0 8 {tmp_path / 'zero'}")
        with guest.stopped() as memory:
            assert memory.load(RAM) == WORD  # the loader writes it again at a reset


@pytest.mark.judge(ARM)
def test_the_mmu_of_a_machine_after_its_reset_is_off(tmp_path: Path) -> None:
    with machine(ARM, tmp_path, *VIRT) as running, LiveGuest(running.socket, vcpu=1) as guest:
        with guest.look() as space:
            result = space.walk(RAM, Request(privileged=True))
        assert isinstance(result, Translation)
        assert result.pa == RAM
        with pytest.raises(MmuError, match=r"SCTLR_EL1\.M is 0"):
            guest.snapshot()
        with guest.look() as space:
            assert space.arch == "aarch64"


@pytest.mark.judge(X86)
def test_a_processor_that_is_not_in_64_bit_mode(tmp_path: Path) -> None:
    with machine(X86, tmp_path, "-M", "q35", "-S") as running, LiveGuest(running.socket) as guest:
        assert guest.arch == "x86_64"
        with pytest.raises(MmuError, match=r"CR0\.PG is 0"):
            guest.snapshot()


@pytest.mark.judge(ARM)
def test_the_stub_that_qemu_was_started_with_is_used_and_stays(tmp_path: Path) -> None:
    stub = tmp_path / "stub"
    with machine(ARM, tmp_path, *VIRT, *LOADED, "-gdb", f"unix:{stub},server=on,wait=off") as running:
        for _ in range(2):
            with LiveGuest(running.socket) as guest, guest.stopped() as memory:
                assert memory.load(RAM) == WORD
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(stub))
            with GdbRemote(connection, "stub") as remote:
                assert remote.request(b"qqemu.PhyMemMode") == b"0"
                with pytest.raises(GuestGoneError, match="a debugger is connected"):
                    LiveGuest(running.socket)


@pytest.mark.judge(ARM)
def test_a_stub_on_tcp(tmp_path: Path) -> None:
    arguments = (*VIRT, *LOADED, "-gdb", "tcp:127.0.0.1:0")
    with (
        machine(ARM, tmp_path, *arguments) as running,
        LiveGuest(running.socket) as guest,
        guest.stopped() as memory,
    ):
        assert memory.load(RAM) == WORD


@pytest.mark.judge(ARM)
def test_no_stub_is_left_behind(tmp_path: Path) -> None:
    with machine(ARM, tmp_path, *VIRT) as running:
        for _ in range(2):
            with LiveGuest(running.socket) as guest, guest.stopped():
                pass
        assert not (tmp_path / "qmp.gdb").exists()
        with Qmp(running.socket) as monitor:
            assert "gdb" not in [device["label"] for device in monitor.execute("query-chardev")]


@pytest.mark.judge(ARM)
def test_a_running_guest_runs_again(tmp_path: Path) -> None:
    arguments = [each for each in VIRT if each != "-S"]
    with machine(ARM, tmp_path, *arguments) as running:
        for _ in range(10):
            with LiveGuest(running.socket) as guest:
                for _ in range(3):
                    with guest.stopped() as memory:
                        memory.load(RAM)
                    assert guest.paused > 0
            with Qmp(running.socket) as monitor:
                assert monitor.execute("query-status")["running"] is True


@pytest.mark.judge(ARM)
def test_a_guest_that_is_killed_while_it_is_looked_at(tmp_path: Path) -> None:
    with (
        machine(ARM, tmp_path, *VIRT) as running,
        pytest.raises(GuestGoneError, match=str(running.socket)),
        LiveGuest(running.socket) as guest,
        guest.stopped() as memory,
    ):
        running.process.kill()
        running.process.wait()
        memory.load(RAM)


@pytest.mark.judge(ARM)
def test_a_processor_that_is_not_there(tmp_path: Path) -> None:
    with machine(ARM, tmp_path, *VIRT) as running, pytest.raises(MmuError, match="no vcpu 7") as caught:
        LiveGuest(running.socket, vcpu=7)
    assert caught.value.hint == "it has 0 to 1"


@pytest.mark.judge(ARM)
def test_a_stub_that_qemu_cannot_start(tmp_path: Path) -> None:
    """A name that leaves no room for another one: paths of sockets have at most 107 bytes."""
    with machine(ARM, tmp_path, *VIRT) as running:
        long = tmp_path / ("x" * (105 - len(f"{tmp_path}/")))
        running.socket.rename(long)
        with pytest.raises(GuestGoneError, match="QEMU starts no gdbstub") as caught:
            LiveGuest(long)
    assert "-gdb" in str(caught.value)


def test_ranges_of_ram() -> None:
    tree = """FlatView #0
 AS "virtio-pci-cfg-mem-as", root: virtio-pci
 Root memory region: virtio-pci
  0000000000000000-0000000000000fff (prio 0, ram): not.this

FlatView #1
 AS "memory", root: system
 AS "cpu-memory-0", root: system
 Root memory region: system
  0000000000000000-0000000003ffffff (prio 0, romd): virt.flash0
  0000000009000000-0000000009000fff (prio 0, i/o): pl011
  0000000040000000-000000004fffffff (prio 0, ram): mach-virt.ram
  0000000050000000-0000000050000fff (prio -1, rom): x KVM
  0000000060000000-0000000060000fff (prio 0, ramd): device

FlatView #2
 AS "I/O", root: io
  0000000000000000-000000000000ffff (prio 0, ram): nor.this
"""
    assert ram_of(tree) == [
        Range(0, 0x3FF_FFFF),
        Range(0x4000_0000, 0x4FFF_FFFF),
        Range(0x5000_0000, 0x5000_0FFF),
    ]
    assert ram_of("") == []


# What follows needs no QEMU: servers stand for it that answer wrongly, or not at all.


class Stub:
    """Answers like a gdbstub whose registers and memory are all zeroes."""

    REGISTERS = (
        "TCR_EL1 TTBR0_EL1 TTBR1_EL1 MAIR_EL1 SCTLR ID_AA64MMFR0_EL1 ID_AA64MMFR1_EL1 ID_AA64MMFR2_EL1"
    )

    def __init__(self, refuses: bytes = b"none", hangs: bool = False) -> None:
        self._refuses, self._hangs = refuses, hangs

    def __call__(self, connection: socket.socket) -> None:
        buffer = b""
        while data := connection.recv(4096):
            buffer += data
            while b"#" in buffer:
                packet, buffer = buffer.split(b"#", 1)
                buffer = buffer[2:]
                request = packet.split(b"$", 1)[1]
                if request.startswith(self._refuses):
                    return until_closed(connection) if self._hangs else None
                connection.sendall(b"+$" + self.answer(request) + b"#00")
        return None

    def answer(self, request: bytes) -> bytes:
        if request.startswith(b"qSupported"):
            return b"PacketSize=1000"
        if request.startswith(b"qXfer"):
            names = "".join(f'<reg name="{name}" bitsize="64"/>' for name in self.REGISTERS.split())
            return b"l" + names.encode()
        if request.startswith(b"m"):
            return b"0" * 2 * int(request.split(b",")[1], 16)
        return b"OK" if request[:1] in b"HQ" else bytes(16).hex().encode()[:16]


def look(folder: Path, monitor: Monitor, *stubs: Callable[[socket.socket], None]) -> Space:
    """Look once, with little patience."""
    with ExitStack() as stack:
        stack.enter_context(serve(folder / "stub", *stubs))
        stack.enter_context(serve(folder / "qmp", monitor))
        with LiveGuest(folder / "qmp", timeout=0.5) as guest, guest.look() as space:
            space.memory.load(0x4000_0000)
        return space


def test_the_servers_of_these_tests_would_do(tmp_path: Path) -> None:
    monitor = Monitor(tmp_path / "stub")
    look(tmp_path, monitor, Stub())
    assert monitor.asked[-1] == "cont"


@pytest.mark.parametrize("hangs", [False, True])
@pytest.mark.parametrize("refuses", [b"Hg", b"qSupported", b"qXfer", b"Q", b"p", b"m"])
def test_a_stub_that_dies_or_hangs_and_the_guest_goes_on(tmp_path: Path, refuses: bytes, hangs: bool) -> None:
    monitor = Monitor(tmp_path / "stub")
    begun = time.monotonic()
    with pytest.raises(GuestGoneError, match=r"qmp .gdbstub unix:.*stub") as caught:
        look(tmp_path, monitor, Stub(refuses, hangs))
    assert time.monotonic() - begun < 6
    assert ("did not answer within 0.5 s" if hangs else "closed the connection") in str(caught.value)
    assert monitor.asked[-1] == "cont"


def test_a_stub_that_nobody_listens_at(tmp_path: Path) -> None:
    monitor = Monitor(tmp_path / "nowhere")
    with pytest.raises(GuestGoneError, match=r"cannot connect: No such file or directory"):
        look(tmp_path, monitor, Stub())
    assert monitor.asked[-1] == "cont"


@pytest.mark.parametrize(
    "command", ["query_target", "query_cpus_fast", "query_chardev", "query_status", "cont"]
)
def test_a_monitor_that_dies(tmp_path: Path, command: str) -> None:
    def die(_: object) -> None:
        raise ConnectionError

    with pytest.raises(GuestGoneError, match="qmp: QEMU closed the connection"):
        look(tmp_path, Monitor(tmp_path / "stub", **{command: die}), Stub())


def test_a_guest_of_another_architecture(tmp_path: Path) -> None:
    monitor = Monitor(tmp_path / "stub", query_target=lambda _: {"arch": "riscv64"})
    with pytest.raises(MmuError, match="a guest of riscv64"):
        look(tmp_path, monitor)


def test_an_aarch64_guest_whose_processor_has_32_bits(tmp_path: Path) -> None:
    class Old(Stub):
        REGISTERS = "r0 cpsr TTBR0"

    with pytest.raises(GuestGoneError, match="no register TCR_EL1"):
        look(tmp_path, Monitor(tmp_path / "stub"), Old())


def test_a_guest_that_was_stopped_is_not_started(tmp_path: Path) -> None:
    monitor = Monitor(tmp_path / "stub")
    monitor.runs = False
    look(tmp_path, monitor, Stub())
    assert "cont" not in monitor.asked
