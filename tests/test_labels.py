"""smooth_labels, label_dropout and class_prior: smoothing seen from the labels."""

from fractions import Fraction

import numpy as np
import pytest

import reference
import smoothxent as sx
from problems import FLOATS, LABEL_DTYPES, one_hot, random_prior, random_probabilities
from reference import Real
from ulp import assert_same_bits, assert_within

every_float = pytest.mark.parametrize("dtype", FLOATS)

# (1 - eps) q + eps u in float64, rounded once to the result: 0.5 ulp in float32; in float64 each of
# the two products and the sum rounds.
SMOOTHED = {np.float32: 0.51, np.float64: 2}

# The weight of a class, the pseudocount added to it, the total and the quotient are each rounded.
CLASS_PRIOR = 2

# A count of draws is within 5 standard deviations of its mean, except by chance once in two million.
DEVIATIONS = 5


def real(fraction):
    """A fraction in extended precision."""
    rounded = float(fraction)
    return Real(rounded) + Real(float(fraction - Fraction(rounded)))


@every_float
class TestSmoothLabels:
    labels = np.array([3, 0, 9, 5])

    @pytest.mark.parametrize("eps", [0.0, 0.1, 0.5, 1.0])
    @pytest.mark.parametrize("classes", [10, 1000])
    def test_formula(self, dtype, eps, classes):
        """q'(k) = (1 - eps) q(k) + eps u(k)"""
        for prior in (None, random_prior(np.random.default_rng(1), classes)):
            options = {"label_smoothing": eps, "prior": prior}
            exact = reference.smoothed(self.labels, classes, **options)
            q = sx.smooth_labels(self.labels, classes, dtype=dtype, **options)
            assert q.dtype == dtype
            assert_within(SMOOTHED[dtype], q, exact)
            dense = random_probabilities(np.random.default_rng(2), 4, classes, dtype)
            q = sx.smooth_labels(dense, dtype=dtype, **options)
            assert_within(SMOOTHED[dtype], q, reference.smoothed(dense, classes, **options))

    def test_ends(self, dtype):
        """eps = 0 gives the targets themselves, the prior unread; eps = 1 gives the prior"""
        u = random_prior(np.random.default_rng(1), 10)
        for prior in (None, u, np.full(10, np.nan)):
            q = sx.smooth_labels(self.labels, 10, label_smoothing=0, prior=prior, dtype=dtype)
            assert_same_bits(q, one_hot(self.labels, 10, dtype))
        q = sx.smooth_labels(self.labels, 10, label_smoothing=1, prior=u, dtype=dtype)
        assert_same_bits(q, np.tile(u.astype(dtype), (4, 1)))

    def test_one_hot_gives_what_the_label_gives(self, dtype):
        u = random_prior(np.random.default_rng(1), 10)
        for prior in (None, u):
            options = {"label_smoothing": 0.1, "prior": prior, "dtype": dtype}
            by_label = sx.smooth_labels(self.labels, 10, **options)
            assert_within(
                SMOOTHED[dtype], sx.smooth_labels(one_hot(self.labels, 10), **options), by_label
            )

    @pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
    def test_axis(self, dtype, axis):
        labels = np.arange(6).reshape(2, 3)
        last = sx.smooth_labels(labels, 10, label_smoothing=0.1, dtype=dtype)
        moved = sx.smooth_labels(labels, 10, label_smoothing=0.1, axis=axis, dtype=dtype)
        assert_same_bits(moved, np.moveaxis(last, -1, axis))
        u = random_prior(np.random.default_rng(1), 10)
        last = sx.smooth_labels(labels, 10, label_smoothing=0.1, prior=u, dtype=dtype)
        moved = sx.smooth_labels(labels, 10, label_smoothing=0.1, prior=u, axis=axis, dtype=dtype)
        assert_same_bits(moved, np.moveaxis(last, -1, axis))
        again = sx.smooth_labels(moved, label_smoothing=0.2, prior=u, axis=axis, dtype=dtype)
        assert_same_bits(
            again,
            np.moveaxis(
                sx.smooth_labels(last, label_smoothing=0.2, prior=u, dtype=dtype), -1, axis
            ),
        )

    @pytest.mark.parametrize("classes", [3, 200, 40_000])
    def test_bits_with_where_and_a_prior(self, dtype, classes):
        """They depend neither on layout and axis nor on the other rows."""
        rng = np.random.default_rng(classes)
        labels = rng.integers(0, classes, (2, 5))
        u = rng.dirichlet(np.ones(classes), (2, 5))
        kept = rng.random((2, 5, classes)) < 0.7
        kept[..., 0] = True
        options = {"label_smoothing": 0.3, "dtype": dtype}
        q = sx.smooth_labels(labels, classes, prior=u, where=kept, **options)
        for laid in (np.asfortranarray, lambda array: array[::-1].copy()[::-1]):
            assert_same_bits(
                sx.smooth_labels(labels, classes, prior=laid(u), where=laid(kept), **options), q
            )
        for axis in (0, 1):
            turned = [np.moveaxis(array, -1, axis) for array in (u, kept, q)]
            for given in (turned, [array.copy() for array in turned]):
                moved = sx.smooth_labels(
                    labels, classes, prior=given[0], where=given[1], axis=axis, **options
                )
                assert_same_bits(moved, given[2])
        for row in np.ndindex(labels.shape):
            one = sx.smooth_labels(labels[row], classes, prior=u[row], where=kept[row], **options)
            assert_same_bits(one, q[row])

    def test_prior_of_each_row(self, dtype):
        u = np.random.default_rng(1).dirichlet(np.ones(10), 4)
        q = sx.smooth_labels(self.labels, 10, label_smoothing=0.3, prior=u, dtype=dtype)
        for row in range(4):
            one = sx.smooth_labels(
                self.labels[row : row + 1], 10, label_smoothing=0.3, prior=u[row], dtype=dtype
            )
            assert_same_bits(q[row : row + 1], one)

    def test_out(self, dtype):
        fresh = sx.smooth_labels(self.labels, 10, label_smoothing=0.1, dtype=dtype)
        out = np.full((4, 20), 7, dtype)
        view = out[:, ::2]
        assert sx.smooth_labels(self.labels, 10, label_smoothing=0.1, out=view) is view
        assert_same_bits(view, fresh)
        assert (out[:, 1::2] == 7).all()

    def test_in_place(self, dtype):
        q = random_probabilities(np.random.default_rng(2), 4, 10, dtype)
        fresh = sx.smooth_labels(q, label_smoothing=0.1, dtype=dtype)
        same = q.copy()
        assert sx.smooth_labels(same, label_smoothing=0.1, out=same) is same
        assert_same_bits(same, fresh)
        same = q.copy()
        turned = sx.smooth_labels(same, label_smoothing=0.1, out=same[::-1])
        assert_same_bits(turned, fresh)

    def test_more_classes_than_memory(self, dtype):
        with pytest.raises(
            MemoryError, match=r"^cannot allocate float\d\d of shape \(4, 4611686018427387904\)$"
        ):
            sx.smooth_labels(self.labels, 2**62, label_smoothing=0.1, dtype=dtype)

    def test_every_integer_type(self, dtype):
        expected = sx.smooth_labels(self.labels, 10, label_smoothing=0.1, dtype=dtype)
        for label_dtype in LABEL_DTYPES:
            labels = self.labels.astype(label_dtype)
            for typed in (labels, labels.astype(labels.dtype.newbyteorder())):
                assert_same_bits(
                    sx.smooth_labels(typed, 10, label_smoothing=0.1, dtype=dtype), expected
                )

    def test_no_rows_and_no_batch_axis(self, dtype):
        assert sx.smooth_labels(np.zeros(0, int), 10, label_smoothing=0.1, dtype=dtype).shape == (
            0,
            10,
        )
        one = sx.smooth_labels(3, 10, label_smoothing=0.1, dtype=dtype)
        assert_same_bits(one, sx.smooth_labels([3], 10, label_smoothing=0.1, dtype=dtype)[0])


