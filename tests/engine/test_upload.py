"""Uploads that work; wires, guests, files and disks that do not: never half an image, never a guest left."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import judges
from tests.engine.standin import StandIn
from tests.engine.wire import Wire
from unikiln.base.tree import Node
from unikiln.engine import upload as module
from unikiln.engine.builder.choice import Choice, guest_for
from unikiln.engine.builder.disk import DiskPlan
from unikiln.engine.builder.guest import BuilderGuest, command_line
from unikiln.engine.builder.machine import EmbeddedGuest
from unikiln.engine.upload import Patience, Uploaded, check_arrival, send, upload
from unikiln.errors import CpioError, HostError, NoSpaceError, UnikilnError, UploadError
from unikiln.image.build import BuildOptions, build
from unikiln.image.compare import Difference, compare, of_filesystem, of_tree
from unikiln.image.container import open_image
from unikiln.image.directory import scan
from unikiln.image.opening import only_volume
from unikiln.image.sources import SourceOptions
from unikiln.zfs.pool import open_pool

PATIENCE = Patience(start=20, stall=20, finish=60, settle=5)
MIB = 1 << 20

Make = Callable[[Path], BuilderGuest]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "usr/lib").mkdir(parents=True)
    for number in range(12):
        (folder / f"usr/lib/{number}").write_bytes(bytes([number]) * 2000)
    (folder / "usr/lib/suid").write_bytes(b"#!")
    (folder / "usr/lib/suid").chmod(0o4755)
    (folder / "again").hardlink_to(folder / "usr/lib/3")
    (folder / "lib").symlink_to("/usr/lib")
    os.mkfifo(folder / "pipe")
    if os.geteuid() == 0:
        os.chown(folder / "usr/lib/5", 55, 66)
    return folder


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def embedded(path: Path) -> BuilderGuest:
    return EmbeddedGuest(command_line(verbose=False), DiskPlan(path=path, form="raw"))


def standin(path: Path) -> BuilderGuest:
    return StandIn(path)


def fill(tree: Node, image: Path, make: Make, patience: Patience = PATIENCE) -> Uploaded:
    return upload(tree, image, make, say=lambda line: None, patience=patience)


def differences(tree: Node, image: Path, *ignore: str) -> list[Difference]:
    disk = open_image(image)
    with open_pool(only_volume(disk).device) as pool:
        found = list(compare(of_tree(tree), of_filesystem(pool.filesystem("osv/zfs")), frozenset(ignore)))
    disk.close()
    return found


def fails(
    source: Path,
    make: Make,
    match: str | None = None,
    patience: Patience = PATIENCE,
    error: type[UnikilnError] = UploadError,
) -> None:
    """The upload fails in one line, and the folder is as it was: no image, no leftovers."""
    image = source.parent / "disk.raw"
    with pytest.raises(error, match=match) as caught:
        fill(scan(source), image, make, patience)
    assert caught.value.exit_status == 1
    assert "\n" not in str(caught.value)
    assert [each.name for each in source.parent.iterdir()] == ["source"]


def test_embedded(source: Path, tmp_path: Path) -> None:
    tree = scan(source)
    done = fill(tree, tmp_path / "disk.raw", embedded)
    assert (done.entries, done.files) == (19, 13)
    assert not differences(tree, tmp_path / "disk.raw", "mtime")


def test_standin(source: Path, tmp_path: Path) -> None:
    """What the original's service keeps: names, types, permissions, content."""
    tree = scan(source)
    done = fill(tree, tmp_path / "disk.raw", standin)
    assert done.entries == 19
    found = differences(tree, tmp_path / "disk.raw", "mtime", "uid", "gid", "links")
    assert [str(each) for each in found] == ["- /pipe", "! /usr/lib/suid: mode 4755, 0755"]


