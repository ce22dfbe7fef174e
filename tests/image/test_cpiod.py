from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.image.cpio.archives import archive, file, folder
from unikiln.errors import CpioError, HostError, UnikilnError, UploadError, UsageError
from unikiln.image.cpio.deliver import into_folder
from unikiln.image.cpiod import Cpiod, parse_listen

DATA = archive(folder(b"d"), *(file(b"d/%d" % number, bytes([number]) * 700) for number in range(20)))


class Serving:
    """A service in a thread, and what became of it."""

    def __init__(self, service: Cpiod, dest: Path) -> None:
        self.service = service
        self.error: BaseException | None = None
        self.entries = 0
        self._dest = dest
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.entries = self.service.receive(lambda stream: into_folder(stream, self._dest))[0].entries
        except UnikilnError as error:
            self.error = error

    def join(self) -> None:
        self.thread.join(20)
        assert not self.thread.is_alive()


@contextmanager
def serving(dest: Path, timeout: float | None = 20) -> Iterator[Serving]:
    running = Serving(Cpiod(timeout=timeout), dest)
    try:
        yield running
    finally:
        running.service.close()
        running.join()


def send(port: int, data: bytes, end: Callable[[socket.socket], object]) -> bytes:
    """Send ``data``, then ``end`` the connection; what came back before its end."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(data)
        end(connection)
        try:
            return connection.recv(10)
        except OSError:
            return b"reset"


def shut(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_WR)


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def stay(connection: socket.socket) -> None:
    """As ``nc`` does."""


@pytest.mark.parametrize("end", [shut, stay])
@pytest.mark.parametrize("padding", [0, 512, 100_000])
def test_one_archive(tmp_path: Path, end: Callable[[socket.socket], object], padding: int) -> None:
    """The sender sees an end, never a reset, whether it pads the archive or shuts its side down."""
    with serving(tmp_path / "dest") as running:
        assert send(running.service.port, DATA + bytes(padding), end) == b""
        running.join()
    assert running.error is None
    assert running.entries == 21
    assert (tmp_path / "dest/d/7").read_bytes() == b"\7" * 700


@pytest.mark.parametrize("end", [shut, reset])
def test_cut_at_every_thousandth_byte(tmp_path: Path, end: Callable[[socket.socket], object]) -> None:
    for length in range(0, len(DATA) - 4, 1000):
        with serving(tmp_path / "dest") as running:
            send(running.service.port, DATA[:length], end)
            running.join()
        assert isinstance(running.error, CpioError | UploadError), length
        assert not list(tmp_path.iterdir())


def test_a_silent_sender(tmp_path: Path) -> None:
    with (
        serving(tmp_path / "dest", timeout=0.2) as running,
        socket.create_connection(("127.0.0.1", running.service.port)) as connection,
    ):
        connection.sendall(DATA[:1000])
        running.join()
    assert "sent nothing for too long" in str(running.error)
    assert not list(tmp_path.iterdir())


def test_a_second_archive_after_a_broken_one(tmp_path: Path) -> None:
    service = Cpiod(timeout=20)
    for data in (DATA[:5000], DATA):
        running = Serving(service, tmp_path / "dest")
        send(service.port, data, shut)
        running.join()
    service.close()
    assert running.entries == 21


@pytest.mark.parametrize("connected", [False, True])
def test_closed_from_another_thread(tmp_path: Path, connected: bool) -> None:
    with serving(tmp_path / "dest", timeout=None) as running:
        peer = socket.create_connection(("127.0.0.1", running.service.port)) if connected else None
        if peer is not None:
            peer.sendall(DATA[:100])
        running.service.close()
        running.join()
        assert running.error is not None
        if peer is not None:
            peer.close()


def test_a_port_that_is_taken() -> None:
    service = Cpiod()
    with pytest.raises(HostError, match=rf"127.0.0.1:{service.port}: Address already in use \(port 0 is any"):
        Cpiod(port=service.port)
    service.close()


def test_a_port_that_was_just_used(tmp_path: Path) -> None:
    """Connections that ended a moment ago do not keep it."""
    with serving(tmp_path / "a") as running:
        send(running.service.port, DATA, shut)
    again = Cpiod(port=running.service.port)
    again.close()


def test_a_host_that_is_not_there() -> None:
    with pytest.raises(HostError, match=r"no\.such\.host\.invalid:0: "):
        Cpiod("no.such.host.invalid")
    with pytest.raises(HostError, match="Cannot assign requested address"):
        Cpiod("192.0.2.1")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("10000", ("127.0.0.1", 10000)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
        ("[::1]:99", ("::1", 99)),
        (":5", ("127.0.0.1", 5)),
    ],
)
def test_where_to_listen(text: str, meant: tuple[str, int]) -> None:
    assert parse_listen(text) == meant


@pytest.mark.parametrize("text", ["", "host", "host:", "1:70000", "host:ten", "-1", "١"])
def test_what_is_no_port(text: str) -> None:
    with pytest.raises(UsageError, match=r"no \[HOST:\]PORT"):
        parse_listen(text)