def test_smoothed_labels_are_float32_by_default():
    assert sx.smooth_labels([3, 0, 9, 5], 10, label_smoothing=0.1).dtype == np.float32


class TestLabelDropout:
    """P(y' = k) = (1 - rate) [k = y] + rate u(k)"""

    n = 100_000

    def counts(self, classes=5, label=2, **options):
        drawn = sx.label_dropout(np.full(self.n, label), classes, **options)
        assert drawn.shape == (self.n,)
        return np.bincount(drawn, minlength=classes)

    @pytest.mark.parametrize("variate, drawn", [(0.0, 1), (1 - 2.0**-53, 2)])
    def test_a_class_of_probability_0_is_never_drawn(self, variate, drawn):
        class Extreme(np.random.Generator):
            def random(self, size):
                return np.full(size, variate)

        rng = Extreme(np.random.PCG64(0))
        assert sx.label_dropout([0], 4, rate=1, prior=[0, 0.5, 0.5, 0], rng=rng) == [drawn]

    @pytest.mark.parametrize("rate", [0.1, 0.5, 1.0])
    @pytest.mark.parametrize("prior", [None, [0.5, 0.25, 0.1, 0.15, 0.0]])
    def test_distribution(self, rate, prior):
        counts = self.counts(rate=rate, prior=prior, rng=np.random.default_rng(1))
        u = np.full(5, 0.2) if prior is None else np.array(prior)
        p = (1 - rate) * (np.arange(5) == 2) + rate * u
        deviation = np.sqrt(self.n * p * (1 - p))
        assert (np.abs(counts - self.n * p) <= DEVIATIONS * deviation).all()

    def test_rate_zero_changes_nothing_and_returns_a_new_array(self):
        labels = np.array([0, 1, 2, -100])
        dropped = sx.label_dropout(labels, 3, rate=0.0, rng=1)
        assert_same_bits(dropped, labels)
        assert not np.shares_memory(dropped, labels)

    def test_labels_are_not_written(self):
        labels = np.arange(100) % 5
        before = labels.copy()
        sx.label_dropout(labels, 5, rate=1.0, rng=1)
        assert_same_bits(labels, before)

    def test_ignored_labels_stay(self):
        labels = np.where(np.arange(1000) % 3 == 0, -100, 1)
        dropped = sx.label_dropout(labels, 4, rate=1.0, rng=1)
        assert ((dropped == -100) == (labels == -100)).all()
        dropped = sx.label_dropout(
            np.where(labels == -100, 7, 1), 4, rate=1.0, ignore_index=7, rng=1
        )
        assert ((dropped == 7) == (labels == -100)).all()

    def test_dtype_and_shape_stay(self):
        for dtype in LABEL_DTYPES:
            labels = np.zeros((2, 3, 4), dtype)
            dropped = sx.label_dropout(labels, 100, rate=0.5, rng=1)
            assert dropped.dtype == dtype
            assert dropped.shape == (2, 3, 4)

    def test_dtype_that_holds_just_the_last_label(self):
        assert sx.label_dropout(np.int8([0]), 128, rate=1.0, prior=np.eye(128)[127]) == [127]

    def test_a_seed_gives_the_same_draws(self):
        labels = np.arange(1000) % 10
        first, again, other = (
            sx.label_dropout(labels, 10, rate=0.5, rng=seed) for seed in (1, 1, 2)
        )
        assert_same_bits(first, again)
        assert (first != other).any()
        generator = np.random.default_rng(1)
        assert_same_bits(sx.label_dropout(labels, 10, rate=0.5, rng=generator), first)
        assert (
            sx.label_dropout(labels, 10, rate=0.5, rng=generator) != first
        ).any()  # the generator has advanced

    def test_without_a_seed_draws_differ(self):
        labels = np.zeros(1000, int)
        assert (
            sx.label_dropout(labels, 10, rate=1.0) != sx.label_dropout(labels, 10, rate=1.0)
        ).any()


