"""Corner cases that looked safe and were not: sizes of targets, underflow, subclasses with wrong attributes."""

import numpy as np
import pytest

import reference
import smoothxent as sx
import ulp
from problems import FLOATS
from reference import Real
from smoothxent.objectives import lightgbm_objective
from ulp import assert_within

f32 = np.float32


class TestSizeOfTargets:
    """Probability targets need not sum to 1, and may be of any size."""

    @pytest.mark.parametrize("mass", [1e-31, 1e-20, 1e20, 1e30])
    def test_float32(self, mass):
        z = np.array([[0, 1, -1], [2, 0.5, -3]], f32)
        q = (np.array([[1, 0.5, 0.25], [0, 1, 0]]) * mass).astype(f32)
        loss, grad = sx.cross_entropy_value_and_grad(z, q, reduction="none")
        assert_within(ulp.LOSS, loss, reference.cross_entropy(z, q))
        at = np.broadcast_to(q.astype(float).sum(-1, keepdims=True), z.shape)
        assert_within(ulp.GRADIENT, grad, reference.gradient(z, q), at)
        mean, mean_grad = sx.cross_entropy_value_and_grad(z, q)
        assert np.isfinite(mean)
        assert np.abs(mean_grad).max() <= 1
        assert np.abs(mean_grad.sum(-1)).max() <= 1e-6

    @pytest.mark.parametrize("mass", [1e-100, 1e-50, 1e50])
    def test_float64_beside_float32_logits(self, mass):
        z = np.array([[0, 1, -1]], f32)
        q = np.array([[1, 0.5, 0.25]])
        loss, grad = sx.cross_entropy_value_and_grad(z, q)
        other_loss, other_grad = sx.cross_entropy_value_and_grad(z, q * mass)
        assert other_loss == pytest.approx(loss, rel=1e-6)
        assert np.abs(other_grad - grad).max() <= 1e-6

    @pytest.mark.parametrize("classes", [3, 70, 20000])
    @pytest.mark.parametrize("mass", [1e20, 1e39, 1e60])
    def test_smoothed_float64_beside_float32_logits(self, classes, mass):
        z = np.linspace(-3, 3, classes, dtype=f32)[None]
        q = np.linspace(0, 2 / classes, classes)[None]
        options = {"label_smoothing": 0.1, "normalizer": mass}
        loss, grad = sx.cross_entropy_value_and_grad(z, q * mass, **options)
        wide_loss, wide_grad = sx.cross_entropy_value_and_grad(z.astype(float), q * mass, **options)
        assert loss == pytest.approx(wide_loss, rel=1e-6)
        assert np.abs(grad - wide_grad).max() <= 1e-6 * np.abs(wide_grad).max()
        assert np.isfinite(wide_loss)

    @pytest.mark.parametrize("mass", [1e-290, 1e290])
    def test_float64(self, mass):
        z, q = np.array([[0, 1, -1.0]]), np.array([[1, 0.5, 0.25]])
        loss, grad = sx.cross_entropy_value_and_grad(z, q)
        other_loss, other_grad = sx.cross_entropy_value_and_grad(z, q * mass)
        assert other_loss == pytest.approx(loss, rel=1e-14)
        assert np.abs(other_grad - grad).max() <= 1e-14

    @pytest.mark.parametrize("options", [{}, {"class_weight": [1, 1, 1]}, {"where": [True] * 3}])
    def test_at_the_ends_of_float64(self, options):
        """For any form of the targets: below the normal numbers, and with an infinite sum."""
        for dtype in FLOATS:
            z, ones = np.array([[0, 1, -1]], dtype), np.ones((1, 3))
            loss = sx.cross_entropy(z, ones, **options)
            for size in (1e-310, 1e308):
                value, grad = sx.cross_entropy_value_and_grad(
                    z, size * ones, reduction="sum", **options
                )
                assert not np.isnan(grad).any()
                if size == 1e308:
                    assert value == np.inf
                else:
                    mean = sx.cross_entropy(z, size * ones, **options)
                    assert mean == pytest.approx(loss, rel=1e-6 if dtype == f32 else 1e-12)

    @pytest.mark.parametrize("dtype", FLOATS)
    @pytest.mark.parametrize("classes", [3, 65, 20000])
    def test_below_the_normal_numbers_in_a_mean(self, dtype, classes):
        """The gradient is that of the same targets times a power of two."""
        z, q = np.zeros((2, classes), dtype), np.zeros((2, classes))
        z[:, :2] = [[1.25, 1.5], [-0.25, 0.5]]
        q[:, :3] = [[0, 5e-316, 3e-316], [9e-301, 1e-301, 0]]
        _, grad = sx.cross_entropy_value_and_grad(z, q)
        _, expected = sx.cross_entropy_value_and_grad(z, q * 2.0**900)
        assert (expected != 0).all()
        np.testing.assert_allclose(grad, expected, rtol=1e-6 if dtype == f32 else 1e-14)

    @pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
    def test_no_mass_at_all(self, label_smoothing):
        """Nothing counts: the mean is nan, the gradient 0."""
        z = np.array([[0.0, 1.0]])
        loss, grad = sx.cross_entropy_value_and_grad(
            z, np.zeros((1, 2)), label_smoothing=label_smoothing
        )
        assert np.isnan(loss)
        assert (grad == 0).all()


