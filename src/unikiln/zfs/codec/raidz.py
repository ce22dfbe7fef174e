"""The parity of RAID-Z: sums over GF(2^8), and columns computed back from them (vdev_raidz.c).

The field has the polynomial x^8 + x^4 + x^3 + x^2 + 1. Of n data columns D, parity p is the sum of
g^(n-1-i) D[i] with g = 1, 2, 4 for p = 0, 1, 2 (P, Q and R).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
_POLYNOMIAL = 0x11D


def _powers() -> tuple[list[int], list[int]]:
    powers, logarithms, value = [0] * 510, [0] * 256, 1
    for exponent in range(255):
        powers[exponent] = powers[exponent + 255] = value
        logarithms[value] = exponent
        value <<= 1
        if value & 0x100:
            value ^= _POLYNOMIAL
    return powers, logarithms


_POWERS, _LOGARITHMS = _powers()


def multiply(a: int, b: int) -> int:
    """The product of two elements."""
    return _POWERS[_LOGARITHMS[a] + _LOGARITHMS[b]] if a and b else 0


def invert(a: int) -> int:
    """What gives 1 with ``a``, which is not 0."""
    return _POWERS[255 - _LOGARITHMS[a]]


@lru_cache(maxsize=256)
def _table(factor: int) -> Bytes:
    """Every byte times ``factor``."""
    return np.array([multiply(factor, value) for value in range(256)], dtype=np.uint8)


def _coefficient(parity: int, index: int, count: int) -> int:
    return _POWERS[parity * (count - 1 - index) % 255]


def parity_of(columns: Sequence[Bytes], number: int) -> Bytes:
    """Parity ``number`` of data columns of one length."""
    total = columns[0].copy()
    for column in columns[1:]:
        if number:
            total = _table(1 << number)[total]
        total ^= column
    return total


def reconstruct(data: Sequence[Bytes | None], parity: Sequence[Bytes | None]) -> list[Bytes] | None:
    """All data columns, those that are None computed from the others and the first parity that suffices.

    All columns that are there have one length. None when too many are missing.
    """
    missing = [index for index, column in enumerate(data) if column is None]
    if not missing:
        return [column for column in data if column is not None]
    usable = [number for number, column in enumerate(parity) if column is not None]
    for chosen in combinations(usable, len(missing)):
        inverse = _inverse([[_coefficient(p, i, len(data)) for i in missing] for p in chosen])
        if inverse is not None:
            return _solve(data, [parity[p] for p in chosen], chosen, missing, inverse)
    return None


def _solve(
    data: Sequence[Bytes | None],
    parity: Sequence[Bytes | None],
    chosen: Sequence[int],
    missing: Sequence[int],
    inverse: list[list[int]],
) -> list[Bytes]:
    length = next(len(column) for column in parity if column is not None)
    zeros = np.zeros(length, dtype=np.uint8)
    known = [zeros if column is None else column for column in data]
    sums = [
        parity_of(known, number) ^ (zeros if column is None else column)
        for number, column in zip(chosen, parity, strict=True)
    ]
    for row, index in zip(inverse, missing, strict=True):
        found = zeros.copy()
        for factor, each in zip(row, sums, strict=True):
            found ^= _table(factor)[each]
        known[index] = found
    return known


def _inverse(matrix: list[list[int]]) -> list[list[int]] | None:
    """The inverse of a small square matrix (Gauss and Jordan); None when it has none."""
    size = len(matrix)
    rows = [[*row, *(int(i == n) for i in range(size))] for n, row in enumerate(matrix)]
    for column in range(size):
        pivot = next((n for n in range(column, size) if rows[n][column]), None)
        if pivot is None:
            return None
        rows[column], rows[pivot] = rows[pivot], rows[column]
        factor = invert(rows[column][column])
        rows[column] = [multiply(factor, value) for value in rows[column]]
        for n in range(size):
            if n != column and rows[n][column]:
                by = rows[n][column]
                rows[n] = [
                    value ^ multiply(by, above) for value, above in zip(rows[n], rows[column], strict=True)
                ]
    return [row[size:] for row in rows]
