from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def test_native_encoding_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="encoding 0"):
        nvlist.decode(bytes(100))
    with pytest.raises(CorruptError):
        nvlist.decode(b"")
