from __future__ import annotations

import pytest

from unikiln.errors import CorruptError, UnsupportedError
from unikiln.zfs.format.cryptokey import CryptoKey, KeyFormat, Suite
from unikiln.zfs.format.zap import Entry


def number(name: str, value: int) -> Entry:
    return Entry(name.encode(), (value,))


def text(name: str, content: bytes) -> Entry:
    return Entry(name.encode(), tuple(content), 1)


ENTRIES = [
    number("DSL_CRYPTO_SUITE", 4),
    number("DSL_CRYPTO_GUID", 99),
    number("DSL_CRYPTO_VERSION", 1),
    number("DSL_CRYPTO_ROOT_DDOBJ", 34),
    number("DSL_CRYPTO_REFCOUNT", 1),
    text("DSL_CRYPTO_MASTER_KEY_1", b"m" * 32),
    text("DSL_CRYPTO_HMAC_KEY_1", b"h" * 64),
    text("DSL_CRYPTO_IV", b"i" * 12),
    text("DSL_CRYPTO_MAC", b"M" * 16),
    number("keyformat", 3),
    number("pbkdf2salt", 5),
    number("pbkdf2iters", 350000),
]
BY_NAME = {entry.name: entry for entry in ENTRIES}


def test_decode() -> None:
    assert CryptoKey.decode(BY_NAME) == CryptoKey(
        Suite.AES_192_CCM,
        99,
        1,
        34,
        b"m" * 24,
        b"h" * 64,
        b"i" * 12,
        b"M" * 16,
        KeyFormat.PASSPHRASE,
        5,
        350000,
    )


def test_the_first_format_had_no_version() -> None:
    assert CryptoKey.decode({k: v for k, v in BY_NAME.items() if k != b"DSL_CRYPTO_VERSION"}).version == 0


@pytest.mark.parametrize(
    "name", ["SUITE", "GUID", "ROOT_DDOBJ", "MASTER_KEY_1", "HMAC_KEY_1", "IV", "MAC"]
)  # fmt: skip
def test_what_is_missing_or_short_is_named(name: str) -> None:
    full = f"DSL_CRYPTO_{name}".encode()
    without = {each: entry for each, entry in BY_NAME.items() if each != full}
    with pytest.raises(CorruptError, match=full.decode()):
        CryptoKey.decode(without)
    if BY_NAME[full].width == 1:
        for broken in (text(full.decode(), b"short"), Entry(full, (1,) * 99, 8)):
            with pytest.raises(CorruptError, match=full.decode()):
                CryptoKey.decode({**without, full: broken})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DSL_CRYPTO_SUITE", 2),
        ("DSL_CRYPTO_SUITE", 9),
        ("DSL_CRYPTO_VERSION", 2),
        ("keyformat", 0),
        ("keyformat", 4),
    ],
)
def test_what_nobody_knows_yet_is_refused(name: str, value: int) -> None:
    with pytest.raises(UnsupportedError, match=str(value)):
        CryptoKey.decode({**BY_NAME, name.encode(): number(name, value)})
