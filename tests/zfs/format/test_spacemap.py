from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unikiln.errors import CorruptError
from unikiln.zfs.format import spacemap
from unikiln.zfs.space import decode_runs

runs = st.lists(
    st.tuples(st.integers(0, 1 << 30), st.integers(1, 1 << 17)).map(lambda run: (run[0] << 12, run[1] << 12)),
    max_size=20,
)


@given(runs)
def test_encoded_runs_come_back(wanted: list[tuple[int, int]]) -> None:
    entries = list(spacemap.decode(spacemap.encode(wanted, 0, 12, 4), 0, 12))
    assert all(entry.kind == spacemap.ALLOC for entry in entries)
    assert sum(entry.length for entry in entries) == sum(length for _, length in wanted)
    assert {entry.offset for entry in entries} >= {offset for offset, _ in wanted}


def two_words(vdev: int, offset: int, run: int, kind: int) -> bytes:
    return struct.pack("<2Q", 3 << 62 | run - 1 << 24 | vdev, kind << 63 | offset)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 1 << 40), st.integers(1, 1 << 20), st.booleans()))
)
def test_both_decoders_agree(entries: list[tuple[int, int, int, bool]]) -> None:
    data = spacemap.encode([(4096, 8192)], 0, 9, 7) + b"".join(two_words(*entry) for entry in entries)
    vdevs, found = decode_runs(data, 9)
    rows = sorted(
        (offset, length, 1 if kind == 0 else -1) for kind, offset, length in spacemap.decode(data, 0, 9)
    )
    assert sorted(map(tuple, found.tolist())) == rows
    assert sorted(vdevs.tolist()) == sorted([-1, *(vdev for vdev, *_ in entries)])


def test_a_second_word_may_look_like_a_first() -> None:
    tricky = two_words(1, 3 << 61 & (1 << 63) - 1, 5, 1) + two_words(2, 0, 1, 0)
    _, found = decode_runs(tricky, 0)
    assert sorted(found[:, 1].tolist()) == [1, 5]


def test_a_cut_entry_is_corrupt() -> None:
    data = two_words(0, 0, 1, 0)[:8]
    with pytest.raises(CorruptError):
        list(spacemap.decode(data, 0, 9))
    with pytest.raises(CorruptError):
        decode_runs(data, 9)
