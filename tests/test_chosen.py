"""top_k_log_softmax and log_softmax_at: the bits of log_softmax, in the order of the logits."""

import itertools

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import smoothxent as sx
from problems import LABEL_DTYPES, STORED
from strategies import layouts, rows_of, seeds
from test_layouts import spread
from ulp import assert_same_bits

INF, NAN = np.inf, np.nan
HEATS = (1.0, 0.7, 1e-20, 1e20)  # the last two are scaled near 1 by powers of two


def order(z, where=None):
    """All classes of each row in order: NaN, then by logit, then masked classes; ties by class."""
    z = z.astype(np.float64)
    kept = np.broadcast_to(True if where is None else where, z.shape)
    group = np.where(kept, np.where(np.isnan(z), 0, 1), 2)
    return np.lexsort((np.where(group == 1, -z, 0), group))


def check(z, counts, heats=(1.0,), axis=-1, where=None):
    """Check both functions against log_softmax and a sort of all classes, for each count and temperature."""
    by_class = np.moveaxis(z, axis, -1)
    kept = where
    if where is not None:
        kept = np.moveaxis(np.broadcast_to(where, z.shape), axis, -1)
    sorted_classes = order(by_class, kept)
    for heat in heats:
        options = {"axis": axis, "where": where, "temperature": heat}
        log_p = sx.log_softmax(z, **options)
        for k in counts:
            expected = np.moveaxis(sorted_classes[..., :k], -1, axis)
            result = sx.top_k_log_softmax(z, k, **options)
            assert isinstance(result, sx.TopK)
            assert_same_bits(result.indices, expected)
            at_best = np.take_along_axis(log_p, expected, axis)
            assert_same_bits(result.log_probs, at_best)
            assert_same_bits(sx.log_softmax_at(z, expected, **options), at_best)


