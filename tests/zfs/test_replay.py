"""A pool that lost power: what its intent logs say is part of what is read, as OpenZFS itself replays it."""

from __future__ import annotations

import hashlib
import stat
import struct
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from tests.zfs import corpus
from unikiln.base.device import FileDevice
from unikiln.errors import CorruptError
from unikiln.zfs import zil
from unikiln.zfs.filesystem import FileSystem
from unikiln.zfs.format import blkptr
from unikiln.zfs.format.zil import Record, Tx
from unikiln.zfs.pool import Pool, open_pool
from unikiln.zfs.replay import ReplayedFileSystem
from unikiln.zfs.zil import log_records

NAME = "zil-unplayed"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpus.unpack(NAME, tmp_path_factory.mktemp("pool"))


@pytest.fixture(scope="module")
def pool(image: Path) -> Iterator[Pool]:
    with FileDevice(image) as device, open_pool(device) as pool:
        yield pool


def test_without_the_log_it_is_what_is_on_disk(image: Path) -> None:
    with FileDevice(image) as device, open_pool(device, zil=False) as pool:
        assert list(corpus.differences(pool, corpus.manifest(NAME, "unreplayed"))) == []


def test_with_the_log_it_is_what_openzfs_replays(pool: Pool) -> None:
    found = list(corpus.differences(pool, corpus.manifest(NAME, "reimported")))
    # the log does not say when most of it happened, so OpenZFS has the time of its replay there
    assert [line for line in found if "mtime_ns" not in line] == []
    assert len(found) <= 13


@pytest.mark.parametrize(("state", "zil"), [("unreplayed", False), ("reimported", True)])
def test_a_volume_too(image: Path, state: str, zil: bool) -> None:
    expected = corpus.manifest(NAME, state)["datasets"][f"ref_{NAME}/vol"]["volume"]
    with FileDevice(image) as device, open_pool(device, zil=zil) as pool:
        volume = pool.dataset(f"ref_{NAME}/vol").volume
        assert volume.size == expected["size"]
        assert hashlib.sha256(volume.read_at(0, volume.size)).hexdigest() == expected["sha256"]
        written = sum(length for _, length in volume.data_ranges())
        assert written == (3 * 4096 if zil else 0)


def test_times_that_the_log_tells(pool: Pool) -> None:
    paths = corpus.manifest(NAME, "reimported")["datasets"][f"ref_{NAME}/z"]["paths"]
    files = pool.dataset(f"ref_{NAME}/z")
    for name in ("new-200k", "new-40k", "newlink", "fifo", "null", "newdir/renamed"):
        assert files.path(name).lstat().st_mtime_ns == paths[name]["mtime_ns"]


def test_holes_and_new_data_show(pool: Pool) -> None:
    inode = pool.dataset(f"ref_{NAME}/z").path("overw").inode()
    ranges = list(inode.data_ranges())
    assert ranges[-1][0] + ranges[-1][1] == inode.attributes.size
    assert inode.read(300_000, 100_000) == bytes(100_000)
    assert all(first + length < second for (first, length), (second, _) in pairwise(ranges))


def test_a_snapshot_has_no_log(pool: Pool) -> None:
    assert type(pool.dataset(f"ref_{NAME}").filesystem) is FileSystem


# Records of our own over the same pool: what its log does not have.


def record(kind: Tx, *words: int, tail: bytes = b"") -> Record:
    body = struct.pack(f"<{len(words)}Q", *words) + tail
    head = struct.pack("<4Q", kind, 32 + len(body), 99, 1)
    return Record(kind, 99, 1, head + body)


def create(kind: Tx, directory: int, number: int, mode: int, name: bytes) -> Record:
    return record(kind, directory, number, mode, 7, 8, 99, 1_000, 5, 0, tail=name + b"\0")


@pytest.fixture
def objects(pool: Pool) -> FileSystem:
    return FileSystem(pool.dataset(f"ref_{NAME}/z").objset)


def replayed(fs: FileSystem, *records: Record) -> ReplayedFileSystem:
    return ReplayedFileSystem(fs.objset, records)


