from __future__ import annotations

import contextlib
import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unikiln.base.size import round_up
from unikiln.errors import CorruptError, UnsupportedError
from unikiln.zfs.format import nvlist

u64 = st.integers(0, (1 << 64) - 1)
text = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=20)
scalars = st.just(True) | u64 | text | st.binary(max_size=40)
arrays = st.lists(u64, min_size=1, max_size=5) | st.lists(text, min_size=1, max_size=5)
lists = st.recursive(
    st.dictionaries(text, scalars | arrays, max_size=4),
    lambda below: st.dictionaries(
        text, scalars | below | st.lists(below, min_size=1, max_size=3), max_size=4
    ),
    max_leaves=8,
)


@given(lists)
def test_round_trip(pairs: nvlist.NvList) -> None:
    assert nvlist.decode(nvlist.encode(pairs) + b"what follows") == pairs


def test_known_bytes() -> None:
    assert nvlist.encode({"txg": 4}).hex() == (
        "01010000" "00000000" "00000001" "00000020" "00000020" "00000003" "74786700"
        "00000008" "00000001" "0000000000000004" "0000000000000000"
    )  # fmt: skip


@given(st.binary(max_size=60))
def test_anything_decodes_or_is_an_error_of_ours(tail: bytes) -> None:
    with contextlib.suppress(CorruptError):
        nvlist.decode(b"\1\1\0\0\0\0\0\0\0\0\0\1" + tail)


@given(lists, st.data())
def test_damage_is_an_error_of_ours(pairs: nvlist.NvList, data: st.DataObject) -> None:
    raw = bytearray(nvlist.encode(pairs))
    raw[data.draw(st.integers(4, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(CorruptError):
        nvlist.decode(bytes(raw))


def native(pairs: nvlist.NvList, order: str) -> bytes:
    """The list as a machine of byte order ``order`` packs it in its own way."""
    return bytes([0, order == "<", 0, 0]) + struct.pack(f"{order}iI", 0, 1) + native_pairs(pairs, order)


def native_pairs(pairs: nvlist.NvList, order: str) -> bytes:
    return b"".join(native_pair(name, value, order) for name, value in pairs.items()) + bytes(4)


def native_pair(name: str, value: nvlist.Value, order: str) -> bytes:
    kind, count, body, behind = native_value(value, order)
    raw = os.fsencode(name) + b"\0"
    padded = (b"\0" * 16 + raw).ljust(round_up(16 + len(raw), 8), b"\0")[16:]
    size = round_up(16 + len(raw), 8) + round_up(len(body), 8)
    head = struct.pack(f"{order}ihhii", size, len(raw), 0, count, kind)
    return head + padded + body.ljust(round_up(len(body), 8), b"\0") + behind


def native_value(value: nvlist.Value, order: str) -> tuple[int, int, bytes, bytes]:
    match value:
        case bool():
            return nvlist.BOOLEAN, 0, b"", b""
        case int():
            return nvlist.UINT64, 1, struct.pack(f"{order}Q", value), b""
        case str():
            return nvlist.STRING, 1, os.fsencode(value) + b"\0", b""
        case bytes():
            return nvlist.BYTE_ARRAY, len(value), value, b""
        case dict():
            return nvlist.NVLIST, 1, bytes(24), native_pairs(value, order)
    numbers = [each for each in value if isinstance(each, int)]
    strings = [os.fsencode(each) + b"\0" for each in value if isinstance(each, str)]
    below = [native_pairs(each, order) for each in value if isinstance(each, dict)]
    count = len(value)
    if below:
        return nvlist.NVLIST_ARRAY, count, bytes(32 * count), b"".join(below)
    if strings:
        return nvlist.STRING_ARRAY, count, bytes(8 * count) + b"".join(strings), b""
    return nvlist.UINT64_ARRAY, count, struct.pack(f"{order}{count}Q", *numbers), b""


@given(lists, st.sampled_from("<>"))
def test_native_lists_of_either_byte_order(pairs: nvlist.NvList, order: str) -> None:
    assert nvlist.decode(native(pairs, order) + bytes(8)) == pairs


@given(lists, st.data())
def test_damage_to_native_lists_is_an_error_of_ours(pairs: nvlist.NvList, data: st.DataObject) -> None:
    raw = bytearray(native(pairs, "<"))
    raw[data.draw(st.integers(4, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(CorruptError):
        nvlist.decode(bytes(raw))


@pytest.mark.parametrize(("kind", "code", "size"), [(2, "B", 1), (3, "h", 2), (6, "I", 4), (21, "i", 4)])
def test_small_numbers_of_native_lists(kind: int, code: str, size: int) -> None:
    pair = struct.pack(">ihhii", 32, 2, 0, 1, kind) + b"n\0".ljust(8, b"\0")
    packed = bytes(4) + struct.pack(">iI", 0, 1) + pair + struct.pack(f">{code}", 1).ljust(8, b"\0")
    assert nvlist.decode(packed + bytes(4)) == {"n": 1}


def test_other_encodings_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="encoding 7"):
        nvlist.decode(b"\7" + bytes(100))
    with pytest.raises(CorruptError):
        nvlist.decode(b"")