class TestClassPrior:
    """u(k) = (n(k) + a) / sum_j (n(j) + a)"""

    labels = np.array([0, 2, 2, -100, 2, 4, 0])

    def test_counts(self):
        u = sx.class_prior(self.labels, 5)
        assert_same_bits(u, np.array([2, 0, 3, 0, 1]) / 6)

    def test_pseudocount(self):
        u = sx.class_prior(self.labels, 5, pseudocount=0.5)
        np.testing.assert_allclose(u, np.array([2.5, 0.5, 3.5, 0.5, 1.5]) / 8.5, rtol=1e-15)

    def test_weights(self):
        weight = np.array([1, 2, 3, np.nan, 4, 5, 6])  # the weight of the ignored label is not read
        u = sx.class_prior(self.labels, 5, sample_weight=weight)
        np.testing.assert_allclose(u, np.array([7, 0, 9, 0, 5]) / 21, rtol=1e-15)

    @pytest.mark.parametrize("count", [7, 100_000])
    @pytest.mark.parametrize("scale", [0, 30, 400])
    @pytest.mark.parametrize("pseudocount", [0.0, 0.1])
    def test_sums_of_many_weights(self, count, scale, pseudocount):
        """Of many sizes, in sums of which each addition would round, in any order."""
        rng = np.random.default_rng(scale)
        labels = rng.integers(0, 9, count) ** 2 // 8  # also classes without labels
        exponents = rng.integers(-scale, scale + 1, count)
        weight = np.ldexp(rng.uniform(0.1, 0.2, count), exponents)
        u = sx.class_prior(labels, 9, sample_weight=weight, pseudocount=pseudocount)
        exact = [sum(map(Fraction, weight[labels == k].tolist())) for k in range(9)]
        exact = [mass + Fraction(pseudocount) for mass in exact]
        sum_of_all = sum(exact)
        assert_within(CLASS_PRIOR, u, [real(mass / sum_of_all) for mass in exact])
        order = rng.permutation(count)
        shuffled = sx.class_prior(
            labels[order], 9, sample_weight=weight[order], pseudocount=pseudocount
        )
        assert_same_bits(shuffled, u)

    def test_a_rare_class(self):
        labels = np.zeros(100_000, int)
        labels[1] = 1
        u = sx.class_prior(labels, 2, sample_weight=np.full(100_000, 0.1))
        assert_within(CLASS_PRIOR, u, [1 - Real(1) / 100_000, Real(1) / 100_000])

    @pytest.mark.parametrize("largest", [1.5e308, 5e-324])
    def test_the_largest_and_the_smallest_weights(self, largest):
        u = sx.class_prior([0, 1, 1], 3, sample_weight=[largest, 0.0, largest / 16])
        assert_same_bits(
            u, np.array([16, 1 if largest > 1 else 0, 0]) / (17 if largest > 1 else 16)
        )

    def test_ignore_index(self):
        u = sx.class_prior(self.labels[self.labels >= 0], 5, ignore_index=2)
        np.testing.assert_allclose(u, np.array([2, 0, 0, 0, 1]) / 3, rtol=1e-15)

    def test_sums_to_one_and_is_accepted_as_a_prior(self):
        labels = np.random.default_rng(1).integers(0, 1000, (20, 50))
        u = sx.class_prior(labels, 1000)
        assert u.dtype == np.float64
        assert abs(u.sum() - 1) < 1e-14
        assert np.isfinite(
            sx.cross_entropy(np.zeros((2, 1000)), [0, 1], label_smoothing=0.1, prior=u)
        )

    def test_every_integer_type(self):
        for dtype in LABEL_DTYPES:
            assert_same_bits(
                sx.class_prior(np.array([0, 1, 1], dtype), 2), np.array([1 / 3, 2 / 3])
            )


