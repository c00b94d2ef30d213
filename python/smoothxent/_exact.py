"""Exact sums of float64 numbers, which do not depend on the order of addition or on its parts.

A finite float64 is a multiple of 2**-1074, so a sum of them is an integer number of these units.
Arrays are added with few operations of NumPy, by what Rump, Ogita and Oishi call extraction
("Accurate floating-point summation", part I, SIAM J. Sci. Comput. 31, 2008): with sigma a power of
two larger than n max|x| for n numbers,

    q = (sigma + x) - sigma    x to the nearest multiple of 2**-53 sigma: all sums of q are exact
    x = x - q                  exact, and smaller by a factor of 2**-53 n: repeat until it is 0
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from smoothxent._types import NDArray

_SHIFT = 1074  # 2**-1074 is the smallest float64
_MAX_EXPONENT = 1023


@dataclass(frozen=True, slots=True)
class ExactSum:
    """A sum of float64 numbers. Infinities and NaNs are counted separately."""

    units: int = 0
    """The sum of the finite numbers, in units of 2**-1074."""
    nans: int = 0
    plus: int = 0
    minus: int = 0

    def __add__(self, other: ExactSum) -> ExactSum:
        return ExactSum(
            self.units + other.units,
            self.nans + other.nans,
            self.plus + other.plus,
            self.minus + other.minus,
        )

    @classmethod
    def of_count(cls, count: int) -> ExactSum:
        """Return the sum of `count` ones."""
        return cls(int(count) << _SHIFT)

    def value(self) -> float:
        """Return the sum, rounded once."""
        return self.over(_ONE)

    def over(self, divisor: ExactSum) -> float:
        """Return the quotient of two sums, rounded once; nan if the divisor, which is not negative, is 0."""
        if self.nans or (self.plus and self.minus) or not (divisor.units or divisor.plus):
            return math.nan
        if self.plus or self.minus:
            return math.inf if self.plus else -math.inf
        if divisor.plus:
            return 0.0
        try:
            return self.units / divisor.units  # Python rounds quotients of integers once
        except OverflowError:
            return math.inf if self.units > 0 else -math.inf


_ONE = ExactSum.of_count(1)


def exact_sums(values: NDArray[np.floating[Any]]) -> list[ExactSum]:
    """Return the sum of every row of a 2-d array."""
    rows, columns = values.shape
    return _sums(
        values.astype(np.float64).ravel(),
        rows,
        lambda numbers: numbers.reshape(rows, columns).sum(axis=1),
        lambda place: place // columns,
    )


def exact_sum(values: NDArray[np.floating[Any]]) -> ExactSum:
    """Return the sum of all numbers of an array."""
    return exact_sums(values.reshape(1, -1))[0]


def exact_sums_of_groups(
    values: NDArray[np.floating[Any]], groups: NDArray[np.intp], count: int
) -> list[ExactSum]:
    """Return the sums of `count` groups of a 1-d array; `groups` says which group each is in."""
    return _sums(
        values.astype(np.float64),
        count,
        lambda numbers: np.bincount(groups, weights=numbers, minlength=count),
        lambda place: int(groups[place]),
    )


def _sums(
    rest: NDArray[np.float64],
    count: int,
    add: Callable[[NDArray[np.float64]], NDArray[Any]],
    group_of: Callable[[int], int],
) -> list[ExactSum]:
    """Return the sums of `count` groups of `rest`, which is overwritten; `add` adds numbers by group."""
    nans = plus = minus = np.zeros(count)
    finite = np.isfinite(rest)
    if not finite.all():
        nans = add(np.isnan(rest).astype(np.float64))
        plus = add((rest == np.inf).astype(np.float64))
        minus = add((rest == -np.inf).astype(np.float64))
        rest[~finite] = 0.0
    units = [0] * count
    while largest := float(np.abs(rest).max(initial=0.0)):
        exponent = math.frexp(largest)[1] + (rest.size + 1).bit_length()
        if exponent > _MAX_EXPONENT:  # sigma would overflow: the largest numbers, one by one
            for place in np.flatnonzero(np.abs(rest) >= largest / 2).tolist():
                units[group_of(place)] += _units(float(rest[place]))
                rest[place] = 0.0
            continue
        sigma = math.ldexp(1.0, exponent)
        extracted = (sigma + rest) - sigma
        rest -= extracted
        for group, added in enumerate(add(extracted).tolist()):
            units[group] += _units(added)
    return [ExactSum(u, int(n), int(p), int(m)) for u, n, p, m in zip(units, nans, plus, minus)]


def _units(number: float) -> int:
    numerator, denominator = number.as_integer_ratio()
    return numerator << (_SHIFT + 1 - denominator.bit_length())