ROOT, OVERW, DIRECTORY, FILE = 34, 421, 422, 420
NEW, OTHER = 1000, 1001


def test_a_file_is_made_written_and_cut(objects: FileSystem) -> None:
    fs = replayed(
        objects,
        create(Tx.CREATE, ROOT, NEW, 0o100600, b"made"),
        record(Tx.WRITE, NEW, 10, 5, *[0] * 17, tail=b"hello"),
        record(Tx.TRUNCATE, NEW, 12, 0),
        record(Tx.TRUNCATE, NEW, 20, 0),
    )
    made = fs.path(b"/made")
    assert made.read(0, 100) == bytes(10) + b"he" + bytes(8)
    assert list(made.data_ranges()) == [(10, 2)]
    found = made.attributes
    assert (found.uid, found.gid, found.nlink, found.mode) == (7, 8, 1, 0o100600)
    assert found.crtime_ns == 1_000_000_000_005
    assert fs.root.attributes.size == objects.root.attributes.size + 1
    assert objects.root.lookup(b"made") is None


def test_a_hole_is_punched(objects: FileSystem) -> None:
    before = objects.inode(OVERW).read(0, 3000)
    after = replayed(objects, record(Tx.TRUNCATE, OVERW, 1000, 500)).inode(OVERW)
    assert after.read(0, 3000) == before[:1000] + bytes(500) + before[1500:]
    assert after.attributes.size == 300_000
    assert [start for start, _ in after.data_ranges()] == [0, 1500]


def test_directories_are_counted_when_they_move(objects: FileSystem) -> None:
    links = objects.root.attributes.nlink
    fs = replayed(
        objects,
        create(Tx.MKDIR, ROOT, NEW, 0o40755, b"new"),
        record(Tx.RENAME, ROOT, NEW, tail=b"dir\0below\0"),
    )
    assert fs.path(b"/new/below").object == DIRECTORY
    assert fs.inode(DIRECTORY).attributes.parent == NEW
    assert (fs.inode(NEW).attributes.nlink, fs.inode(NEW).attributes.size) == (3, 3)
    assert fs.root.attributes.nlink == links
    assert fs.root.lookup(b"dir") is None
    gone = replayed(objects, record(Tx.RMDIR, ROOT, tail=b"dir\0"))
    assert gone.root.attributes.nlink == links - 1
    with pytest.raises(CorruptError, match="gone"):
        gone.inode(DIRECTORY)


def test_links_keep_a_file(objects: FileSystem) -> None:
    linked = record(Tx.LINK, ROOT, FILE, tail=b"again\0")
    removed = record(Tx.REMOVE, ROOT, tail=b"base\0")
    fs = replayed(objects, linked, removed)
    assert fs.path(b"/again").object == FILE
    assert fs.inode(FILE).attributes.nlink == 1
    assert {entry.name for entry in fs.root.entries()} >= {b"again"}
    fs = replayed(objects, linked, removed, record(Tx.REMOVE, ROOT, tail=b"again\0"))
    assert fs.root.lookup(b"again") is None
    assert FILE not in fs.nodes


def test_a_rename_takes_the_place_of_another(objects: FileSystem) -> None:
    fs = replayed(objects, record(Tx.RENAME, ROOT, ROOT, tail=b"base\0gone\0"))
    assert fs.path(b"/gone").object == FILE
    assert fs.root.lookup(b"base") is None
    assert fs.root.attributes.size == objects.root.attributes.size - 1


def test_exchange_and_whiteout(objects: FileSystem) -> None:
    fs = replayed(objects, record(Tx.RENAME_EXCHANGE, ROOT, ROOT, tail=b"base\0dir\0"))
    assert (fs.path(b"/base").object, fs.path(b"/dir").object) == (DIRECTORY, FILE)
    assert fs.root.attributes.size == objects.root.attributes.size
    fs = replayed(
        objects,
        record(Tx.RENAME_WHITEOUT, ROOT, DIRECTORY, OTHER, 0o20600, 0, 0, 9, 1, 2, 0, tail=b"base\0moved\0"),
    )
    assert fs.path(b"/dir/moved").object == FILE
    white = fs.path(b"/base").attributes
    assert stat.S_ISCHR(white.mode)
    assert white.rdev == 0


