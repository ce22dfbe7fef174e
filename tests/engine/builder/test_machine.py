"""The machine of ours: how it runs, fails, and is ended."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.image.cpio.archives import archive, file
from unikiln.engine.builder import programs
from unikiln.engine.builder.disk import DiskPlan
from unikiln.engine.builder.guest import Ending, command_line
from unikiln.engine.builder.machine import EmbeddedGuest
from unikiln.image.container import open_image
from unikiln.image.opening import only_volume
from unikiln.zfs.pool import open_pool

ORIGINAL = command_line(verbose=False)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    (tmp_path / "disk").touch()
    return tmp_path / "disk"


def run(
    line: str, disk: Path, data: bytes | None = None, epoch: int | None = None
) -> tuple[EmbeddedGuest, Ending, list[str]]:
    """Run ``line`` to its end, and send ``data`` meanwhile."""
    guest = EmbeddedGuest(line, DiskPlan(path=disk, form="raw"), epoch=epoch)
    lines: list[str] = []
    guest.start(lines.append)
    if data is not None:
        with socket.create_connection(("127.0.0.1", guest.port), timeout=20) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)
    ending = guest.wait(20)
    guest.end()
    assert ending is not None
    return guest, ending, lines


def test_the_whole_life(disk: Path) -> None:
    guest, ending, lines = run(ORIGINAL, disk, archive(file(b"/app", b"x" * 5000)), epoch=1_600_000_000)
    assert ending == Ending(0)
    assert lines == ["Running mkfs...", "Waiting for connection from host...", "cpiod finished"]
    assert guest.written is not None
    with closing(open_image(disk)) as device, open_pool(only_volume(device).device) as pool:
        app = pool.filesystem("osv/zfs").path(b"/app")
        assert app.read(0, 9999) == b"x" * 5000
        assert {each.creation for each in pool.datasets()} == {1_600_000_000}


def test_a_line_without_an_upload(disk: Path) -> None:
    """An empty pool is one."""
    guest, ending, _ = run("/zpool.so create osv /dev/vblk0.1; /zfs.so create osv/zfs", disk)
    assert ending.status == 0
    assert guest.written is not None
    with closing(open_image(disk)) as device, open_pool(only_volume(device).device) as pool:
        assert [each.name for each in pool.datasets()] == ["osv", "osv/zfs"]


def test_a_line_without_a_pool(disk: Path) -> None:
    guest, ending, _ = run("", disk)
    assert (ending, guest.written) == (Ending(0), None)
    assert disk.stat().st_size == 0


def test_an_exported_pool_is_written_once(disk: Path) -> None:
    _, ending, _ = run(
        f"{ORIGINAL}; /tools/umount.so /zfs/zfs; /zpool.so export osv", disk, archive(file(b"/a"))
    )
    assert ending == Ending(0)
    _, ending, _ = run("/tools/mkfs.so; /zpool.so export osv; /zfs.so set atime=off osv", disk)
    assert ending == Ending(1, "no pools available")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("/bin/sh", "Failed to load object: /bin/sh"),
        ("/tools/cpiod.so --prefix /zfs/zfs/", "no pools available"),
        ("/tools/mkfs.so; /tools/mkfs.so", "pool already exists"),
        ("/tools/mkfs.so; /tools/cpiod.so --prefix /zfs/zfs/ --port 99", "port 99: only 10000 is forwarded"),
    ],
)
def test_programs_that_fail_end_it(disk: Path, line: str, said: str) -> None:
    guest, ending, _ = run(f"{line}; /zfs.so set compression=off osv", disk)
    assert ending.status == 1
    assert said in ending.reason
    assert guest.written is None
    assert disk.stat().st_size == 0


def test_a_bug_is_an_ending_too(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setitem(programs.PROGRAMS, "/zfs.so", broken)
    _, ending, _ = run("/zfs.so", disk)
    assert ending == Ending(1, "a bug in unikiln: ZeroDivisionError: by nothing")


def test_garbage_on_the_wire(disk: Path) -> None:
    guest, ending, _ = run(ORIGINAL, disk, b"GET / HTTP/1.1\r\n\r\n".ljust(200))
    assert ending.reason == "cpio archive, at its start: no cpio header but b'GET / '"
    assert guest.written is None


@pytest.mark.parametrize("when", ["before", "waiting", "receiving"])
def test_it_can_be_ended_at_any_time(disk: Path, when: str) -> None:
    guest = EmbeddedGuest(ORIGINAL, DiskPlan(path=disk, form="raw"))
    listens = threading.Event()
    peer: socket.socket | None = None
    say: Callable[[str], object] = lambda line: listens.set() if "Waiting" in line else None  # noqa: E731
    if when != "before":
        guest.start(say)
        assert listens.wait(20)
    if when == "receiving":
        peer = socket.create_connection(("127.0.0.1", guest.port), timeout=20)
        peer.sendall(archive(file(b"/f", b"x" * 1000))[:500])
    guest.end()
    if when != "before":
        ending = guest.wait(0)
        assert ending is not None
        assert ending.status == 1
    if peer is not None:
        peer.close()
    assert guest.written is None
    assert not [each for each in threading.enumerate() if each.name == "unikiln-guest"]
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", guest.port), timeout=5)


def test_each_has_a_port_of_its_own(tmp_path: Path) -> None:
    guests = [EmbeddedGuest("", DiskPlan(path=tmp_path / "x", form="raw")) for _ in range(20)]
    assert len({guest.port for guest in guests}) == 20
    for guest in guests:
        guest.end()
