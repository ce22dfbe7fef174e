from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unikiln.errors import CorruptError
from unikiln.zfs.format import fatzap, zap
from unikiln.zfs.format.zap import Entry

u64 = st.integers(0, (1 << 64) - 1)
short_names = st.binary(min_size=1, max_size=49).filter(lambda name: b"\0" not in name)
names = st.binary(min_size=1, max_size=255).filter(lambda name: b"\0" not in name)
MASK = (1 << 64) - 1


def slow_hash(name: bytes, salt: int) -> int:
    """Bit by bit, with the reflected polynomial of ECMA-182."""
    crc = salt
    for byte in name:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xC96C5795D7870F42 if crc & 1 else 0)
    return crc & ~((1 << 36) - 1) & MASK


@given(names, u64)
def test_the_hash_is_the_upper_28_bits_of_a_crc(name: bytes, salt: int) -> None:
    assert zap.hash_name(name, salt) == slow_hash(name, salt)


@given(st.dictionaries(short_names, u64, max_size=80), u64)
def test_micro_round_trip(entries: dict[bytes, int], salt: int) -> None:
    assert zap.fits_micro(entries)
    block = zap.encode_micro(entries, salt)
    assert len(block) % 512 == 0
    assert zap.decode_micro(block) == entries


def test_what_does_not_fit_a_micro_zap() -> None:
    assert not zap.fits_micro({b"x" * 50: 1})
    assert not zap.fits_micro({str(n).encode(): n for n in range(2048)})
    with pytest.raises(CorruptError):
        zap.decode_micro(bytes(512))


values = st.lists(u64, min_size=1, max_size=5).map(tuple)


def read_all(blocks: list[bytes]) -> dict[bytes, Entry]:
    header = fatzap.Header(blocks[0])
    found: dict[bytes, Entry] = {}
    for number in header.leaf_blocks(blocks.__getitem__):
        found.update({entry.name: entry for _, entry in fatzap.decode_leaf(blocks[number])})
    return found


@given(st.dictionaries(names, values, max_size=60), u64)
def test_fat_round_trip(entries: dict[bytes, tuple[int, ...]], salt: int) -> None:
    wanted = {name: Entry(name, each) for name, each in entries.items()}
    blocks = fatzap.encode(list(wanted.values()), salt)
    assert read_all(blocks) == wanted
    assert fatzap.Header(blocks[0]).count == len(wanted)


def test_a_large_one_has_a_table_of_its_own_and_is_found_by_hash() -> None:
    entries = [Entry(f"file-{n:06}-with-a-name-of-some-length".encode(), (n,)) for n in range(40_000)]
    blocks = fatzap.encode(entries, 0x1234567, shift=12)
    header = fatzap.Header(blocks[0])
    assert header.table_blocks
    assert len(read_all(blocks)) == 40_000
    for entry in entries[::997]:
        leaf = header.leaf_of(zap.hash_name(entry.name, header.salt), blocks.__getitem__)
        assert entry in [found for _, found in fatzap.decode_leaf(blocks[leaf])]


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_widths(width: int) -> None:
    entry = Entry(b"name", (1, 2, 200), width)
    assert read_all(fatzap.encode([entry], 1)) == {b"name": entry}


@given(st.data())
def test_a_damaged_leaf_decodes_or_is_corrupt(data: st.DataObject) -> None:
    leaf = bytearray(fatzap.encode([Entry(b"n" * 30, (n,)) for n in range(3)], 5)[1])
    for _ in range(3):
        leaf[data.draw(st.integers(0, 1400))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(CorruptError):
        fatzap.decode_leaf(bytes(leaf))


def test_headers_that_are_not() -> None:
    with pytest.raises(CorruptError):
        fatzap.Header(bytes(100))
    with pytest.raises(CorruptError):
        fatzap.Header(bytes(16384))
    with pytest.raises(CorruptError):
        fatzap.decode_leaf(bytes(16384))
