from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unikiln.base.size import round_up
from unikiln.errors import CorruptError
from unikiln.zfs.format import acl, sa
from unikiln.zfs.format.sa import Attribute


def encode(number: int, layout: Sequence[Attribute], values: Sequence[bytes]) -> bytes:
    lengths = tuple(len(value) for each, value in zip(layout, values, strict=True) if each.length == 0)
    padded = (value.ljust(round_up(len(value), 8), b"\0") for value in values)
    return sa.header(number, lengths) + b"".join(padded)


names = st.lists(st.sampled_from(sorted(sa.ATTRIBUTES)), unique=True, min_size=1, max_size=9)


@given(names, st.integers(2, 1000), st.data())
def test_round_trip(chosen: list[str], number: int, data: st.DataObject) -> None:
    layout = [sa.ATTRIBUTES[name] for name in chosen]
    values = [
        data.draw(st.binary(min_size=each.length, max_size=each.length or 60), label=each.name)
        for each in layout
    ]
    raw = encode(number, layout, values)
    assert sa.layout_of(raw) == number
    assert dict(sa.decode(raw, layout)) == dict(zip(chosen, values, strict=True))


def test_registrations() -> None:
    for attribute in sa.ATTRIBUTES.values():
        assert sa.decode_registration(attribute.name, sa.encode_registration(attribute)) == attribute
    assert sa.encode_registration(sa.ATTRIBUTES["ZPL_MODE"]) == 0x8000005


def test_buffers_that_are_not() -> None:
    with pytest.raises(CorruptError):
        sa.layout_of(bytes(8))
    raw = encode(2, [sa.ATTRIBUTES["ZPL_MODE"]], [bytes(8)])
    with pytest.raises(CorruptError, match="ZPL_SIZE"):
        list(sa.decode(raw, [sa.ATTRIBUTES["ZPL_MODE"], sa.ATTRIBUTES["ZPL_SIZE"]]))


def test_trivial_acls() -> None:
    assert acl.trivial(0o100644).entries == 3
    assert acl.trivial(0o100077).entries > 3
    assert len(acl.trivial(0o40755).aces) == 8 * acl.trivial(0o40755).entries
    assert acl.trivial(0o40755).flags & acl.NO_EXECS_DENIED
