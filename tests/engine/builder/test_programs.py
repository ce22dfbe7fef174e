"""The built-in programs, without a disk and without a network."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from tests.image.cpio.archives import archive, file, listing
from unikiln.engine.builder import programs
from unikiln.engine.builder.pool import Pool
from unikiln.engine.builder.programs import DEVICE, find
from unikiln.errors import MachineError, UnikilnError, UsageError
from unikiln.image.cpio.gather import Spool
from unikiln.image.cpiod import Cpiod


class Service:
    """Gives one archive."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def receive(self, keep):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        return keep(io.BytesIO(self.data))


class Machine:
    """Remembers what programs do to it."""

    time_ns = 7 * 10**9

    def __init__(self, where: Path, data: bytes = b"") -> None:
        self.pool: Pool | None = None
        self.lines: list[str] = []
        self.synced = 0
        self._where = where
        self._data = data

    def say(self, line: str) -> None:
        self.lines.append(line)

    def spool(self) -> Spool:
        return Spool(self._where)

    def service(self, port: int) -> Cpiod:
        assert port == 10000
        return Service(self._data)  # type: ignore[return-value]

    def sync(self) -> None:
        self.synced += 1

    def run(self, line: str) -> None:
        path, *arguments = line.split()
        find(path)(self, arguments)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path, archive(file(b"/usr/app", b"x")))


def made(machine: Machine) -> Pool:
    assert machine.pool is not None
    return machine.pool


def test_mkfs_makes_what_the_original_makes(machine: Machine) -> None:
    machine.run("/tools/mkfs.so")
    pool = made(machine)
    assert pool.name == "osv"
    assert [(name, each.mountpoint) for name, each in pool.datasets.items()] == [
        ("osv", "/zfs"),
        ("osv/zfs", "/zfs/zfs"),
    ]
    assert pool.datasets["osv"].properties == {"canmount": "noauto", "compression": "lz4"}
    assert pool.datasets["osv/zfs"].properties == {"relatime": "on", "canmount": "noauto"}
    assert pool.datasets["osv/zfs"].numbers() == {"relatime": 1, "canmount": 2}


def test_files_arrive_in_the_dataset(machine: Machine) -> None:
    machine.run("/tools/mkfs.so")
    machine.run("/tools/cpiod.so --prefix /zfs/zfs/")
    pool = made(machine)
    assert listing(pool.datasets["osv/zfs"].root)[b"/usr/app"] == "-rw-r--r--"
    assert list(pool.datasets["osv"].root.children.values()) == [pool.datasets["osv/zfs"].root]
    assert machine.lines == [
        "Running mkfs...",
        "Waiting for connection from host...",
        "Adding /usr/app...",
        "cpiod finished",
    ]


@pytest.mark.parametrize("quiet", ["--verbose=0", "--verbose 0"])
def test_cpiod_can_be_quiet_and_go_below(machine: Machine, quiet: str) -> None:
    machine.run("mkfs.so")
    machine.run(f"cpiod.so --prefix /zfs/zfs/opt/x {quiet}")
    assert b"/opt/x/usr/app" in listing(made(machine).datasets["osv/zfs"].root)
    assert len(machine.lines) == 3


def test_compression_is_as_it_was_while_filling(machine: Machine) -> None:
    """``zfs set compression=off`` afterwards changes the property, not what is written."""
    machine.run("mkfs.so")
    machine.run("cpiod.so --prefix /zfs/zfs/")
    machine.run("/zfs.so set compression=off osv")
    assert made(machine).filled_with == "lz4"
    assert made(machine).compression("osv/zfs") == "off"


def test_compression_is_inherited(machine: Machine) -> None:
    machine.run("/zpool.so create -f -R /zfs osv /dev/vblk0.1")
    machine.run("/zfs.so create osv/zfs")
    machine.run("/zfs.so create -o compression=off -o recordsize=32K osv/zfs/deep")
    pool = made(machine)
    assert pool.compression("osv/zfs") == "off"
    machine.run("/zfs.so set compression=lz4 atime=off osv")
    assert (pool.compression("osv/zfs"), pool.compression("osv/zfs/deep")) == ("lz4", "off")
    assert pool.datasets["osv/zfs/deep"].numbers() == {"compression": 2, "recordsize": 32768}
    assert pool.datasets["osv/zfs/deep"].mountpoint == "/zfs/zfs/deep"


def test_export_and_umount(machine: Machine) -> None:
    machine.run("mkfs.so")
    machine.run("/tools/umount.so /zfs/zfs")
    machine.run("/tools/umount.so /zfs/")
    machine.run("/zpool.so export osv")
    assert machine.synced == 1


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["/zfs.so create osv/zfs"], "no pools available"),
        (["mkfs.so /dev/vblk1"], "/dev/vblk1': no such device"),
        (["mkfs.so", "mkfs.so"], "'osv': pool already exists"),
        (["mkfs.so", "zfs.so create osv/zfs"], "already exists"),
        (["mkfs.so", "zfs.so create osv/a/b"], "parent does not exist"),
        (["mkfs.so", "zfs.so create other"], "parent does not exist"),
        (["mkfs.so", "zfs.so set compression=off nowhere"], "does not exist"),
        (["mkfs.so", "zfs.so set compression osv"], "not property=value"),
        (["mkfs.so", "zfs.so set compression=best osv"], "compression=best is not possible"),
        (["mkfs.so", "zfs.so set sparkle=on osv"], "'sparkle' is no property"),
        (["mkfs.so", "zfs.so destroy osv"], "'destroy' is not known here, only create, set"),
        (["zpool.so"], "not known here"),
        (["zpool.so create -x osv"], "unrecognized arguments|required"),
        (["zpool.so create log /dev/vblk0.1"], "no name for a pool"),
        (["mkfs.so", "zpool.so export tank"], "'tank': no such pool"),
        (["mkfs.so", "umount.so /mnt"], "/mnt: not mounted"),
        (["cpiod.so"], "no pools"),
        (["mkfs.so", "cpiod.so --prefix /tmp"], "/tmp: files can only be in osv/zfs"),
        (["mkfs.so", "cpiod.so --prefix /zfs/zfsx"], "files can only be in"),
        (["mkfs.so", "cpiod.so --prefix /zfs"], "files can only be in"),
        (["mkfs.so", "cpiod.so --port x"], "invalid int"),
        (["mkfs.so", "cpiod.so --speed 9"], "unrecognized"),
        (["/bin/sh"], "Failed to load object: /bin/sh .built in are /tools/mkfs.so"),
    ],
)
def test_what_programs_refuse(machine: Machine, lines: list[str], said: str) -> None:
    for line in lines[:-1]:
        machine.run(line)
    with pytest.raises((MachineError, UsageError), match=said) as caught:
        machine.run(lines[-1])
    assert isinstance(caught.value, UnikilnError)


def test_a_pool_at_the_root(machine: Machine) -> None:
    machine.run(f"zpool.so create osv {DEVICE}")
    machine.run("zfs.so create osv/zfs")
    machine.run("cpiod.so --prefix /zfs")
    assert b"/zfs/usr/app" in listing(made(machine).root)


def test_all_programs_are_told_of() -> None:
    assert all(each.__doc__ for each in programs.PROGRAMS.values())
