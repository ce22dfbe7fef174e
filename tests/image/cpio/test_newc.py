from __future__ import annotations

import stat
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unikiln.errors import CpioError
from unikiln.image.cpio import newc
from unikiln.image.cpio.newc import FIELD_MAX, HEADER_SIZE, Header, parse


def test_a_header_to_the_byte() -> None:
    """What OSv's upload_manifest.py sends for a file ``/etc/hosts`` of mode 0644 and 5 bytes, but for inode
    and times, which it sends as 0."""
    packed = Header(b"/etc/hosts", stat.S_IFREG | 0o644, nlink=0, size=5).pack()
    assert packed == (
        b"070701" b"00000000" b"000081a4" b"00000000" b"00000000" b"00000000" b"00000000" b"00000005"
        b"00000000" b"00000000" b"00000000" b"00000000" b"0000000b" b"00000000" b"/etc/hosts\0" b"\0\0\0"
    )  # fmt: skip


def test_every_field_at_its_place() -> None:
    header = Header(b"x", 2, uid=3, gid=4, nlink=5, mtime=6, size=7, inode=1, device=(8, 9), rdevice=(10, 11))
    fields = [int(header.pack()[6 + 8 * n : 14 + 8 * n], 16) for n in range(13)]
    assert fields == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 2, 0]


def test_trailer() -> None:
    assert newc.trailer()[HEADER_SIZE:] == b"TRAILER!!!\0" + bytes(3)
    assert len(newc.trailer()) % 4 == 0


numbers = st.integers(0, FIELD_MAX)


@given(
    st.binary(min_size=1, max_size=80).filter(lambda name: 0 not in name),
    st.lists(numbers, min_size=11, max_size=11),
)
def test_there_and_back(name: bytes, values: list[int]) -> None:
    mode, uid, gid, nlink, mtime, size, inode, *devices = values
    header = Header(
        name, mode, uid, gid, nlink, mtime, size, inode, (devices[0], devices[1]), (devices[2], devices[3])
    )
    packed = header.pack()
    parsed, length = parse(packed[:HEADER_SIZE])
    assert length == len(name) + 1
    assert parsed == replace(header, name=b"")
    assert packed[HEADER_SIZE:].rstrip(b"\0") == name
    assert len(packed) % 4 == 0


@pytest.mark.parametrize("value", [-1, FIELD_MAX + 1])
def test_numbers_that_have_no_room(value: int) -> None:
    with pytest.raises(CpioError, match="no room"):
        Header(b"x", 0, mtime=value).pack()


def test_a_name_that_nobody_takes() -> None:
    Header(b"x" * 4095, 0).pack()
    with pytest.raises(CpioError, match="4096 bytes"):
        Header(b"x" * 4096, 0).pack()


GOOD = Header(b"x", stat.S_IFREG).pack()[:HEADER_SIZE]


@pytest.mark.parametrize(
    "text", [b"+1234567", b" 1234567", b"0x123456", b"1234_567", b"1234567\0", b"-0000001", b"zzzzzzzz"]
)
@pytest.mark.parametrize("field", range(13))
def test_what_is_no_hexadecimal_number(field: int, text: bytes) -> None:
    at = 6 + 8 * field
    with pytest.raises(CpioError, match="hexadecimal"):
        parse(GOOD[:at] + text + GOOD[at + 8 :])


@pytest.mark.parametrize("length", [0, 1, 4097, FIELD_MAX])
def test_lengths_that_no_name_has(length: int) -> None:
    with pytest.raises(CpioError, match=f"a name of {length} bytes"):
        parse(GOOD[:94] + b"%08x" % length + GOOD[102:])


@pytest.mark.parametrize(
    ("magic", "said"),
    [
        (b"070702", "crc"),
        (b"070707", "odc"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"\xc7\x71", "old binary"),
        (b"hello!", "no cpio"),
    ],
)
def test_other_formats_are_named(magic: bytes, said: str) -> None:
    with pytest.raises(CpioError, match=said):
        parse(magic + GOOD[len(magic) :])
