"""Encrypted datasets of a pool that OpenZFS made: with keys, with wrong ones, without."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from subprocess import run

import pytest

from tests.zfs import corpus
from unikiln.base.device import FileDevice
from unikiln.errors import (
    AuthenticationError,
    ChecksumError,
    EncryptionKeyError,
    KeyMissingError,
    UsageError,
    WrongKeyError,
)
from unikiln.zfs.filesystem import FileSystem
from unikiln.zfs.format import blkptr
from unikiln.zfs.format.blkptr import BlockPointer
from unikiln.zfs.keys import Keys
from unikiln.zfs.objset import ObjectSet
from unikiln.zfs.pool import Pool, open_pool
from unikiln.zfs.verify import verify

HOME, CHILD = "ref_crypt/home", "ref_crypt/home/child"
PASSPHRASE = "correct horse battery staple"
HEX = bytes(range(32)).hex()
RAW = bytes(range(100, 132))


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpus.unpack("crypt", tmp_path_factory.mktemp("crypt"))


@pytest.fixture(scope="module")
def device(image: Path) -> Iterator[FileDevice]:
    with FileDevice(image) as device:
        yield device


@pytest.fixture(scope="module")
def opened(device: FileDevice) -> Iterator[Pool]:
    """With all keys."""
    with open_pool(device, key=corpus.keys("crypt")) as pool:
        yield pool


@pytest.fixture(scope="module")
def locked(device: FileDevice) -> Iterator[Pool]:
    """Without any."""
    with open_pool(device) as pool:
        yield pool


def hello(pool: Pool, name: str = CHILD) -> bytes:
    return pool.filesystem(name).path(b"/hello").read(0, 100)


def test_roots_suites_and_status_are_what_zfs_get_says(opened: Pool) -> None:
    datasets = corpus.manifest("crypt")["datasets"]
    infos = {info.name: info for info in opened.datasets()}
    assert len({info.encryption for info in infos.values()}) == 7
    for name, expected in datasets.items():
        props = expected["props"]
        found = infos[name]
        root, status = props.get("encryptionroot", [""])[0], props.get("keystatus", [""])[0]
        assert (found.encryption, found.encryption_root, found.key_status) == (
            props["encryption"][0],
            root,
            status,
        )
    roots = {
        each["props"]["encryptionroot"][0] for each in datasets.values() if "encryptionroot" in each["props"]
    }
    assert opened.encryption_roots == sorted(roots)


ABOUT_KEYS = ("encryption", "encryptionroot", "keystatus", "keyformat", "keylocation", "pbkdf2iters")


@pytest.mark.parametrize("with_keys", [True, False])
def test_properties_of_datasets(opened: Pool, locked: Pool, with_keys: bool) -> None:
    pool = opened if with_keys else locked
    for name, expected in corpus.manifest("crypt")["datasets"].items():
        dataset = pool.dataset(name)
        stated = {each: tuple(expected["props"][each]) for each in ABOUT_KEYS if each in expected["props"]}
        if not with_keys and "keystatus" in stated:
            stated["keystatus"] = ("unavailable", "-")
        properties = dataset.properties
        assert {each: tuple(properties[each]) for each in ABOUT_KEYS if each in properties} == stated
        assert dataset.encryption_root == stated.get("encryptionroot", [""])[0]
        assert dataset.key_status == stated.get("keystatus", [""])[0]
        assert dataset.type == expected["type"]


def test_a_volume(opened: Pool) -> None:
    expected = corpus.manifest("crypt")["datasets"]["ref_crypt/home/vol"]["volume"]
    objset = opened.dsl.object_set(opened.dsl.find("ref_crypt/home/vol"), "vol")
    assert hashlib.sha256(objset.object(1).read(0, expected["size"])).hexdigest() == expected["sha256"]


def test_without_keys_names_and_sizes_are_there(locked: Pool, opened: Pool) -> None:
    for with_key, without in zip(opened.datasets(), locked.datasets(), strict=True):
        status = "unavailable" if with_key.encryption_root else ""
        assert without == replace(with_key, key_status=status)


def test_without_its_key_a_dataset_is_refused_in_one_sentence(locked: Pool) -> None:
    with pytest.raises(KeyMissingError) as caught:
        hello(locked)
    assert caught.value.root == HOME
    assert str(caught.value) == (
        f"dataset {CHILD} is encrypted, and the key of its encryption root {HOME} was not given "
        f"(a passphrase key: --key {HOME}=FILE, or open_pool(key=...))"
    )
    assert locked.filesystem("ref_crypt").path(b"/plain/hello").read(0, 5) == b"hello"


def test_without_a_name_what_can_be_read_is_found(locked: Pool) -> None:
    assert locked.filesystem().name == "ref_crypt"


def test_without_keys_verify_checks_every_block(locked: Pool, opened: Pool) -> None:
    without, with_keys = verify(locked), verify(opened)
    assert list(without) == list(with_keys) == []
    assert (without.blocks, without.bytes, without.objects) == (
        with_keys.blocks, with_keys.bytes, with_keys.objects
    )  # fmt: skip
    assert without.locked == [info.name for info in locked.datasets() if info.encryption_root]
    assert with_keys.locked == []


def test_one_key_for_all(device: FileDevice) -> None:
    for key in (PASSPHRASE, PASSPHRASE.encode(), PASSPHRASE.encode() + b"\n"):
        with open_pool(device, key=key) as pool:
            assert hello(pool) == b"hello, world\n"
            with pytest.raises(WrongKeyError, match="ref_crypt/256-gcm-raw: a raw key has 32 bytes, not"):
                hello(pool, "ref_crypt/256-gcm-raw")


def test_keys_by_name_open_no_more_than_they_name(device: FileDevice) -> None:
    with open_pool(device, key={HOME: PASSPHRASE}) as pool:
        available = [info.name for info in pool.datasets() if info.key_status == "available"]
        assert available == [info.name for info in pool.datasets() if info.encryption_root == HOME]
        assert "ref_crypt/home/clone" in available
        with pytest.raises(KeyMissingError, match="encryption root ref_crypt/home/other was not given"):
            hello(pool, "ref_crypt/home/other")


def test_somebody_is_asked_once_and_only_when_it_matters(device: FileDevice) -> None:
    asked: list[str] = []

    def ask(root: str) -> str | None:
        asked.append(root)
        return PASSPHRASE if root == HOME else None

    with open_pool(device, key=ask) as pool:
        assert all(info.key_status != "available" for info in pool.datasets())
        assert asked == []
        assert hello(pool) == hello(pool, "ref_crypt/home/clone") == b"hello, world\n"
        assert asked == [HOME]
        assert next(i.name for i in pool.datasets() if i.key_status == "available") == HOME
        with pytest.raises(KeyMissingError):
            hello(pool, "ref_crypt/changed")
    with open_pool(device, key={HOME: ask}) as pool:
        assert hello(pool) == b"hello, world\n"


@pytest.mark.parametrize(
    "key",
    ["another passphrase", HEX[::-1], RAW[::-1], {HOME: "another passphrase"}, {HOME: HEX}, {HOME: "short"},
     {"ref_crypt/256-gcm-raw": RAW[::-1]}, {"ref_crypt/128-ccm-hex": HEX[:-1]},
     {"ref_crypt/128-ccm-hex": HEX[::-1]}],
)  # fmt: skip
def test_a_wrong_key_is_one_error_at_once(device: FileDevice, key: Keys) -> None:
    with pytest.raises(WrongKeyError, match="encryption root ref_crypt/") as caught:
        open_pool(device, key=key)
    assert caught.value.root.startswith("ref_crypt/")
    assert "\n" not in str(caught.value)


def test_a_wrong_key_that_was_asked_for(device: FileDevice) -> None:
    with open_pool(device, key=lambda root: "another passphrase") as pool:
        with pytest.raises(WrongKeyError, match=f"encryption root {HOME} is not its key"):
            hello(pool)
        assert {info.key_status for info in pool.datasets() if info.encryption_root == HOME} == {
            "unavailable"
        }


def test_a_key_for_what_is_no_encryption_root(device: FileDevice) -> None:
    with pytest.raises(UsageError, match=f"{CHILD} is no encryption root"):
        open_pool(device, key={CHILD: PASSPHRASE})


def test_cryptography_is_imported_for_what_is_encrypted_alone(image: Path) -> None:
    program = (
        "import sys\n"
        "from unikiln.base.device import FileDevice\n"
        "from unikiln.zfs.pool import open_pool\n"
        "with FileDevice(sys.argv[1]) as device, open_pool(device) as pool:\n"
        "    pool.filesystem('ref_crypt').path(b'/plain/hello').read(0, 9)\n"
        "    pool.datasets()\n"
        "sys.exit('cryptography' in sys.modules)\n"
    )
    assert run([sys.executable, "-c", program, str(image)], check=False).returncode == 0


def blocks_of(fs: FileSystem) -> dict[str, tuple[ObjectSet, BlockPointer]]:
    """One block of each way to be protected."""
    objset = fs.objset
    meta = blkptr.unpack(objset.head.meta_dnode.pointers[0])
    sparse = fs.path(b"/sparse").dmu
    top = blkptr.unpack(sparse.dnode.pointers[0])
    spill = blkptr.unpack(fs.path(b"/spill").dmu.dnode.spill or b"")
    dnodes = objset.meta.block_pointer(0)
    data, master = sparse.block_pointer(0), objset.object(1).block_pointer(0)
    assert dnodes is not None and data is not None and master is not None
    assert (meta.level > 0, top.level > 0) == (True, True)
    found = {"objset": objset.pointer, "indirect": top, "meta": meta, "dnodes": dnodes, "data": data}
    return {name: (objset, each) for name, each in {**found, "master": master, "spill": spill}.items()}


@pytest.mark.parametrize("name", [CHILD, "ref_crypt/home/other"])
@pytest.mark.parametrize("which", ["objset", "indirect", "meta", "dnodes", "data", "master", "spill"])
def test_a_flipped_bit_is_told_with_its_block(opened: Pool, name: str, which: str) -> None:
    """In the block, with its checksum made right again; and in the MAC that its pointer has."""
    objset, pointer = blocks_of(opened.filesystem(name))[which]
    raw = opened.reader.read_copy(pointer, next(opened.reader.copies(pointer)))
    assert objset.reader.decode(pointer, raw)
    a, b, c, d = pointer.checksum
    macs = [replace(pointer, checksum=(a, b, c ^ 1, d)), replace(pointer, checksum=(a, b, c, d ^ 1 << 63))]
    cases = [(changed, raw) for changed in macs if which != "objset"]
    places = (
        (64 + 54, 704, 720, 752) if which == "objset" else (len(raw) - 1,) if pointer.is_ciphertext else ()
    )
    cases += [(pointer, raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]) for at in places]
    for changed, data in cases:
        with pytest.raises(AuthenticationError, match=f"block {pointer.describe()}: ") as caught:
            objset.reader.decode(changed, data)
        assert isinstance(caught.value, ChecksumError)


def test_an_object_set_that_claims_not_to_be_encrypted(opened: Pool) -> None:
    objset, pointer = blocks_of(opened.filesystem(CHILD))["objset"]
    with pytest.raises(AuthenticationError, match="not encrypted, as the dataset is"):
        objset.reader.read(replace(pointer, encrypted=False))


@pytest.mark.parametrize("which", ["data", "spill"])
def test_what_a_reader_without_a_key_refuses(opened: Pool, which: str) -> None:
    _, pointer = blocks_of(opened.filesystem(CHILD))[which]
    with pytest.raises(EncryptionKeyError, match="is encrypted"):
        opened.reader.read(pointer)


def test_what_one_dataset_decrypted_is_not_for_another(opened: Pool) -> None:
    _, pointer = blocks_of(opened.filesystem(CHILD))["data"]
    other = opened.dsl.object_set(opened.dsl.find("ref_crypt/home/other"), "other")
    assert opened.filesystem(CHILD).path(b"/sparse").read(0, 4) == b"head"
    with pytest.raises(AuthenticationError):
        other.reader.read(pointer)


def test_ciphertext_that_changed_on_disk(image: Path, opened: Pool, tmp_path: Path) -> None:
    """The half of a checksum that is beside the MAC is still there to tell, and to choose another copy."""
    _, pointer = blocks_of(opened.filesystem(CHILD))["data"]
    changed = tmp_path / "changed.img"
    changed.write_bytes(image.read_bytes())
    with changed.open("r+b") as file:
        file.seek(pointer.dvas[0].offset + (4 << 20))
        file.write(b"\xff")
    with FileDevice(changed) as device, open_pool(device, key={HOME: PASSPHRASE}) as pool:
        with pytest.raises(ChecksumError) as caught:
            pool.filesystem(CHILD).path(b"/sparse").read(0, 4)
        assert not isinstance(caught.value, AuthenticationError)
        assert pool.filesystem(CHILD).path(b"/hello").read(0, 99) == b"hello, world\n"
    with FileDevice(changed) as device, open_pool(device) as pool:
        assert [line for line in verify(pool) if "fails its checksum" in line]
