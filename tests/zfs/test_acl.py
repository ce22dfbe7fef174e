"""Access control lists as ZFS keeps them, against the modes and the xattrs that the manifest has; FUIDs."""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator

import pytest

from tests.zfs import corpus
from unikiln.base.device import FileDevice
from unikiln.errors import CorruptError
from unikiln.zfs.acl import read_acl
from unikiln.zfs.filesystem import FileSystem, Inode
from unikiln.zfs.format import acl, nvlist
from unikiln.zfs.format.acl_entries import Ace, PosixEntry, decode, decode_old, decode_posix
from unikiln.zfs.fuid import Owner, owner_of, read_domains
from unikiln.zfs.pool import Pool, open_pool

READ, WRITE, EXECUTE = 0x1, 0x2, 0x20


def opened(name: str, folder: pytest.TempPathFactory) -> Iterator[Pool]:
    path = corpus.unpack(name, folder.mktemp("pool"))
    with FileDevice(path) as device, open_pool(device) as pool:
        yield pool


@pytest.fixture(scope="module", params=["gang", "legacy-v1"])
def pool(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    yield from opened(request.param, tmp_path_factory)


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    yield from opened("datasets", tmp_path_factory)


def everything(fs: FileSystem) -> Iterator[Inode]:
    stack = [fs.root]
    while stack:
        inode = stack.pop()
        yield inode
        if inode.is_directory:
            stack += [fs.inode(entry.object) for entry in inode.entries()]


def allowed(entries: tuple[Ace, ...], principals: tuple[str, ...]) -> int:
    """What the first entry that speaks of each right says, for one who is all of ``principals``."""
    granted = decided = 0
    for entry in entries:
        if entry.principal in principals:
            granted |= entry.mask & ~decided if entry.type == 0 else 0
            decided |= entry.mask
    return granted


def test_acls_say_what_modes_say(pool: Pool) -> None:
    checked = 0
    for inode in everything(pool.filesystem()):
        mode, entries = inode.attributes.mode, read_acl(inode).entries
        if stat.S_ISLNK(mode):
            continue
        for shift, who in ((6, ("owner@", "everyone@")), (3, ("group@", "everyone@")), (0, ("everyone@",))):
            mask = allowed(entries, who)
            rights = (mask & READ and 4) | (mask & WRITE and 2) | (mask & EXECUTE and 1)
            assert rights == mode >> shift & 7, (inode.object, oct(mode), [str(each) for each in entries])
        checked += 1
    assert checked > 200


def test_posix_acls_are_those_of_the_xattrs(datasets: Pool) -> None:
    found = {
        inode.attributes.parent: read_acl(inode)
        for inode in everything(datasets.filesystem("ref_datasets/a"))
        if b"system.posix_acl_access" in inode.xattrs()
    }
    assert found
    entries = {str(entry) for acl_ in found.values() for entry in acl_.access}
    assert {"user:1001:rw-", "group:1002:r--", "mask::rw-"} <= entries or "user:2000:r--" in entries
    paths = datasets.dataset("ref_datasets/a").path().rglob("*")
    listed = [path.acl(follow_symlinks=False) for path in paths]
    assert sum(bool(each.default) for each in listed) >= 1
    assert sum(bool(each.access) for each in listed) >= 3


@pytest.mark.parametrize("mode", [0o100644, 0o40755, 0o104711, 0o100000, 0o100777, 0o100604, 0o40070])
def test_what_the_writer_stores_decodes(mode: int) -> None:
    trivial = acl.trivial(mode)
    entries = decode(trivial.aces, trivial.entries)
    assert len(entries) == trivial.entries
    assert entries[-1].principal == "everyone@"
    for shift, who in ((6, ("owner@", "everyone@")), (3, ("group@", "everyone@")), (0, ("everyone@",))):
        mask = allowed(entries, who)
        assert (mask & READ and 4) | (mask & WRITE and 2) | (mask & EXECUTE and 1) == mode >> shift & 7


def test_both_forms() -> None:
    new = struct.pack("<HHIQ", 0, 0, READ, 5 << 32 | 7) + struct.pack("<HHI", 1, 0x4000, WRITE)
    assert decode(new, 2) == (Ace(0, 0, READ, 5 << 32 | 7), Ace(1, 0x4000, WRITE))
    with_guids = struct.pack("<HHIQ32x", 5, 0x40, READ, 9) + struct.pack("<HHI", 0, 0x1000, READ)
    assert [entry.principal for entry in decode(with_guids, 2)] == ["group:9", "owner@"]
    old = struct.pack("<IIHH", 1001, READ | WRITE, 0x3, 0)
    assert decode_old(old, 1) == (Ace(0, 0x3, READ | WRITE, 1001),)
    assert str(decode_old(old, 1)[0]) == "user:1001:rw------------:fd-----:allow"
    assert str(Ace(1, 0x2040, EXECUTE)) == "group@:--x-----------:-------:deny"


def test_posix_entries() -> None:
    data = struct.pack("<I", 2) + struct.pack("<HHI", 1, 6, 0xFFFFFFFF) + struct.pack("<HHI", 2, 4, 1001)
    assert decode_posix(data) == (PosixEntry("user", None, 6), PosixEntry("user", 1001, 4))
    assert [str(entry) for entry in decode_posix(data)] == ["user::rw-", "user:1001:r--"]


@pytest.mark.parametrize("data", [b"", b"\1\0\0\0", struct.pack("<I", 2) + b"short"])
def test_posix_acls_that_are_none(data: bytes) -> None:
    with pytest.raises(CorruptError):
        decode_posix(data)


def test_acls_that_end_early() -> None:
    with pytest.raises(CorruptError, match="claims 3"):
        decode(bytes(20), 3)
    with pytest.raises(CorruptError, match="claims 3"):
        decode_old(bytes(20), 3)


class Domains:
    """A file system with a table of domains, which no pool that Linux made has."""

    name = "test"

    def __init__(self, rows: list[nvlist.NvList], claimed: int | None = None) -> None:
        self.table = nvlist.encode({"fuid_nvlist": rows})
        self.master = {b"FUID": 7}
        self.objset = self
        self.dnode = self
        self.bonus = struct.pack("<Q", len(self.table) if claimed is None else claimed)
        self.blocks, self.block_size = 1, 16384

    def object(self, number: int) -> Domains:
        assert number == 7
        return self

    def read(self, offset: int, length: int) -> bytes:
        return self.table[offset : offset + length]


def test_owners_from_elsewhere() -> None:
    rows: list[nvlist.NvList] = [{"fuid_idx": 1, "fuid_offset": 0, "fuid_domain": "S-1-5-21"}]
    domains = read_domains(Domains(rows))  # type: ignore[arg-type]
    assert domains == {1: "S-1-5-21"}
    assert owner_of(1 << 32 | 500, domains) == Owner("S-1-5-21", 500)
    assert owner_of(1001, domains) == Owner("", 1001)
    with pytest.raises(CorruptError, match="domain 2"):
        owner_of(2 << 32, domains)
    with pytest.raises(CorruptError, match="claims"):
        read_domains(Domains(rows, 1 << 40))  # type: ignore[arg-type]


def test_no_owners_from_elsewhere(pool: Pool) -> None:
    assert read_domains(pool.filesystem()) == {}
