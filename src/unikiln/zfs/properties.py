"""Properties of datasets in the words that users know: ``compression=lz4``, not 15 (zfs_prop.c)."""

from __future__ import annotations

from collections.abc import Mapping

from unikiln.base.size import format_size, parse_size
from unikiln.errors import UsageError
from unikiln.zfs.format.blkptr import Compression
from unikiln.zfs.format.zap import Entry

_ON_OFF = {0: "off", 1: "on"}
_CHECKSUMS = {
    1: "on", 2: "off", 6: "fletcher2", 7: "fletcher4", 8: "sha256", 10: "noparity", 11: "sha512",
    12: "skein", 13: "edonr", 14: "blake3",
}  # fmt: skip
_COMPRESSIONS = {
    1: "on", 2: "off", 3: "lzjb", 5: "gzip-1", 6: "gzip-2", 7: "gzip-3", 8: "gzip-4", 9: "gzip-5",
    10: "gzip", 11: "gzip-7", 12: "gzip-8", 13: "gzip-9", 14: "zle", 15: "lz4", 16: "zstd",
}  # fmt: skip
_CACHES = {0: "none", 1: "metadata", 2: "all"}
_WORDS: Mapping[str, Mapping[int, str]] = {
    **dict.fromkeys(
        (
            "atime", "relatime", "devices", "exec", "setuid", "readonly", "zoned", "vscan", "nbmand",
            "overlay", "utf8only", "longname", "defer_destroy",
        ),
        _ON_OFF,
    ),
    "checksum": _CHECKSUMS,
    "dedup": {
        **_CHECKSUMS, 257: "verify", 264: "sha256,verify", 267: "sha512,verify", 268: "skein,verify",
        269: "edonr,verify", 270: "blake3,verify",
    },
    "keyformat": {0: "none", 1: "raw", 2: "hex", 3: "passphrase"},
    "volthreading": _ON_OFF,
    "compression": _COMPRESSIONS,
    "primarycache": _CACHES,
    "secondarycache": _CACHES,
    "snapdir": {0: "hidden", 1: "visible", 2: "disabled"},
    "snapdev": {0: "hidden", 1: "visible"},
    "aclmode": {0: "discard", 2: "groupmask", 3: "passthrough", 4: "restricted"},
    "acltype": {0: "off", 1: "posix", 2: "nfsv4"},
    "aclinherit": {0: "discard", 1: "noallow", 3: "passthrough", 4: "restricted", 5: "passthrough-x"},
    "casesensitivity": {0: "sensitive", 1: "insensitive", 2: "mixed"},
    "logbias": {0: "latency", 1: "throughput"},
    "canmount": {0: "off", 1: "on", 2: "noauto"},
    "sync": {0: "standard", 1: "always", 2: "disabled"},
    "xattr": {0: "off", 1: "dir", 2: "sa"},
    "dnodesize": {0: "legacy", 1: "auto", 1024: "1k", 2048: "2k", 4096: "4k", 8192: "8k", 16384: "16k"},
    "redundant_metadata": {0: "all", 1: "most", 2: "some", 3: "none"},
    "volmode": {0: "default", 1: "full", 2: "dev", 3: "none"},
    "prefetch": {0: "none", 1: "metadata", 2: "all"},
    "direct": {0: "disabled", 1: "standard", 2: "always"},
}  # fmt: skip
_SIZES = frozenset(
    {"recordsize", "volblocksize", "volsize", "quota", "refquota", "reservation", "refreservation"}
    | {"special_small_blocks"}
)
_UNLIMITED = {"quota", "refquota", "reservation", "refreservation"}
_COUNTED = ("filesystem_limit", "snapshot_limit")
_ANY_NUMBER = (1 << 64) - 1
_ALGORITHM = 0x7F
"""Bits of a compression property; those above are the level."""
_FAST = (*range(1, 11), *range(20, 101, 10), 500, 1000)
_FAST_FROM = 103
"""The number of ``zstd-fast-1``, which is shown as ``zstd-fast`` (``enum zio_zstd_levels``)."""
_RECEIVED = "$recvd"
_UNKNOWN_THEN = "$iuv"
"""Holds the value itself when it was one that the pool's version did not know (``ZPROP_IUV_SUFFIX``)."""
_INTERNAL = ("$inherit", "$hasrecvd", _UNKNOWN_THEN)


def decode_properties(entries: Mapping[str, Entry]) -> dict[str, tuple[str, str]]:
    """(value, source) by name, of the entries of a properties ZAP; source is ``local`` or ``received``.

    A name with a colon is a user property. What was set here wins over what was received.
    """
    found: dict[str, tuple[str, str]] = {}
    for name, entry in sorted(entries.items(), key=lambda item: item[0].endswith(_RECEIVED), reverse=True):
        if name.endswith(_INTERNAL):
            continue
        plain = name.removesuffix(_RECEIVED)
        effective = entries.get(name + _UNKNOWN_THEN, entry)
        found[plain] = _value(plain, effective), "received" if plain != name else "local"
    return dict(sorted(found.items()))


def _value(name: str, entry: Entry) -> str:
    if entry.width == 1:
        return bytes(entry.values).rstrip(b"\0").decode(errors="surrogateescape")
    return word_for(name, entry.values[0] if entry.values else 0)


def word_for(name: str, value: int) -> str:
    """What ``zfs get`` shows for the number ``value`` of property ``name``."""
    words = _WORDS.get(name)
    if words is not None:
        return words.get(value) or (_zstd_level(value) if name == "compression" else str(value))
    if name in _UNLIMITED and value == 0:
        return "none"
    return format_size(value).removesuffix("B") if name in _SIZES else str(value)


def _zstd_level(value: int) -> str:
    """``zstd-7`` or ``zstd-fast-20`` for a compression with its level."""
    level = value >> _ALGORITHM.bit_length()
    if value & _ALGORITHM != Compression.ZSTD:
        return str(value)
    if level <= _FAST_FROM:
        return "zstd-fast" if level == _FAST_FROM else f"zstd-{level}"
    return f"zstd-fast-{_FAST[level - _FAST_FROM]}" if level - _FAST_FROM < len(_FAST) else str(value)


def exact_value(name: str, entry: Entry) -> str:
    """What ``zfs get -p`` shows: words as they are, numbers to the last digit."""
    if entry.width == 1:
        return _value(name, entry)
    value = entry.values[0] if entry.values else 0
    if name in _COUNTED and value == _ANY_NUMBER:
        return "none"
    return word_for(name, value) if name in _WORDS else str(value)


def number_for(name: str, word: str) -> int:
    """The number that stands for ``word``, as ``zfs set`` takes it.

    :raises UsageError: no such property, or not a value that it can have
    """
    if name in _SIZES:
        return 0 if word == "none" and name in _UNLIMITED else parse_size(word)
    if name not in _WORDS:
        raise UsageError(f"{name!r} is no property that can be set here")
    for number, known in _WORDS[name].items():
        if known == word:
            return number
    raise UsageError(f"{name}={word} is not possible", hint=f"one of {', '.join(_WORDS[name].values())}")
