"""Encrypted intent logs of a pool that lost power, in both modes of AES."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from tests.zfs import corpus
from unikiln.base.device import FileDevice
from unikiln.errors import AuthenticationError, KeyMissingError
from unikiln.zfs.codec.crypt_log import decrypt_log_block
from unikiln.zfs.format import blkptr
from unikiln.zfs.pool import Pool, open_pool
from unikiln.zfs.verify import verify
from unikiln.zfs.zil import log_blocks, log_records

NAME = "crypt-zil"


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FileDevice]:
    with FileDevice(corpus.unpack(NAME, tmp_path_factory.mktemp("pool"))) as device:
        yield device


@pytest.fixture(scope="module")
def pool(device: FileDevice) -> Iterator[Pool]:
    with open_pool(device, key=corpus.keys(NAME)) as pool:
        yield pool


def test_without_the_log_it_is_what_is_on_disk(device: FileDevice) -> None:
    with open_pool(device, key=corpus.keys(NAME), zil=False) as pool:
        assert list(corpus.differences(pool, corpus.manifest(NAME, "unreplayed"))) == []


def test_with_the_log_it_is_what_openzfs_replays(pool: Pool) -> None:
    found = list(corpus.differences(pool, corpus.manifest(NAME, "reimported")))
    # the log does not say when most of it happened, so OpenZFS has the time of its replay there
    assert [line for line in found if "mtime_ns" not in line] == []
    assert len(found) <= 22
    for mode in ("gcm", "ccm"):
        files = pool.dataset(f"ref_{NAME}/{mode}")
        assert files.path("new-small").read_bytes() == b"small synchronous write\n"
        assert files.path("new-200k").read_bytes() == b"0123456789abcdef" * 12800
        assert files.path("new-small").xattrs()["user.zil"] == b"logged xattr"


def test_a_volume_too(pool: Pool) -> None:
    expected = corpus.manifest(NAME, "reimported")["datasets"][f"ref_{NAME}/vol"]["volume"]
    volume = pool.dataset(f"ref_{NAME}/vol").volume
    assert hashlib.sha256(volume.read_at(0, volume.size)).hexdigest() == expected["sha256"]


def test_without_a_key_the_chain_is_there_and_the_records_are_not(device: FileDevice, pool: Pool) -> None:
    with open_pool(device) as locked:
        assert list(verify(locked)) == []
        for mode in ("gcm", "ccm"):
            objset = pool.dataset(f"ref_{NAME}/{mode}").objset
            header = objset.head.zil_header
            with_key = list(log_blocks(objset.reader, header, 1 << 60))
            assert list(log_blocks(locked.reader, header, 1 << 60)) == with_key
            assert len(with_key) > 30
            other = locked.dsl.object_set(locked.dsl.find(f"ref_{NAME}/{mode}"), mode)
            with pytest.raises(KeyMissingError):
                list(log_records(other.reader, header, pool.txg))


@pytest.mark.parametrize("mode", ["gcm", "ccm"])
def test_a_record_that_was_changed(pool: Pool, mode: str) -> None:
    """Its checksum was made right again, so that only the MAC tells."""
    objset = pool.dataset(f"ref_{NAME}/{mode}").objset
    key = pool.dsl.keys.unlock(pool.dsl.dataset(pool.dsl.find(f"ref_{NAME}/{mode}")).dir_obj, mode)
    pointer = blkptr.unpack(objset.head.zil_header, 16)
    block = objset.reader.read_copy(pointer, next(objset.reader.copies(pointer)))
    assert b"new-small" in decrypt_log_block(key, pointer, block)
    assert b"new-small" not in block
    for at in (8 + 50, 184, 200, 300):
        changed = block[:at] + bytes([block[at] ^ 1]) + block[at + 1 :]
        with pytest.raises(AuthenticationError, match="INTENT_LOG"):
            objset.reader.decode(pointer, changed)