def test_extended_attributes(objects: FileSystem) -> None:
    fs = replayed(
        objects,
        record(Tx.SETSAXATTR, FILE, 3, tail=b"user.a\0abc\0"),
        record(Tx.SETSAXATTR, FILE, 1, tail=b"user.b\0x\0"),
        record(Tx.SETSAXATTR, FILE, 0, tail=b"user.b\0"),
        record(Tx.MKXATTR, DIRECTORY, NEW, 0o41777, 0, 0, 9, 1, 2, 0),
        create(Tx.CREATE, NEW, OTHER, 0o100644, b"user.old"),
        record(Tx.WRITE, OTHER, 0, 3, *[0] * 17, tail=b"way"),
    )
    assert fs.inode(FILE).xattrs() == {b"user.a": b"abc"}
    assert fs.inode(DIRECTORY).xattrs() == {b"user.old": b"way"}
    assert fs.inode(NEW).attributes.flags & 1


def test_attributes_by_mask(objects: FileSystem) -> None:
    before = objects.inode(FILE).attributes
    changed = record(Tx.SETATTR, FILE, 0b000011, 0o4755, 5, 6, 1, 0, 0, 0, 0)
    found = replayed(objects, changed).inode(FILE).attributes
    assert found == replace(before, mode=0o104755, uid=5)
    times = record(Tx.SETATTR, FILE, 0b110000, 0, 0, 0, 0, 1, 2, 3, 4)
    found = replayed(objects, times).inode(FILE).attributes
    assert (found.atime_ns, found.mtime_ns) == (1_000_000_002, 3_000_000_004)


def test_what_is_about_files_that_are_gone_is_passed_over(objects: FileSystem) -> None:
    fs = replayed(
        objects,
        record(Tx.WRITE, 9999, 0, 5, *[0] * 17, tail=b"hello"),
        record(Tx.TRUNCATE, 9999, 0, 0),
        record(Tx.WRITE2, FILE, 0, 4096),
    )
    assert fs.inode(FILE).attributes.size == 4096


def test_a_log_that_contradicts_the_pool_is_refused(objects: FileSystem) -> None:
    with pytest.raises(CorruptError, match="nothing"):
        replayed(objects, record(Tx.RENAME, ROOT, ROOT, tail=b"nothing\0else\0"))
    with pytest.raises(CorruptError, match="clones"):
        replayed(objects, record(Tx.CLONE_RANGE, FILE, 0, 512, 512, 9))
    with pytest.raises(CorruptError, match="no 1 names"):
        replayed(objects, record(Tx.REMOVE, ROOT, tail=b"no end"))


def test_a_claimed_log_ends_where_the_claim_says(pool: Pool) -> None:
    objset = pool.dataset(f"ref_{NAME}/z").objset
    header = objset.head.zil_header
    every = list(log_records(objset.reader, header, pool.txg))
    claim, last = 40, every[9].sequence
    claimed = (
        struct.pack("<2Q", claim, 0) + header[16:144] + struct.pack("<3Q", 1 << 62, 2, last) + header[168:]
    )
    assert list(log_records(objset.reader, claimed, pool.txg)) == every[:10]
    replayed_some = struct.pack("<2Q", claim, every[3].sequence) + claimed[16:]
    assert list(log_records(objset.reader, replayed_some, pool.txg)) == every[4:10]
    assert list(log_records(objset.reader, header, every[-1].txg + 1000)) == []


def test_a_log_that_leads_back_into_itself_ends(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    objset = pool.dataset(f"ref_{NAME}/z").objset
    header = objset.head.zil_header
    first = blkptr.unpack(header, 16)
    records = len(list(log_records(objset.reader, header, pool.txg)))
    opened = zil._opened
    monkeypatch.setattr(zil, "_opened", lambda block, pointer: (first, opened(block, pointer)[1]))
    assert 0 < len(list(log_records(objset.reader, header, pool.txg))) < records
    assert len(list(zil.log_blocks(objset.reader, header, 1 << 60))) == 1