class TestUnderflow:
    """The loss is +inf if a class with logit -inf has a target above 0, however small."""

    @pytest.mark.parametrize("dtype", FLOATS)
    def test_smallest_label_smoothing(self, dtype):
        z = np.array([[0.0, -np.inf, 1.0]], dtype)
        loss = sx.cross_entropy(z, [0], label_smoothing=5e-324, reduction="none")
        assert (loss == np.inf).all()

    @pytest.mark.parametrize("targets", [[0], [[0.5, 0.0, 0.5]]])
    def test_small_label_smoothing_of_a_prior(self, targets):
        z = np.array([[0.0, -np.inf, 1.0]], f32)
        options = {"label_smoothing": 1e-300, "prior": [0.5, 0.25, 0.25], "reduction": "none"}
        assert (sx.cross_entropy(z, targets, **options) == np.inf).all()

    @pytest.mark.parametrize("rows", [1, 100])
    def test_small_weights(self, rows):
        z = np.tile([0.0, -np.inf, 1.0], (rows, 1))
        weights = {"class_weight": np.full(3, 1e-200), "sample_weight": np.full(rows, 1e-200)}
        loss = sx.cross_entropy(z, np.ones(rows, int), reduction="none", **weights)
        assert (loss == np.inf).all()

    @pytest.mark.parametrize("dtype", FLOATS)
    @pytest.mark.parametrize("classes", [3, 65, 20000])
    @pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
    def test_gradients_of_subnormal_sample_weights(self, dtype, classes, label_smoothing):
        z = np.zeros((2, classes), dtype)
        z[:, :2] = [[1, 2], [3, 0.5]]
        options = {"label_smoothing": label_smoothing, "reduction": "none"}
        _, plain = sx.cross_entropy_value_and_grad(z, [0, 1], **options)
        for weight in (5e-324, 5e-323):
            weights = [1, weight]
            _, grad = sx.cross_entropy_value_and_grad(z, [0, 1], sample_weight=weights, **options)
            assert (grad[0] == plain[0]).all()
            assert (np.abs(grad[1]) <= weight).all()


@pytest.mark.parametrize("dtype, gap", [(f32, 90.0), (np.float64, 720.0)])
@pytest.mark.parametrize("classes", [3, 70, 300, 20000])
def test_a_probability_below_the_normal_numbers_is_0_in_the_gradient_too(dtype, gap, classes):
    """Also where the other term of the gradient is 0, whether processors keep such numbers or not."""
    z = np.zeros((1, classes), dtype)
    z[:, 1:] = -gap
    prior = np.full(classes, 1 / (classes - 1))
    prior[-1] = 0
    assert sx.softmax(z)[0, -1] == 0
    for options in ({}, {"label_smoothing": 0.1, "prior": prior}):
        assert sx.cross_entropy_value_and_grad(z, [0], **options)[1][0, -1] == 0


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("classes", [1, 2, 3, 4, 10, 1000])
def test_equal_logits_have_equal_shares(dtype, classes):
    """The same number for all, near 1/K."""
    for logit in (3.3, -0.7, 100.1, 1e5 + 0.1):
        p = sx.softmax(np.full((2, classes), logit, dtype))
        assert (p == p[0, 0]).all()
        assert_within(ulp.SOFTMAX, p, np.full(p.shape, 1 / Real(classes)))


