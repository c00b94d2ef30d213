"""Columns of polars, which passes missing values to NumPy as nan: they are refused, as in other libraries."""

import numpy as np
import pytest

import smoothxent as sx
from ulp import assert_same_bits

Z = np.array([[1.0, 3.0], [0.0, -2.0]], np.float32)
MISSING = "has missing values; decide what they mean, for example with .fill_null"


class Type:
    """The type of a column of numbers."""


class ListType(Type):
    """That of a column of lists of one length, which knows the type of their items."""

    inner = Type()


class Series:
    """What is used of a polars.Series or polars.DataFrame. `lists` may have missing values within the lists."""

    def __init__(self, array, nulls=0, lists=None):
        self.array, self.nulls, self.lists = array, nulls, lists
        self.dtype = Type() if lists is None else ListType()

    def null_count(self):
        return self.nulls

    def explode(self):
        return self.lists

    def __array__(self, dtype=None, copy=None):
        return self.array


NONE = Series(Z)
ONE = Series(np.array([[1.0, np.nan]]), nulls=1)
IN_DATA_FRAME = Series(ONE.array, nulls=Series(np.array([[0, 1]])))
IN_LIST = Series(ONE.array, lists=Series(ONE.array.ravel(), nulls=1))


def test_without_missing_values():
    for given in (NONE, [Series(Z[0]), Series(Z[1])], Series(Z, lists=Series(Z.ravel()))):
        assert_same_bits(sx.softmax(given), sx.softmax(Z))
    assert sx.cross_entropy(Z, Series(np.array([0, 1]))) == sx.cross_entropy(Z, [0, 1])


@pytest.mark.parametrize("given", [ONE, IN_DATA_FRAME, IN_LIST, [NONE, ONE]])
def test_missing_values_are_refused(given):
    for call, name, fill in (
        (lambda: sx.softmax(given), "logits", "-numpy.inf"),
        (lambda: sx.cross_entropy(Z, given), "targets", "ignore_index"),
        (lambda: sx.score(Z, [0, 1], sample_weight=given), "sample_weight", "0.0"),
    ):
        with pytest.raises(TypeError) as error:
            call()
        assert str(error.value) == f"{name} {MISSING}({fill})"
