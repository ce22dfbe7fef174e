"""Keys and ciphers: answers from the standards, and another implementation as judge."""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from hypothesis import given
from hypothesis import strategies as st

from unikiln.errors import AuthenticationError, UsageError
from unikiln.zfs.codec import crypt
from unikiln.zfs.codec.crypt import MasterKey, cipher, hkdf_sha512, unwrap, wrapping_key
from unikiln.zfs.format.cryptokey import CryptoKey, KeyFormat, Suite

RAW = bytes(range(32))
KEY = CryptoKey(
    Suite.AES_256_GCM, 1, 1, 2, bytes(32), bytes(64), bytes(12), bytes(16), KeyFormat.RAW
)  # fmt: skip


def test_hkdf_known_answer() -> None:
    """22 bytes of 0x0b without salt and info: the SHA-512 companion of RFC 5869's test case 3."""
    expected = "f5fa02b18298a72a8c23898a8703472c6eb179dc204c03425c970e3b164bf90fff22d04836d0e2343bac"
    assert hkdf_sha512(b"\x0b" * 22, b"", 42).hex() == expected


@given(
    st.sampled_from([16, 24, 32]).flatmap(lambda n: st.binary(min_size=n, max_size=n)), st.binary(max_size=8)
)
def test_hkdf_as_another_computes_it(secret: bytes, info: bytes) -> None:
    other = HKDF(algorithm=hashes.SHA512(), length=len(secret), salt=None, info=info).derive(secret)
    assert hkdf_sha512(secret, info, len(secret)) == other


def test_passphrase_as_another_computes_it() -> None:
    key = replace(KEY, format=KeyFormat.PASSPHRASE, salt=0x0123456789ABCDEF, iterations=1000)
    salt = bytes.fromhex("efcdab8967452301")
    other = PBKDF2HMAC(algorithm=hashes.SHA1(), length=32, salt=salt, iterations=1000)
    expected = other.derive(b"correct horse")
    assert wrapping_key(b"correct horse", key) == expected
    assert wrapping_key(b"correct horse\n", key) == expected
    assert wrapping_key(b"correct horse ", key) != expected


def test_keys_in_every_format() -> None:
    in_hex = replace(KEY, format=KeyFormat.HEX)
    assert wrapping_key(RAW, KEY) == RAW
    assert wrapping_key(RAW.hex().encode(), in_hex) == RAW
    assert wrapping_key(RAW.hex().upper().encode() + b"\r\n", in_hex) == RAW
    assert wrapping_key(RAW, in_hex) == RAW


@pytest.mark.parametrize(
    ("form", "held", "words"),
    [
        (KeyFormat.RAW, RAW + b"\n", "32 bytes, not 33"),
        (KeyFormat.HEX, RAW.hex().encode()[:-1], "64 hex digits"),
        (KeyFormat.HEX, RAW.hex().encode() + b"00", "64 hex digits"),
        (KeyFormat.HEX, b"\xff" * 64, "64 hex digits"),
        (KeyFormat.PASSPHRASE, b"seven77", "8 to 512 bytes, not 7"),
        (KeyFormat.PASSPHRASE, b"x" * 513, "8 to 512 bytes, not 513"),
    ],
)
def test_what_can_be_no_key(form: KeyFormat, held: bytes, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        wrapping_key(held, replace(KEY, format=form, iterations=1))


def test_a_passphrase_without_iterations() -> None:
    for iterations in (0, 1 << 31, 1 << 63):
        with pytest.raises(UsageError, match="iterations"):
            wrapping_key(b"long enough", replace(KEY, format=KeyFormat.PASSPHRASE, iterations=iterations))


def test_gcm_known_answer() -> None:
    """Test case 4 of McGrew and Viega, "The Galois/Counter Mode of Operation": a 96-bit IV."""
    key = bytes.fromhex("feffe9928665731c6d6a8f9467308308")
    about = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
    plain = bytes.fromhex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
    )
    sealed = bytes.fromhex(
        "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
        "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e0915bc94fbc3221a5db94fae95ae7121a47"
    )
    assert (
        cipher(Suite.AES_128_GCM, key).decrypt(bytes.fromhex("cafebabefacedbaddecaf888"), sealed, about)
        == plain
    )


