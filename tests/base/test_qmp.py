"""The QMP client against a real QEMU, and against servers that are none."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.qemu import machine
from tests.servers import serve, until_closed
from unikiln.base.qmp import Qmp
from unikiln.errors import GuestGoneError

QEMU = "qemu-system-aarch64"
VERSION = {"qemu": {"micro": 0, "minor": 0, "major": 10}, "package": ""}
GREETING = {"QMP": {"version": VERSION, "capabilities": []}}


def send(connection: socket.socket, message: object) -> None:
    connection.sendall(json.dumps(message).encode() + b"\r\n")


def negotiate(connection: socket.socket) -> None:
    send(connection, GREETING)
    assert json.loads(connection.recv(4096))["execute"] == "qmp_capabilities"
    send(connection, {"return": {}})


@pytest.mark.judge(QEMU)
def test_commands_of_both_monitors(tmp_path: Path) -> None:
    with machine(QEMU, tmp_path, "-M", "none", "-S") as running, Qmp(running.socket) as qmp:
        assert qmp.execute("query-status")["status"] == "prelaunch"
        assert qmp.execute("query-target") == {"arch": "aarch64"}
        assert qmp.execute("qom-get", path="/machine", property="type") == "none-machine"
        assert qmp.human("info status") == "VM status: paused (prelaunch)\n"


@pytest.mark.judge(QEMU)
def test_a_command_that_qemu_refuses(tmp_path: Path) -> None:
    with machine(QEMU, tmp_path, "-M", "none", "-S") as running, Qmp(running.socket) as qmp:
        with pytest.raises(GuestGoneError, match="QEMU refuses no-such: The command no-such has not"):
            qmp.execute("no-such")
        assert qmp.execute("query-name") == {}


@pytest.mark.judge(QEMU)
def test_a_second_client_is_told_why_it_waits(tmp_path: Path) -> None:
    with machine(QEMU, tmp_path, "-M", "none", "-S") as running, Qmp(running.socket):
        begun = time.monotonic()
        with pytest.raises(GuestGoneError, match="is another one connected"):
            Qmp(running.socket, timeout=0.3)
        assert time.monotonic() - begun < 5


@pytest.mark.judge(QEMU)
def test_qemu_that_is_killed(tmp_path: Path) -> None:
    with machine(QEMU, tmp_path, "-M", "none", "-S") as running, Qmp(running.socket) as qmp:
        running.process.kill()
        running.process.wait()
        with pytest.raises(GuestGoneError, match=str(running.socket)):
            qmp.execute("query-status")


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(GuestGoneError, match="nobody: cannot connect: No such file or directory"):
        Qmp(tmp_path / "nobody")
    (tmp_path / "file").touch()
    with pytest.raises(GuestGoneError, match="cannot connect: Connection refused"):
        Qmp(tmp_path / "file")


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(GuestGoneError, match="cannot connect: Permission denied"):
        Qmp(tmp_path / "socket")


def hang_up(connection: socket.socket) -> None:
    """Close at once."""


def talk_http(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    until_closed(connection)


def greet_and_hang_up(connection: socket.socket) -> None:
    send(connection, GREETING)
    connection.recv(4096)


def be_a_guest_agent(connection: socket.socket) -> None:
    send(connection, {"return": {}})
    until_closed(connection)


@pytest.mark.parametrize("talk", [hang_up, talk_http, greet_and_hang_up, be_a_guest_agent])
def test_what_listens_is_no_monitor(tmp_path: Path, talk: Callable[[socket.socket], None]) -> None:
    with serve(tmp_path / "qmp", talk), pytest.raises(GuestGoneError) as caught:
        Qmp(tmp_path / "qmp")
    assert caught.value.message.startswith(f"{tmp_path}/qmp: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("negotiated", [False, True])
def test_a_monitor_that_stops_answering(tmp_path: Path, negotiated: bool) -> None:
    def talk(connection: socket.socket) -> None:
        if negotiated:
            negotiate(connection)
        until_closed(connection)

    begun = time.monotonic()
    with (
        serve(tmp_path / "qmp", talk),
        pytest.raises(GuestGoneError, match=r"did not answer .* within 0\.3 s"),
        Qmp(tmp_path / "qmp", timeout=0.3) as qmp,
    ):
        qmp.execute("query-status")
    assert time.monotonic() - begun < 5


def test_a_monitor_that_dies_while_it_is_asked(tmp_path: Path) -> None:
    def talk(connection: socket.socket) -> None:
        negotiate(connection)
        connection.recv(4096)

    with serve(tmp_path / "qmp", talk), Qmp(tmp_path / "qmp") as qmp:
        with pytest.raises(GuestGoneError, match="QEMU closed the connection"):
            qmp.execute("query-status")
        with pytest.raises(GuestGoneError):
            qmp.execute("query-status")


def test_nothing_but_the_exception_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    test_a_monitor_that_dies_while_it_is_asked(tmp_path)
    assert capfd.readouterr() == ("", "")
