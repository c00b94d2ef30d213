"""Several axes of classes: the same bits as one axis with these classes in C order, in any layout."""

import itertools
import tracemalloc

import ml_dtypes
import numpy as np
import pytest

import smoothxent as sx
from cases import for_each
from problems import STORED
from ulp import assert_same_bits

SHAPE = (3, 2, 5, 4)
AXES = [None, *(axes for n in range(5) for axes in itertools.combinations(range(4), n))]
FUNCTIONS = (sx.softmax, sx.log_softmax)
LAYOUTS = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "reversed": lambda array: array[::-1, :, ::-1].copy()[::-1, :, ::-1],
    "turned": lambda array: array.transpose(2, 0, 3, 1).copy().transpose(1, 3, 0, 2),
    "spread": lambda array: np.repeat(array, 2, axis=2)[:, :, ::2],
}
every_axes = pytest.mark.parametrize("axes", AXES, ids=str)
every_layout = for_each("layout", LAYOUTS)


def logits(dtype=np.float32, shape=SHAPE):
    return (3 * np.random.default_rng(0).standard_normal(shape)).astype(dtype)


def as_one(array, axes):
    """A new array in which these axes are merged into one, the last."""
    axes = range(array.ndim) if axes is None else axes
    moved = np.moveaxis(array, axes, range(array.ndim - len(axes), array.ndim))
    return moved.reshape(*moved.shape[: array.ndim - len(axes)], -1)


@every_axes
@every_layout
@for_each("dtype", STORED)
def test_the_bits_of_one_axis(axes, layout, dtype):
    z = logits(dtype)
    given = LAYOUTS[layout](z)
    for function in FUNCTIONS:
        got = function(given, axis=axes)
        assert (got.shape, got.dtype) == (z.shape, z.dtype)
        assert got.flags.c_contiguous
        assert_same_bits(as_one(got, axes), function(as_one(z, axes)))
    assert_same_bits(
        np.asarray(sx.logsumexp(given, axis=axes)), np.asarray(sx.logsumexp(as_one(z, axes)))
    )


@every_axes
@every_layout
@for_each("dtype", [None, np.float64, np.float16])
def test_out_and_in_place(axes, layout, dtype):
    z = logits()
    for function in FUNCTIONS:
        expected = function(z, axis=axes, dtype=dtype)
        out = LAYOUTS[layout](np.full(SHAPE, 7.0, expected.dtype))
        assert function(z, axis=axes, dtype=dtype, out=out) is out
        assert_same_bits(out, expected)
        if dtype is None:
            own = LAYOUTS[layout](z.copy())
            assert function(own, axis=axes, out=own) is own
            assert_same_bits(own, expected)


@every_axes
def test_float16_is_not_rounded_on_the_way_to_a_wider_out(axes):
    z = logits(np.float16)
    for order in "CF":
        out = np.zeros(SHAPE, np.float32, order=order)
        sx.log_softmax(z, axis=axes, out=out)
        assert_same_bits(as_one(out, axes), sx.log_softmax(as_one(z, axes).astype(np.float32)))


@every_axes
@for_each("shape", [(), (4,), (5, 1), (1, 1, 5, 4), (3, 1, 1, 4), (3, 2, 5, 1), SHAPE])
def test_where(axes, shape):
    z = logits()
    kept = np.random.default_rng(1).random(shape) < 0.7
    whole = as_one(np.broadcast_to(kept, SHAPE), axes)
    for function in FUNCTIONS:
        got = function(z, axis=axes, where=kept, temperature=0.5)
        expected = function(as_one(z, axes), where=whole, temperature=0.5)
        assert_same_bits(as_one(got, axes), expected)
    for keepdims in (False, True):
        got = sx.logsumexp(z, axis=axes, where=kept.tolist(), keepdims=keepdims)
        assert_same_bits(
            np.asarray(got).ravel(), np.ravel(sx.logsumexp(as_one(z, axes), where=whole))
        )


@every_axes
@pytest.mark.parametrize("keepdims", [False, True])
def test_shapes_of_logsumexp_are_those_of_numpy(axes, keepdims):
    z = logits(np.float64)
    expected = np.max(z, axis=axes, keepdims=keepdims)
    got = sx.logsumexp(z, axis=axes, keepdims=keepdims)
    assert (np.shape(got), type(got)) == (expected.shape, type(expected))
    out = np.zeros_like(expected, subok=False)
    assert sx.logsumexp(z, axis=axes, keepdims=keepdims, out=out) is out
    assert_same_bits(out, np.asarray(got))


@pytest.mark.parametrize("axes", [None, (0,), (1,), (0, 1)], ids=str)
def test_results_in_a_matrix(axes):
    """A matrix always has two axes."""
    z = logits(np.float64, (4, 3))
    for function in FUNCTIONS:
        out = np.zeros((4, 3)).view(np.matrix)
        assert function(z, axis=axes, out=out) is out
        assert_same_bits(np.asarray(out), function(z, axis=axes))
    expected = sx.logsumexp(z, axis=axes, keepdims=True)
    out = np.zeros(expected.shape).view(np.matrix)
    assert sx.logsumexp(z, axis=axes, keepdims=True, out=out) is out
    assert_same_bits(np.asarray(out), expected)


