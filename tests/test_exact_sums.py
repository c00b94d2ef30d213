"""Exact sums, compared with those of fractions."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from smoothxent._exact import ExactSum, exact_sums, exact_sums_of_groups

FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=64)


def fraction(exact):
    return Fraction(exact.units, 2**1074)


@given(arrays(np.float64, st.tuples(st.integers(0, 3), st.integers(0, 40)), elements=FLOATS))
def test_rows(values):
    for row, exact in zip(values.tolist(), exact_sums(values), strict=True):
        assert fraction(exact) == sum(map(Fraction, row))


@given(arrays(np.float64, st.integers(0, 60), elements=FLOATS), st.randoms())
def test_groups(values, random):
    groups = np.array([random.randrange(4) for _ in values], np.intp)
    for group, exact in enumerate(exact_sums_of_groups(values, groups, 4)):
        assert fraction(exact) == sum(map(Fraction, values[groups == group].tolist()))


@pytest.mark.parametrize("scale", [0, 12, 300, 1020])
def test_many(scale):
    """Numbers of many sizes that cancel, more than the extraction can add in one step."""
    rng = np.random.default_rng(scale)
    values = np.ldexp(rng.standard_normal(20_000), rng.integers(-scale, scale + 1, 20_000))
    values = np.append(values, -values[::2])
    (exact,) = exact_sums(values[None])
    assert fraction(exact) == sum(map(Fraction, values.tolist()))
    assert exact.value() == math.fsum(values)


def test_quotients_are_rounded_once():
    third = exact_sums(np.ones((1, 1)))[0].over(ExactSum.of_count(3))
    assert third == 1 / 3
    assert math.isnan(ExactSum().over(ExactSum()))
    for sign in (1, -1):
        most = exact_sums(np.full((1, 2), sign * 1.7e308))[0]
        assert most.value() == sign * math.inf
        assert most.over(ExactSum.of_count(2)) == sign * 1.7e308


@pytest.mark.parametrize(
    "values, expected",
    [
        ([1, math.nan], math.nan),
        ([1, math.inf, math.inf], math.inf),
        ([1, -math.inf], -math.inf),
        ([math.inf, -math.inf], math.nan),
        ([math.inf, math.nan], math.nan),
    ],
)
def test_infinities_and_nan(values, expected):
    whole = exact_sums(np.array([values]))[0]
    parts = [exact_sums(np.array([[value]]))[0] for value in values]
    for exact in (whole, sum(parts, ExactSum())):
        np.testing.assert_equal(exact.value(), expected)
    assert whole == sum(reversed(parts), ExactSum())
    (one, other) = exact_sums_of_groups(
        np.array([*values, 2.0]), np.array([0] * len(values) + [1]), 2
    )
    assert one == whole
    assert other.value() == 2