def test_the_console_is_heard(source: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    make = lambda path: EmbeddedGuest(command_line(verbose=True), DiskPlan(path=path, form="raw"))  # noqa: E731
    upload(scan(source), tmp_path / "disk.raw", make, say=lines.append, patience=PATIENCE)
    assert lines[:2] == ["Running mkfs...", "Waiting for connection from host..."]
    assert "Adding /usr/lib/suid..." in lines
    assert lines[-1] == "cpiod finished"


@pytest.mark.judge("zdb")
def test_zdb_judges_what_was_uploaded(source: Path, tmp_path: Path) -> None:
    fill(scan(source), tmp_path / "disk.raw", embedded)
    pool = tmp_path / "pool"
    pool.write_bytes((tmp_path / "disk.raw").read_bytes()[512:])
    assert "No leaks" in judges.run("zdb", "-e", "-p", str(tmp_path), "-bcc", "osv").stdout
    config = judges.run("zdb", "-l", str(pool)).stdout
    assert "name: 'osv'" in config
    assert "ashift: 9" in config


def test_the_pool_is_as_mkfs_and_zfs_leave_it(source: Path, tmp_path: Path) -> None:
    fill(scan(source), tmp_path / "disk.raw", embedded)
    disk = open_image(tmp_path / "disk.raw")
    with open_pool(only_volume(disk).device) as pool:
        found = {each.name: {k: v for k, (v, _) in each.properties.items()} for each in pool.datasets()}
    disk.close()
    assert found["osv"]["compression"] == "off"
    assert found["osv"]["canmount"] == found["osv/zfs"]["canmount"] == "noauto"
    assert found["osv/zfs"]["relatime"] == "on"


def test_a_disk_that_is_there_keeps_all_but_the_pool(source: Path, tmp_path: Path) -> None:
    image = tmp_path / "disk.raw"
    options = BuildOptions(
        sources=SourceOptions.of(source), output=image, arch="aarch64", cmdline="/app", size=80 * MIB
    )
    build(options)
    with image.open("r+b") as file:
        file.seek(40_000)
        file.write(b"kept")
    before = image.read_bytes()[:MIB]
    (source / "new").write_bytes(b"new")
    fill(scan(source), image, guest_for(Choice(engine="embedded", output=image)))
    assert image.read_bytes()[:MIB] == before
    assert image.stat().st_size == 80 * MIB
    assert not differences(scan(source), image, "mtime")


@pytest.mark.parametrize("make", [embedded, standin])
def test_a_slow_wire(source: Path, tmp_path: Path, make: Make) -> None:
    """Slow is not broken: nothing gives up while something moves."""
    tree = scan(source)
    impatient = Patience(start=20, stall=2, finish=60)
    fill(tree, tmp_path / "disk.raw", lambda path: Wire(make(path), step=400, pause=0.002), impatient)
    found = differences(tree, tmp_path / "disk.raw", "mtime", "uid", "gid", "links", "mode")
    assert [each.path for each in found] == ([] if make is embedded else [b"/pipe"])


def archive_size(source: Path) -> int:
    from unikiln.image.cpio.writer import Writer

    return sum(len(piece) for piece in Writer(scan(source), absolute=True).pieces())


@pytest.mark.parametrize("how", ["end", "reset"])
@pytest.mark.parametrize("make", [embedded, standin])
def test_cut_at_every_thousandth_byte(source: Path, make: Make, how: str) -> None:
    for cut in range(0, archive_size(source) - 4, 1000):
        fails(source, lambda path, cut=cut: Wire(make(path), cut=cut, how=how))  # type: ignore[misc]


@pytest.mark.parametrize("make", [embedded, standin])
def test_a_receiver_that_stops_reading(tmp_path: Path, make: Make) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "large").write_bytes(bytes(32 * MIB))
    quick = Patience(start=20, stall=0.5, finish=5)
    fails(source, lambda path: Wire(make(path), cut=5000, how="stall"), "took nothing for 0.5 s", quick)


@pytest.mark.parametrize(
    ("hurt", "said"),
    [
        ("abort", "no space left on device"),
        ("lose", r"what arrived is not what was sent: - /usr/lib/suid"),
        ("change", r"what arrived is not what was sent: ! /usr/lib/suid: content"),
        ("forget", "what the guest left cannot be read: .*no ZFS pool"),
        ("hang", "did not finish within 1 s of the last byte"),
    ],
)
def test_guests_that_fail(source: Path, hurt: str, said: str) -> None:
    patience = Patience(start=20, stall=20, finish=1 if hurt == "hang" else 60)
    fails(source, lambda path: StandIn(path, hurt), said, patience)


class Silent:
    """A guest that starts, and never listens; or is gone at once."""

    keeps_everything, early, port = True, False, 1

    def __init__(self, ending: object = None) -> None:
        self.ending = ending
        self.ended = False

    def start(self, say: object) -> None: ...

    def wait(self, seconds: float) -> object:
        return self.ending

    def end(self) -> None:
        self.ended = True


def test_a_guest_that_never_listens(source: Path) -> None:
    guest = Silent()
    quick = Patience(start=0.3)
    fails(source, lambda path: guest, "does not listen after 0.3 s", quick)  # type: ignore[arg-type, return-value]
    assert guest.ended


def test_a_guest_that_dies_first(source: Path) -> None:
    from unikiln.engine.builder.guest import Ending

    guest = Silent(Ending(1, "out of memory"))
    fails(source, lambda path: guest, "ended before it listened: out of memory")  # type: ignore[arg-type, return-value]