class TestLabelsThatChangeMeanwhile:
    """By another thread, or by a method of an argument that is read after the labels: later labels do not matter."""

    @pytest.mark.parametrize("label", [99, -1])
    def test_what_is_checked_is_what_is_used(self, label):
        labels = np.arange(4)

        class Meanwhile:
            def __init__(self, array):
                self.array = array

            def __array__(self, *_, **__):
                labels[-1] = label
                return self.array

        calls = [
            lambda given, u, s: sx.smooth_labels(given, 4, label_smoothing=0.1, prior=u),
            lambda given, u, s: sx.label_dropout(given, 4, rate=0.0, prior=u),
            lambda given, u, s: sx.class_prior(given, 4, sample_weight=s),
        ]
        for call in calls:
            labels[:] = np.arange(4)
            changing = Meanwhile(np.full(4, 0.25)), Meanwhile(np.ones(4))
            result = call(labels, *changing)
            np.testing.assert_array_equal(result, call(np.arange(4), np.full(4, 0.25), np.ones(4)))
            assert labels[-1] == label

    @pytest.mark.parametrize("label", [99, -1])
    def test_a_chunk_of_a_score(self, label):
        labels, z = np.arange(4), np.eye(4)

        class Meanwhile:
            reads = 0

            def __float__(self):
                self.reads += 1
                if self.reads > first_reads:
                    labels[-1] = label
                return 0.25

        weights = [1.0, 2.0, 3.0, 4.0]
        expected = sx.score(z, labels, class_weight=weights, z_loss=0.25)
        first_reads, z_loss = 100, Meanwhile()
        sx.score(z[:0], labels[:0], class_weight=weights, z_loss=z_loss)
        first_reads = z_loss.reads  # before the first chunk
        score = sx.score(z, labels, class_weight=weights, z_loss=Meanwhile())
        assert score == expected
        assert labels[-1] == label
