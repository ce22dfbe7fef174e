"""Parity: any columns that it can replace come back, whatever they were."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unikiln.zfs.codec import raidz

elements = st.integers(0, 255)


def columns(seed: int, count: int, length: int = 64) -> list[raidz.Bytes]:
    return list(np.random.default_rng(seed).integers(0, 256, (count, length), dtype=np.uint8))


@given(elements, elements, elements)
def test_the_field_is_one(a: int, b: int, c: int) -> None:
    multiply = raidz.multiply
    assert multiply(a, b) == multiply(b, a)
    assert multiply(a, b ^ c) == multiply(a, b) ^ multiply(a, c)
    assert multiply(multiply(a, b), c) == multiply(a, multiply(b, c))
    assert a == 0 or multiply(a, raidz.invert(a)) == 1


def test_the_polynomial_is_that_of_raid_6() -> None:
    assert raidz.multiply(0x80, 2) == 0x1D
    assert raidz.multiply(0x8E, 2) == 1


def test_parity_by_hand() -> None:
    data = [np.array([value], dtype=np.uint8) for value in (1, 2, 3)]
    assert [int(raidz.parity_of(data, number)[0]) for number in range(3)] == [
        1 ^ 2 ^ 3,
        4 ^ 4 ^ 3,
        16 ^ 8 ^ 3,
    ]


@pytest.mark.parametrize("count", [1, 2, 5, 17])
@pytest.mark.parametrize("nparity", [1, 2, 3])
def test_every_loss_that_parity_covers_is_made_good(count: int, nparity: int) -> None:
    data = columns(count, count)
    parity = [raidz.parity_of(data, number) for number in range(nparity)]
    for lost in range(nparity + 1):
        for gone in combinations(range(count + nparity), lost):
            left = [None if n in gone else column for n, column in enumerate([*parity, *data])]
            found = raidz.reconstruct(left[nparity:], left[:nparity])
            assert found is not None
            assert all((a == b).all() for a, b in zip(found, data, strict=True))


def test_too_many_missing_is_no_answer() -> None:
    data = columns(1, 4)
    parity = [raidz.parity_of(data, 0)]
    assert raidz.reconstruct([None, None, *data[2:]], parity) is None
    assert raidz.reconstruct([None, *data[1:]], [None]) is None