def test_a_forwarder_that_is_too_early(source: Path, tmp_path: Path) -> None:
    """QEMU's takes a connection before the guest listens, and drops it: that is no failure."""

    class Early(Wire):
        dropped = 0

        def _run(self) -> None:
            for _ in range(3):
                self._server.accept()[0].close()
                self.dropped += 1
            super()._run()

    wires: list[Early] = []

    def make(path: Path) -> BuilderGuest:
        wires.append(Early(_mute(embedded(path))))
        return wires[0]

    fill(scan(source), tmp_path / "disk.raw", make, Patience(start=20, settle=1))
    assert wires[0].dropped == 3


def test_a_guest_that_takes_its_time(source: Path, tmp_path: Path) -> None:
    """Its console is heard, so a connection counts only when the service says that it listens."""
    guest = embedded(tmp_path / "disk")
    (tmp_path / "disk").touch()
    start = guest.start

    def late(say: Callable[[str], object]) -> None:
        say("booting")
        threading.Timer(0.6, lambda: start(say)).start()

    waits: list[float] = []
    wait = guest.wait
    guest.start = late  # type: ignore[method-assign]
    guest.wait = lambda seconds: wait(seconds) if guest._thread.ident else waits.append(seconds)  # type: ignore
    wire = Wire(guest)
    send(wire, scan(source), say=lambda line: None, patience=Patience(start=20, settle=0.1))
    assert len(waits) > 5
    assert wire.passed > 0


def _mute(guest: BuilderGuest) -> BuilderGuest:
    """A guest whose console says nothing."""
    start = guest.start
    guest.start = lambda say: start(lambda line: None)  # type: ignore[method-assign]
    return guest


def test_a_file_that_cannot_be_read(source: Path, tmp_path: Path) -> None:
    tree = scan(source)
    (source / "usr/lib/7").unlink()
    for make in (embedded, standin):
        with pytest.raises(HostError, match="lib/7: No such file"):
            fill(tree, tmp_path / "disk.raw", make)
        assert [each.name for each in tmp_path.iterdir()] == ["source"]


def test_a_file_that_is_too_large(source: Path) -> None:
    (source / "large").touch()
    os.truncate(source / "large", 1 << 32)
    fails(source, lambda path: pytest.fail("no guest is made"), "4 GiB", error=CpioError)


def test_a_disk_that_is_too_small(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "noise").write_bytes(os.urandom(70 * MIB))
    choice = Choice(engine="embedded", output=tmp_path / "disk.raw", size=64 * MIB + 512)
    fails(source, guest_for(choice), "the guest failed: .*(space|fit|full)")


def test_a_host_whose_disk_is_full(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("unikiln.image.cpio.gather.os.pwrite", full)
    fails(source, embedded, "No space left on device")


def test_the_image_is_left_as_it_was(source: Path, tmp_path: Path) -> None:
    image = tmp_path / "disk.raw"
    fill(scan(source), image, embedded)
    before = image.read_bytes()
    with pytest.raises(UploadError):
        fill(scan(source), image, lambda path: Wire(embedded(path), cut=5000))
    assert image.read_bytes() == before


def test_interrupted(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module._Sending, "_await_end", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fill(scan(source), tmp_path / "disk.raw", embedded)
    assert [each.name for each in tmp_path.iterdir()] == ["source"]


def test_ended_while_it_writes(tmp_path: Path) -> None:
    """The machine stops at the next file, and the thread is gone."""
    source = tmp_path / "source"
    source.mkdir()
    for number in range(50):
        (source / str(number)).write_bytes(os.urandom(100_000))
    (tmp_path / "d").touch()
    guests: list[EmbeddedGuest] = []

    class Watch:
        def total(self, files: int, size: int) -> None: ...

        def advance(self, files: int, size: int) -> None:
            guests[0]._stopped.set()

    guests.append(
        EmbeddedGuest(
            command_line(verbose=False), DiskPlan(path=tmp_path / "d", form="raw"), progress=Watch()
        )
    )
    with pytest.raises(UploadError, match="the guest was ended"):
        send(guests[0], scan(source), say=lambda line: None, patience=PATIENCE)
    assert guests[0].written is None


@pytest.mark.parametrize(
    ("field", "value"),
    [("mode", stat.S_IFREG | 0o640), ("uid", 7), ("mtime_ns", 5 * 10**9), ("size", 1), ("target", b"x")],
)
def test_what_did_not_arrive_is_told(source: Path, tmp_path: Path, field: str, value: object) -> None:
    tree = scan(source)
    image = tmp_path / "disk.raw"
    image.touch()
    guest = embedded(image)
    sent = send(guest, tree, say=lambda line: None, patience=PATIENCE)
    check_arrival(image, tree, sent, everything=True)
    setattr(tree.children[b"lib" if field == "target" else b"again"], field, value)
    with pytest.raises(UploadError, match=r"! /(lib|again|usr/lib/3): "):
        check_arrival(image, tree, sent, everything=True)


def test_no_space_is_an_error_of_ours() -> None:
    assert issubclass(NoSpaceError, UnikilnError)