def test_divergence_from_the_prior_is_never_negative():
    u = np.array([0.2, 0.3, 0.5])
    for shift in np.linspace(-5, 5, 101):
        terms = sx.cross_entropy_terms(np.log(u) + shift, np.int64(0), prior=u)
        assert terms.prior_kl >= 0


class TestManyClasses:
    """Rows with more classes than labels can name; all logits are one number in memory."""

    def test_the_last_label(self):
        z = np.broadcast_to(f32(0), (1, 2**32 + 8))
        for label in (2**32 - 1, 2**32 + 7):
            with pytest.raises(
                sx.LabelError,
                match=rf"^targets\[0\] is {label}, but labels can be at most 4294967294$",
            ):
                sx.cross_entropy(z, np.array([label]))
        with pytest.raises(
            sx.LabelError,
            match=r"^targets\[0\] is 4294967304, but there are 4294967304 classes \(ignore_index is -100\)$",
        ):
            sx.cross_entropy(z, np.array([2**32 + 8]))


class TestArguments:
    @pytest.mark.parametrize("value", [True, False, np.True_])
    def test_bools_are_no_label_smoothing(self, value):
        with pytest.raises(TypeError, match=r"^label_smoothing must be a real number, got bool$"):
            sx.cross_entropy([[0.0, 1.0]], [0], label_smoothing=value)

    def test_exceptions_of_the_argument_go_through(self):
        class Stubborn:
            def __float__(self):
                raise KeyboardInterrupt

            def __index__(self):
                raise RuntimeError("mine")

            def __lt__(self, other):
                return False

        with pytest.raises(KeyboardInterrupt):
            sx.cross_entropy([[0.0, 1.0]], [0], label_smoothing=Stubborn())
        with pytest.raises(RuntimeError, match="^mine$"):
            sx.cross_entropy([[0.0, 1.0]], [0], ignore_index=Stubborn())


class TestSubclasses:
    """The attributes of a subclass are not trusted where they decide about memory."""

    def test_reshape(self):
        class Elsewhere(np.ndarray):
            def reshape(self, *args, **options):
                return np.zeros(0, f32)

        out = np.zeros((), f32).view(Elsewhere)
        assert sx.logsumexp(np.zeros(3, f32), out=out) is out
        assert float(out[()]) == f32(np.log(3))

    def test_shape(self):
        class Liar(np.ndarray):
            shape = property(lambda self: (3, 3))

        out = np.zeros((2, 2), f32).view(Liar)
        with pytest.raises(ValueError, match=r"^out must have shape \(3, 3\), got \(2, 2\)$"):
            sx.softmax(np.zeros((3, 3), f32), out=out)

    def test_view(self):
        class Elsewhere(np.ndarray):
            def view(self, *args, **options):
                return np.zeros(5, f32)

        class Holder:
            def __array__(self, dtype=None, copy=None):
                return z

        z = np.array([[0, 1, -1]], f32).view(Elsewhere)
        for logits in (z, Holder()):
            ulp.assert_same_bits(sx.softmax(logits), sx.softmax(np.asarray(z)))

    def test_functions(self):
        class Refusing(np.ndarray):
            def __array_function__(self, *args, **options):
                raise AssertionError("called")

        z, out = np.zeros((2, 3), f32), np.empty((2, 3), f32).view(Refusing)
        sx.score(z, [0, 1], log_probs_out=out)
        ulp.assert_same_bits(out.view(np.ndarray), sx.log_softmax(z))
        grad = np.empty((2, 3), f32).view(Refusing)
        layer = z, np.eye(3, dtype=f32), [0, 1]
        sx.linear_cross_entropy_value_and_grad(*layer, hidden_grad_out=grad)
        expected = sx.linear_cross_entropy_value_and_grad(*layer).hidden_grad
        ulp.assert_same_bits(grad.view(np.ndarray), expected)
        objective = lightgbm_objective()
        weights = np.ones(2, f32)
        got = objective(np.zeros(2, int), z, weights.view(Refusing))
        ulp.assert_same_bits(got[1], objective(np.zeros(2, int), z, weights)[1])

    def test_masked_rows_in_lists(self):
        row = np.ma.masked_array([1.0, 2.0], [0, 1])
        with pytest.raises(TypeError, match="^logits is a masked array with masked values"):
            sx.softmax([[row]])
