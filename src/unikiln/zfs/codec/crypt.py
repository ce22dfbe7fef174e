"""Encryption of blocks: from what a user holds to the key of one block, and the ciphers themselves.

Three steps (module/zfs/dsl_crypt.c, module/os/linux/zfs/zio_crypt.c): the user's key unwraps a master
key and an HMAC key; the master key and the salt in a block pointer make the key of the block
(HKDF-SHA512); AES in GCM or CCM mode decrypts the block, and checks that it is what was encrypted.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from unikiln.errors import AuthenticationError, UsageError
from unikiln.zfs.format.cryptokey import (
    HMAC_KEY_SIZE,
    MAC_SIZE,
    WRAPPING_KEY_SIZE,
    CryptoKey,
    KeyFormat,
    Suite,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM

PASSPHRASE_MIN, PASSPHRASE_MAX = 8, 512
ITERATIONS_MAX = 1 << 31
"""More than this the function that does them refuses."""
_KEYS_KEPT = 256


def hkdf_sha512(secret: bytes, info: bytes, length: int) -> bytes:
    """Derive a key of up to 64 bytes (RFC 5869, without its salt; what OpenZFS calls salt is ``info``)."""
    extracted = hmac.digest(b"", secret, "sha512")
    return hmac.digest(extracted, info + b"\x01", "sha512")[:length]


def wrapping_key(held: bytes, key: CryptoKey) -> bytes:
    """The 32 bytes that wrap the keys in ``key``, of what the user holds: raw, hex digits or a passphrase.

    A line's end after digits or a passphrase is none of them, as in a file that an editor wrote.

    :raises UsageError: what can be no key of that format
    """
    if key.format == KeyFormat.RAW or (key.format == KeyFormat.HEX and len(held) == WRAPPING_KEY_SIZE):
        return _of_size(held)
    line = held.removesuffix(b"\n").removesuffix(b"\r")
    return _from_hex(line) if key.format == KeyFormat.HEX else _from_passphrase(line, key)


def _of_size(held: bytes) -> bytes:
    if len(held) != WRAPPING_KEY_SIZE:
        raise UsageError(f"a raw key has {WRAPPING_KEY_SIZE} bytes, not {len(held)}")
    return held


def _from_hex(line: bytes) -> bytes:
    try:
        return _of_size(bytes.fromhex(line.decode("ascii")))
    except (ValueError, UsageError) as error:
        raise UsageError(f"a key in hex has {2 * WRAPPING_KEY_SIZE} hex digits") from error


def _from_passphrase(line: bytes, key: CryptoKey) -> bytes:
    if not PASSPHRASE_MIN <= len(line) <= PASSPHRASE_MAX:
        raise UsageError(f"a passphrase has {PASSPHRASE_MIN} to {PASSPHRASE_MAX} bytes, not {len(line)}")
    if not 0 < key.iterations < ITERATIONS_MAX:
        raise UsageError(f"a passphrase with {key.iterations} iterations cannot be used")
    salt = struct.pack("<Q", key.salt)
    return hashlib.pbkdf2_hmac("sha1", line, salt, key.iterations, WRAPPING_KEY_SIZE)


def unwrap(key: CryptoKey, wrapping: bytes) -> MasterKey:
    """The keys in a crypto key object.

    :raises AuthenticationError: ``wrapping`` is not what wrapped them
    """
    about = struct.pack("<3Q", key.guid, key.suite, key.version)
    opened = _decrypt(
        cipher(key.suite, wrapping),
        key.iv,
        key.master + key.hmac + key.mac,
        about if key.version else about[:8],
    )
    size = key.suite.key_size
    return MasterKey(key.suite, key.version, opened[:size], opened[size : size + HMAC_KEY_SIZE])


@dataclass(frozen=True, slots=True)
class MasterKey:
    """The keys of a dataset; ``version`` is of the format of what they authenticate."""

    suite: Suite
    version: int
    master: bytes
    hmac: bytes

    def __repr__(self) -> str:
        return f"MasterKey({self.suite.title})"

    def decrypt(self, salt: bytes, iv: bytes, mac: bytes, data: bytes, about: bytes = b"") -> bytes:
        """The plain text of ``data``; ``about`` is what ``mac`` authenticates beside it.

        :raises AuthenticationError: these are not what was encrypted
        """
        return _decrypt(_cipher_for_salt(self.suite, self.master, salt), iv, data + mac, about)

    def authenticate(self, data: bytes, size: int = MAC_SIZE) -> bytes:
        """The first ``size`` bytes of the HMAC-SHA512 of ``data``."""
        return hmac.digest(self.hmac, data, "sha512")[:size]


@lru_cache(maxsize=_KEYS_KEPT)
def _cipher_for_salt(suite: Suite, master: bytes, salt: bytes) -> AESGCM | AESCCM:
    """A salt serves hundreds of millions of blocks before OpenZFS takes another."""
    return cipher(suite, hkdf_sha512(master, salt, suite.key_size))


def cipher(suite: Suite, key: bytes) -> AESGCM | AESCCM:
    """AES with ``key`` in the mode of ``suite``; the length of the key says which AES."""
    from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM

    return AESGCM(key) if suite.is_gcm else AESCCM(key, tag_length=MAC_SIZE)


def _decrypt(aes: AESGCM | AESCCM, iv: bytes, sealed: bytes, about: bytes) -> bytes:
    from cryptography.exceptions import InvalidTag

    try:
        return aes.decrypt(iv, sealed, about)
    except (InvalidTag, ValueError, OverflowError) as error:
        raise AuthenticationError("its message authentication code is not that of its content") from error