def rows_of_all_kinds(classes, dtype):
    """Ordinary rows, ties, huge numbers, and special values in some places."""
    rng = np.random.default_rng(classes)
    z = rng.normal(size=(8, classes)) * 3
    z[1] = np.round(z[1])
    z[2] *= 1e30
    z[3, classes // 2] = NAN
    z[4, classes // 3] = INF
    z[5] = -INF
    z[5, ::7] = 1.0
    z[6] = -INF
    z[7] = rng.choice([0.0, -0.0, -1e-30], classes)
    with np.errstate(over="ignore"):
        return z.astype(dtype)


def counts(classes):
    return [1, 5, classes // 2] if classes > 2000 else sorted({0, 1, min(classes, 5), classes})


# Tiles of few classes, rows, rows of several segments.
@pytest.mark.parametrize("classes", [1, 2, 9, 16, 17, 63, 64, 65, 257, 1000, 16385, 40000])
@pytest.mark.parametrize("dtype", STORED)
def test_every_length(classes, dtype):
    z = rows_of_all_kinds(classes, dtype)
    rng = np.random.default_rng(1)
    where = rng.random(z.shape) < 0.5
    where[1] = False
    where[0] = np.arange(classes) == classes // 3
    many = classes > 2000
    check(z, counts(classes), HEATS[::3] if many else HEATS)
    few = [k for k in counts(classes) if k < 100]
    check(z, few, [1e20] if many else [0.7, 1e20], where=where)


@pytest.mark.parametrize("dtype", STORED)
def test_as_many_classes_as_a_vector_has_lanes_and_one_more(dtype):
    check(rows_of_all_kinds(300, dtype), [2, 3, 4, 5, 8, 9, 16, 17])


@pytest.mark.parametrize(
    "threads, dtype", [(1, np.float32), (3, np.float16), (3, np.float32), (3, np.float64)]
)
def test_one_row_on_several_threads(threads, dtype):
    """Also sorts of more classes than without polling for Ctrl-C. A row of 2 MiB is shared by three threads."""
    classes = 2**21 // max(4, np.dtype(dtype).itemsize) + 7
    rng = np.random.default_rng(0)
    rows = [rng.normal(size=classes) * 3, np.full(classes, 0.5), np.linspace(-1, 1, classes)]
    rows.append(rng.choice([-INF, -1.0, 2.0], classes))
    with sx.num_threads(threads):
        for z in np.array(rows, dtype):
            check(z, [300])
        check(z, [2**17], where=np.arange(classes) % 3 != 1)


def test_many_rows_on_several_threads():
    z = np.random.default_rng(0).normal(size=(3000, 500)).astype(np.float32)
    with sx.num_threads(1):
        expected = sx.top_k_log_softmax(z, 7)
    with sx.num_threads(3):
        result = sx.top_k_log_softmax(z, 7)
        assert_same_bits(sx.log_softmax_at(z, expected.indices), expected.log_probs)
    assert_same_bits(result.indices, expected.indices)
    assert_same_bits(result.log_probs, expected.log_probs)
    check(z, [7])


@given(layouts(), st.sampled_from(STORED), st.data())
def test_any_rows_and_layout(layout, dtype, data):
    specials = (0.0, -0.0, 1.0, INF, -INF, NAN)
    count = int(np.prod(layout.batch))
    rows = data.draw(rows_of(count, dtype, specials))
    heat = data.draw(st.sampled_from(HEATS))
    where = None
    rng = np.random.default_rng(data.draw(seeds))
    if data.draw(st.booleans()):
        where = layout.lay(rng.random(rows.shape) < 0.6)
    classes = rows.shape[1]
    z = layout.lay(rows)
    check(z, [data.draw(st.integers(0, classes))], [heat], layout.axis, where)
    # Given classes, some of them twice, in any memory layout.
    indices = rng.integers(0, min(classes, 127), (count, data.draw(st.integers(0, 9))))
    indices = layout.lay(indices.astype(data.draw(st.sampled_from(LABEL_DTYPES))))
    options = {"axis": layout.axis, "temperature": heat, "where": where}
    log_p = sx.log_softmax(z, **options)
    expected = np.take_along_axis(log_p, indices.astype(np.int64), layout.axis)
    assert_same_bits(sx.log_softmax_at(z, indices, **options), expected)


class TestOrder:
    def test_ties_go_to_the_lower_class(self):
        assert sx.top_k_log_softmax([1.0, 2.0, 2.0, 1.0, 2.0], 4).indices.tolist() == [1, 2, 4, 0]

    def test_zeros_are_equal(self):
        assert sx.top_k_log_softmax([-0.0, 0.0, -0.0], 3).indices.tolist() == [0, 1, 2]

    def test_by_the_logits_not_by_the_rounded_result(self):
        """If one class is far ahead, the log-probabilities of the others are equal in float32."""
        z = np.array([0.0, 1.0, 2.0, 1e9], np.float32)
        result = sx.top_k_log_softmax(z, 4)
        assert result.indices.tolist() == [3, 2, 1, 0]
        assert result.log_probs[1] == result.log_probs[2] == result.log_probs[3]

    def test_nan_first(self):
        result = sx.top_k_log_softmax([INF, NAN, -INF, 5.0, NAN], 5)
        assert result.indices.tolist() == [1, 4, 0, 3, 2]
        assert np.isnan(result.log_probs).all()
        assert sx.top_k_log_softmax([INF, 5.0, -NAN], 3).indices.tolist() == [2, 0, 1]

    def test_masked_last(self):
        where = [False, True, True, False, True]
        result = sx.top_k_log_softmax([NAN, -INF, 1.0, INF, -INF], 5, where=where)
        assert result.indices.tolist() == [2, 1, 4, 0, 3]
        assert result.log_probs.tolist() == [0, -INF, -INF, -INF, -INF]

    def test_a_row_without_classes(self):
        result = sx.top_k_log_softmax([3.0, NAN, 5.0], 2, where=[False] * 3)
        assert result.indices.tolist() == [0, 1]
        assert result.log_probs.tolist() == [-INF, -INF]

    def test_nothing_but_minus_infinity(self):
        result = sx.top_k_log_softmax([[-INF, -INF, -INF]], 2)
        assert result.indices.tolist() == [[0, 1]]
        assert np.isnan(result.log_probs).all()

    def test_a_masked_class_of_a_row_with_nan(self):
        result = sx.log_softmax_at([NAN, 1.0, 2.0], [0, 1], where=[True, False, True])
        assert np.isnan(result[0])
        assert result[1] == -INF


class TestShapes:
    @pytest.mark.parametrize("dtype", STORED)
    def test_types_of_results(self, dtype):
        z = np.zeros((2, 5, 3), dtype)
        result = sx.top_k_log_softmax(z, 4, axis=1)
        assert (result.indices.shape, result.indices.dtype) == ((2, 4, 3), np.int64)
        assert (result.log_probs.shape, result.log_probs.dtype) == ((2, 4, 3), dtype)
        given = sx.log_softmax_at(z, np.zeros((2, 7, 3), np.uint8), axis=1)
        assert (given.shape, given.dtype) == ((2, 7, 3), dtype)

    def test_lists_are_float64(self):
        assert sx.top_k_log_softmax([1, 2], 1).log_probs.dtype == np.float64
        assert sx.log_softmax_at([1, 2], [0]).dtype == np.float64

    def test_nothing_is_asked_for(self):
        assert sx.top_k_log_softmax(np.zeros((2, 3)), 0).indices.shape == (2, 0)
        assert sx.log_softmax_at(np.zeros((2, 3)), [[], []]).shape == (2, 0)

    def test_no_rows(self):
        assert sx.top_k_log_softmax(np.zeros((0, 3)), 2).log_probs.shape == (0, 2)
        assert sx.log_softmax_at(np.zeros((0, 3)), np.zeros((0, 4), int)).shape == (0, 4)
        assert sx.top_k_log_softmax(np.zeros((0, 0)), 0).indices.shape == (0, 0)

    def test_more_indices_than_classes(self):
        z = np.array([[0.5, -1.0], [2.0, 3.0]], np.float32)
        indices = np.arange(2 * 10_000).reshape(2, -1) % 2
        expected = np.take_along_axis(sx.log_softmax(z), indices, -1)
        assert_same_bits(sx.log_softmax_at(z, indices), expected)


class TestIndices:
    @pytest.mark.parametrize("dtype", LABEL_DTYPES)
    def test_any_integer_type_and_strides(self, dtype):
        z = np.random.default_rng(0).normal(size=(4, 9))
        indices = np.random.default_rng(1).integers(0, 9, (4, 3)).astype(dtype)
        expected = np.take_along_axis(sx.log_softmax(z), indices.astype(int), -1)
        for steps in itertools.product((1, -1, 2, -3), repeat=2):
            assert_same_bits(sx.log_softmax_at(z, spread(indices, steps)), expected)
        assert_same_bits(
            sx.log_softmax_at(z, indices.astype(indices.dtype.newbyteorder())), expected
        )

    def test_the_first_that_is_no_class_in_c_order(self):
        indices = np.zeros((50, 3, 40), int)
        for place in [(49, 0, 0), (31, 2, 5), (31, 1, 39)]:
            indices[place] = 7
        z = np.zeros((50, 7, 40))
        with pytest.raises(
            sx.LabelError, match=r"^indices\[31, 1, 39\] is 7, but there are 7 classes$"
        ):
            sx.log_softmax_at(z, indices, axis=1)

    def test_a_negative_one_does_not_count_from_the_end(self):
        with pytest.raises(IndexError, match=r"^indices\[1\] is -1, but there are 3 classes$"):
            sx.log_softmax_at(np.zeros(3), [0, -1])


def test_results_are_not_increasing():
    z = np.random.default_rng(0).normal(size=(50, 300)).astype(ml_dtypes.bfloat16)
    log_probs = sx.top_k_log_softmax(z, 300, temperature=1.7).log_probs.astype(np.float32)
    assert (np.diff(log_probs) <= 0).all()
