"""The DSL crypto key object: the keys of a dataset, wrapped by what its user holds.

A ZAP in the meta object set (sys/dsl_crypt.h). A DSL directory names it under ``CRYPTO_KEY``; a
clone shares that of its origin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Self

from unikiln.errors import CorruptError, UnsupportedError
from unikiln.zfs.format.zap import Entry

CRYPTO_KEY = b"com.datto:crypto_key_obj"
"""Where the ZAP of a DSL directory has the number of its crypto key object."""
WRAPPING_KEY_SIZE = 32
"""Bytes of the key that wraps the others, whatever the suite."""
HMAC_KEY_SIZE = 64
IV_SIZE = 12
MAC_SIZE = 16
CURRENT_VERSION = 1
"""Version 0, of before OpenZFS 0.8, authenticates less."""


class Suite(IntEnum):
    """``enum zio_encrypt`` (sys/fs/zfs.h), without those that stand for another."""

    AES_128_CCM = 3
    AES_192_CCM = 4
    AES_256_CCM = 5
    AES_128_GCM = 6
    AES_192_GCM = 7
    AES_256_GCM = 8

    @property
    def title(self) -> str:
        """As the property ``encryption`` has it: ``aes-256-gcm``."""
        return self.name.lower().replace("_", "-")

    @property
    def key_size(self) -> int:
        """Bytes of the master key, and of the keys that encrypt blocks."""
        return int(self.name.split("_")[1]) // 8

    @property
    def is_gcm(self) -> bool:
        """GCM rather than CCM."""
        return self.name.endswith("GCM")


class KeyFormat(IntEnum):
    """``zfs_keyformat_t``: what the user holds."""

    RAW = 1
    HEX = 2
    PASSPHRASE = 3


@dataclass(frozen=True, slots=True)
class CryptoKey:
    """``root`` is the DSL directory of the encryption root; ``salt`` and ``iterations`` are for a passphrase.

    ``master``, ``hmac``, ``iv`` and ``mac`` are as they were wrapped.
    """

    suite: Suite
    guid: int
    version: int
    root: int
    master: bytes
    hmac: bytes
    iv: bytes
    mac: bytes
    format: KeyFormat
    salt: int = 0
    iterations: int = 0

    @classmethod
    def decode(cls, entries: Mapping[bytes, Entry]) -> Self:
        """The key in the entries of a crypto key object.

        :raises CorruptError: an entry that is missing, or too short
        :raises UnsupportedError: a suite, version or format of key that we do not know
        """
        suite, version = _number(entries, b"DSL_CRYPTO_SUITE"), _number(entries, b"DSL_CRYPTO_VERSION", 0)
        form = _number(entries, b"keyformat")
        if suite not in Suite.__members__.values() or version > CURRENT_VERSION:
            raise UnsupportedError(f"encryption with suite {suite}, version {version}, is none that we know")
        if form not in KeyFormat.__members__.values():
            raise UnsupportedError(f"encryption keys of format {form} are none that we know")
        return cls(
            Suite(suite),
            _number(entries, b"DSL_CRYPTO_GUID"),
            version,
            _number(entries, b"DSL_CRYPTO_ROOT_DDOBJ"),
            _bytes(entries, b"DSL_CRYPTO_MASTER_KEY_1", Suite(suite).key_size),
            _bytes(entries, b"DSL_CRYPTO_HMAC_KEY_1", HMAC_KEY_SIZE),
            _bytes(entries, b"DSL_CRYPTO_IV", IV_SIZE),
            _bytes(entries, b"DSL_CRYPTO_MAC", MAC_SIZE),
            KeyFormat(form),
            _number(entries, b"pbkdf2salt", 0),
            _number(entries, b"pbkdf2iters", 0),
        )


def _number(entries: Mapping[bytes, Entry], name: bytes, default: int | None = None) -> int:
    found = entries.get(name)
    if found is not None and found.values:
        return found.values[0]
    if default is None:
        raise CorruptError(f"a crypto key object without {name.decode()}")
    return default


def _bytes(entries: Mapping[bytes, Entry], name: bytes, size: int) -> bytes:
    found = entries.get(name)
    if found is None or found.width != 1 or len(found.values) < size:
        raise CorruptError(f"a crypto key object without {size} bytes of {name.decode()}")
    return bytes(found.values[:size])