def test_ccm_known_answer() -> None:
    """Example 3 of NIST SP 800-38C has a 96-bit nonce; its shorter tag leaves the ciphertext the same."""
    key, iv = bytes(range(0x40, 0x50)), bytes(range(0x10, 0x1C))
    plain, about = bytes(range(0x20, 0x38)), bytes(range(0x14))
    sealed = cipher(Suite.AES_128_CCM, key).encrypt(iv, plain, about)
    assert sealed[:24].hex() == "e3b201a9f5b71a7a9b1ceaeccd97e70b6176aad9a4428aa5"
    assert len(sealed) == 24 + 16


def wrap(suite: Suite, version: int, wrapping: bytes) -> CryptoKey:
    """Keys as OpenZFS would wrap them, with what it authenticates written out."""
    about = struct.pack("<3Q", 77, suite, 1) if version else struct.pack("<Q", 77)
    size = suite.key_size
    sealed = cipher(suite, wrapping).encrypt(b"i" * 12, bytes(range(size)) + b"h" * 64, about)
    return CryptoKey(
        suite, 77, version, 2, sealed[:size], sealed[size : size + 64], b"i" * 12, sealed[-16:], KeyFormat.RAW
    )


@pytest.mark.parametrize("suite", Suite)
@pytest.mark.parametrize("version", [0, 1])
def test_unwrap(suite: Suite, version: int) -> None:
    key = wrap(suite, version, RAW)
    assert unwrap(key, RAW) == MasterKey(suite, version, bytes(range(suite.key_size)), b"h" * 64)
    changes: list[dict[str, int | bytes]] = [
        {"guid": 78}, {"version": 1 - version}, {"iv": bytes(12)}, {"mac": bytes(16)},
        {"master": key.hmac[:32]},
    ]  # fmt: skip
    for change in changes:
        with pytest.raises(AuthenticationError):
            unwrap(replace(key, **change), RAW)  # type: ignore[arg-type]
    with pytest.raises(AuthenticationError):
        unwrap(key, RAW[::-1])


@pytest.mark.parametrize("suite", Suite)
def test_blocks_are_encrypted_with_a_key_of_their_salt(suite: Suite) -> None:
    key = MasterKey(suite, 1, bytes(range(suite.key_size)), b"h" * 64)
    own = hkdf_sha512(key.master, b"saltsalt", suite.key_size)
    sealed = cipher(suite, own).encrypt(b"i" * 12, b"plain text", b"about")
    data, mac = sealed[:-16], sealed[-16:]
    assert key.decrypt(b"saltsalt", b"i" * 12, mac, data, b"about") == b"plain text"
    for arguments in (
        (b"saltsalT", b"i" * 12, mac, data, b"about"),
        (b"saltsalt", b"I" * 12, mac, data, b"about"),
        (b"saltsalt", b"i" * 12, bytes(16), data, b"about"),
        (b"saltsalt", b"i" * 12, mac, data[:-1], b"about"),
        (b"saltsalt", b"i" * 12, mac, data, b""),
    ):
        with pytest.raises(AuthenticationError):
            key.decrypt(*arguments)


def test_the_hmac_is_a_truncated_sha512() -> None:
    key = MasterKey(Suite.AES_128_CCM, 1, bytes(16), b"h" * 64)
    assert key.authenticate(b"data") == hmac.new(b"h" * 64, b"data", hashlib.sha512).digest()[:16]
    assert len(key.authenticate(b"data", 32)) == 32


def test_keys_are_not_shown() -> None:
    shown = repr(MasterKey(Suite.AES_256_GCM, 1, b"m" * 32, b"h" * 64))
    assert shown == "MasterKey(aes-256-gcm)"


def test_more_than_ccm_can_hold() -> None:
    """With a nonce of 12 bytes, CCM counts up to 2**24 - 1 bytes."""
    key = MasterKey(Suite.AES_128_CCM, 1, bytes(16), b"h" * 64)
    with pytest.raises(AuthenticationError):
        key.decrypt(bytes(8), bytes(12), bytes(16), bytes(1 << 24))


def test_suites_have_the_names_of_the_property() -> None:
    assert [(each.value, each.title, each.key_size, each.is_gcm) for each in Suite] == [
        (3, "aes-128-ccm", 16, False), (4, "aes-192-ccm", 24, False), (5, "aes-256-ccm", 32, False),
        (6, "aes-128-gcm", 16, True), (7, "aes-192-gcm", 24, True), (8, "aes-256-gcm", 32, True),
    ]  # fmt: skip
    assert crypt.PASSPHRASE_MIN == 8
