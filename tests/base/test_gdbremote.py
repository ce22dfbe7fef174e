"""The client of QEMU's gdbstub, against a machine that never ran, and against servers that are none."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.qemu import listens, machine, wait_until
from tests.servers import serve, until_closed
from unikiln.base.gdbremote import GdbRemote, Piece
from unikiln.base.qmp import Qmp
from unikiln.errors import GuestGoneError

ARM, X86 = "qemu-system-aarch64", "qemu-system-x86_64"
RAM = 0x42000000
"""QEMU puts a device tree at the very beginning."""
WORD = 0x1122_3344_5566_7788
VIRT = ("-M", "virt", "-cpu", "cortex-a57", "-smp", "2", "-m", "64", "-S")
LOADED = ("-device", f"loader,addr={RAM + 4096:#x},data={WORD:#x},data-len=8")


def connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(path))
    return connection


@contextmanager
def stub(program: str, folder: Path, *arguments: str) -> Iterator[GdbRemote]:
    place = folder / "stub"
    with machine(program, folder, "-gdb", f"unix:{place},server=on,wait=off", *arguments):
        wait_until(lambda: listens(place), "the gdbstub listens")
        with GdbRemote(connect(place), "stub") as remote:
            yield remote


@pytest.mark.judge(ARM)
def test_registers_of_aarch64_by_name(tmp_path: Path) -> None:
    with stub(ARM, tmp_path, *VIRT, *LOADED) as remote:
        remote.select(0)
        assert remote.read_register("pc") == 0
        assert remote.registers["x0"].number == 0
        assert remote.registers["cpsr"].bits == 32
        assert remote.read_register("ID_AA64MMFR0_EL1") == 0x1124
        assert remote.read_register("TTBR0_EL1") == 0
        with pytest.raises(GuestGoneError, match="no register cr3"):
            remote.read_register("cr3")


@pytest.mark.judge(X86)
def test_registers_of_x86_64_by_name(tmp_path: Path) -> None:
    with stub(X86, tmp_path, "-M", "q35", "-S") as remote:
        remote.select(0)
        assert remote.read_register("cr0") == 0x6000_0010  # after reset: CD, NW, ET (Intel SDM vol. 3, 9.1)
        assert remote.read_register("rip") == 0xFFF0
        assert remote.registers["efer"].bits == 64


@pytest.mark.judge(ARM)
def test_physical_memory(tmp_path: Path) -> None:
    with stub(ARM, tmp_path, *VIRT, *LOADED) as remote:
        remote.physical(True)
        assert remote.read_many([Piece(RAM + 4096, 8)]) == [WORD.to_bytes(8, "little")]
        size = remote.largest_read
        assert size == 2048
        pieces = [Piece(RAM + 2048 * index, size) for index in range(200)]
        content = b"".join(remote.read_many(pieces))
        assert len(content) == 200 * 2048
        assert content[4096:4104] == WORD.to_bytes(8, "little")
        with pytest.raises(GuestGoneError, match="does not give memory at 0x42000000"):
            remote.read_many([Piece(RAM, size + 1)])
        remote.physical(False)


@pytest.mark.judge(ARM)
def test_two_processors(tmp_path: Path) -> None:
    with stub(ARM, tmp_path, *VIRT, "-device", f"loader,addr={RAM:#x},cpu-num=1") as remote:
        remote.select(1)
        assert remote.read_register("pc") == RAM
        remote.select(0)
        assert remote.read_register("pc") == 0
        with pytest.raises(GuestGoneError, match="no vcpu 2"):
            remote.select(2)


@pytest.mark.judge(ARM)
def test_a_reply_that_an_interrupt_left_is_not_taken_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stub(ARM, tmp_path, *VIRT, *LOADED) as remote:
        remote.physical(True)
        pieces = [Piece(RAM, 1024)] * 20

        def interrupt() -> bytes:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(remote, "_receive_some", interrupt)
            remote.read_many(pieces)
        assert remote.read_many([Piece(RAM + 4096, 8)]) == [WORD.to_bytes(8, "little")]


@pytest.mark.judge(ARM)
def test_talking_to_a_stopped_guest_leaves_no_byte_that_stops_it_again(tmp_path: Path) -> None:
    """An acknowledgement that came after ``cont`` would stop the guest for good."""
    place = tmp_path / "stub"
    arguments = ("-gdb", f"unix:{place},server=on,wait=off", *VIRT, *LOADED)
    with machine(ARM, tmp_path, *arguments) as running, Qmp(running.socket) as qmp:
        for _ in range(50):
            with GdbRemote(connect(place), "stub") as remote:
                remote.select(0)
                assert qmp.execute("query-status")["running"] is False
                qmp.execute("cont")
            assert qmp.execute("query-status")["running"] is True


def reply_with(*replies: bytes) -> Callable[[socket.socket], None]:
    def talk(connection: socket.socket) -> None:
        for reply in replies:
            connection.recv(4096)
            connection.sendall(reply)
        until_closed(connection)

    return talk


def hang_up(connection: socket.socket) -> None:
    connection.recv(4096)


def endless(connection: socket.socket) -> None:
    connection.recv(4096)
    while True:
        connection.sendall(bytes(1 << 16))


@pytest.mark.parametrize(
    ("talk", "message"),
    [
        (reply_with(), "did not answer within 0.5 s"),
        (reply_with(b"+"), "did not answer within 0.5 s"),
        (reply_with(b"$PacketSi"), "did not answer within 0.5 s"),
        (hang_up, "the gdbstub closed the connection"),
        (endless, "no gdbstub"),
        (reply_with(b"SSH-2.0-OpenSSH_9.2#xx"), "no gdbstub"),
        (reply_with(b"$OK#9a"), "no gdbstub"),
        (reply_with(b"$PacketSize=1000#00", b"$#00"), "does not describe its target"),
        (reply_with(b"$PacketSize=1000#00", b"$m#00"), "does not describe its target"),
        (reply_with(b"$PacketSize=1000#00", b'$l<reg name="pc" bitsize="64"/>#00', b"$zz#00"), "register pc"),
        (
            reply_with(b"$PacketSize=1000#00", b'$l<reg name="pc" bitsize="64"/>#00', b"$0011#00"),
            "register pc",
        ),
        (reply_with(b"$PacketSize=1000#00", b"$l<target/>#00"), "no register pc"),
    ],
)
def test_what_answers_is_no_gdbstub(
    tmp_path: Path, talk: Callable[[socket.socket], None], message: str
) -> None:
    begun = time.monotonic()
    with serve(tmp_path / "stub", talk), GdbRemote(connect(tmp_path / "stub"), "STUB", 0.5) as remote:
        with pytest.raises(GuestGoneError) as caught:
            remote.read_register("pc")
        assert message in str(caught.value)
        assert str(caught.value).startswith("STUB: ")
    assert time.monotonic() - begun < 5


def test_escaped_bytes_and_included_files_of_the_description(tmp_path: Path) -> None:
    talk = reply_with(
        b"$PacketSize=1000#00",
        b'+$l<target><xi:include href="a.xml"/><xi:include href="b.xml"/></target>#00',
        b'+$m<reg name="r0" bitsize="32"/>#00',
        b'+$l<reg name="r1" bitsize="8"/><!-- }\x03 <reg name="no"/> -->#00',
        b'+$l<reg name="s" bitsize="16" regnum="9"/><reg name="t" type="int"/>#00',
    )
    with serve(tmp_path / "stub", talk), GdbRemote(connect(tmp_path / "stub"), "stub") as remote:
        assert remote.registers == {"r0": (0, 32), "r1": (1, 8), "s": (9, 16), "t": (10, 64)}