@pytest.mark.parametrize(
    "axes", [(1, 0), (-1, 0), (-4, -2, 1), (np.int8(1), np.uint64(2))], ids=str
)
def test_the_order_of_the_tuple_and_the_way_to_count_do_not_matter(axes):
    z = logits()
    in_order = tuple(sorted(int(axis) % 4 for axis in axes))
    assert_same_bits(sx.softmax(z, axis=axes), sx.softmax(z, axis=in_order))
    assert_same_bits(sx.logsumexp(z, axis=axes), sx.logsumexp(z, axis=in_order))


@pytest.mark.parametrize("dtype", STORED, ids=str)
def test_one_row_is_a_scalar_of_numpy(dtype):
    z = logits(dtype, 5)
    assert type(sx.logsumexp(z)) is dtype.type
    assert type(sx.logsumexp(z, axis=None)) is dtype.type
    assert type(sx.logsumexp(z, where=False)) is dtype.type
    assert type(sx.softmax(z[0], axis=None)) is dtype.type
    assert sx.logsumexp(z, keepdims=True).shape == (1,)
    out = np.zeros((), dtype)
    assert sx.logsumexp(z, out=out) is out


def test_a_number_is_one_class():
    for number in (3.0, np.float32(3.0), np.array(3.0)):
        assert sx.softmax(number, axis=None) == 1.0
        assert sx.log_softmax(number, axis=()) == 0.0
        assert sx.logsumexp(number, axis=None) == 3.0


@pytest.mark.parametrize("dtype", STORED, ids=str)
def test_no_classes(dtype):
    """K = 0 with N > 0: ValueError, but for logsumexp, which is -inf"""
    for shape, axis in [
        ((8, 0), -1),
        ((8, 0), (1,)),
        ((0, 8), 0),
        ((8, 0, 3), (1, 2)),
        ((8, 0), None),
        ((0,), -1),
    ]:
        z = np.zeros(shape, dtype)
        expected = np.max(z, axis=axis, initial=-1)
        got = sx.logsumexp(z, axis=axis, where=np.zeros(shape[-1:], bool))
        assert np.shape(got) == expected.shape
        assert np.asarray(got).dtype == dtype
        assert (np.asarray(got) == -np.inf).all()
        for function in FUNCTIONS:
            with pytest.raises(ValueError, match="^logits has 0 classes along ax"):
                function(z, axis=axis)
    assert sx.logsumexp([]) == -np.inf
    assert sx.logsumexp(np.zeros((0, 8, 0)), axis=(1, 2)).shape == (0,)
    assert sx.softmax(np.zeros((0, 8, 0)), axis=(1, 2)).shape == (0, 8, 0)


class TestMemory:
    """The memory that is allocated besides the result."""

    Z = np.zeros((64, 64, 64), np.float32)

    @staticmethod
    def peak(call):
        call()
        tracemalloc.start()
        call()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    @pytest.mark.parametrize("axes", [None, (0, 1), (1, 2), (0, 1, 2)], ids=str)
    def test_neighbours_in_c_order_are_not_copied(self, axes):
        for function in FUNCTIONS:
            out = np.empty_like(self.Z)
            assert self.peak(lambda: function(self.Z, axis=axes, out=out)) < self.Z.nbytes / 10  # noqa: B023
            assert self.peak(lambda: function(self.Z, axis=axes)) < self.Z.nbytes * 1.1  # noqa: B023
        assert self.peak(lambda: sx.logsumexp(self.Z, axis=axes)) < self.Z.nbytes / 10
        row = np.ones(64, bool)
        kept = self.peak(lambda: sx.logsumexp(self.Z, axis=axes, where=row))
        assert kept < self.Z.nbytes / 3  # a byte for each class of one row

    def test_others_are(self):
        """Otherwise the test above would prove nothing."""
        assert self.peak(lambda: sx.logsumexp(self.Z, axis=(0, 2))) > self.Z.nbytes
        assert self.peak(lambda: sx.logsumexp(self.Z.T, axis=None)) > self.Z.nbytes


def test_lists_and_other_types_are_converted():
    rows = [[1, 2], [3, 4]]
    for given in (rows, np.array(rows), np.array(rows, ">f8"), np.array(rows, bool)):
        got = sx.softmax(given, axis=None)
        assert got.dtype == np.float64
        assert_same_bits(got, sx.softmax(np.array(given, np.float64), axis=None))


def test_dtype_of_bfloat16():
    z = logits(ml_dtypes.bfloat16)
    assert sx.softmax(z, axis=(0, 2), dtype=np.float32).dtype == np.float32
    assert sx.softmax(z.astype(np.float32), axis=(0, 2), dtype=ml_dtypes.bfloat16).dtype == z.dtype
