"""Pieces that lie over an object's blocks: the same bytes as if each had been written in its turn."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from unikiln.zfs.written import Written

SIZE = 200
pieces = st.lists(st.tuples(st.integers(0, SIZE), st.integers(0, 80), st.booleans()), max_size=20)


def lay(written: Written, rows: list[tuple[int, int, bool]], into: bytearray) -> None:
    for number, (offset, length, is_hole) in enumerate(rows):
        data = bytes((number * 7 + i) % 255 + 1 for i in range(length))
        written.write(offset, length, None if is_hole else lambda data=data: data)  # type: ignore[misc]
        end = min(offset + length, len(into))
        if end > offset:
            into[offset:end] = bytes(end - offset) if is_hole else data[: end - offset]


@given(pieces, st.integers(0, SIZE), st.integers(0, SIZE))
def test_it_is_what_a_file_would_be(rows: list[tuple[int, int, bool]], at: int, length: int) -> None:
    stored = bytes(range(1, SIZE + 1))
    wanted, written = bytearray(stored), Written()
    lay(written, rows, wanted)
    assert written.over(stored[at : at + length], at) == wanted[at : at + length]
    assert written.over(stored, 0) == wanted


@given(pieces, st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), max_size=6))
def test_ranges_cover_the_data_and_nothing_else(
    rows: list[tuple[int, int, bool]], gaps: list[tuple[int, int]]
) -> None:
    stored, at, image = [], 0, bytearray(SIZE)
    for gap, length in gaps:
        at += gap
        stored.append((at, length))
        image[at : at + length] = b"\xff" * length
        at += length
    written = Written()
    lay(written, rows, image)
    found = list(written.ranges(stored, SIZE))
    assert all(0 <= start < start + length <= SIZE for start, length in found)
    assert all(a + b < c for (a, b), (c, _) in zip(found, found[1:], strict=False))  # noqa: RUF007
    covered = {at for start, length in found for at in range(start, start + length)}
    assert covered == {at for at, byte in enumerate(image) if byte}


def test_a_source_that_is_short_reads_as_zeros() -> None:
    written = Written()
    written.write(2, 6, lambda: b"abc")
    assert written.over(b"x" * 10, 0) == b"xxabc\0\0\0xx"
    assert written.over(b"", 5) == b""
