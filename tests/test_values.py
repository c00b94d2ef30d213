"""Every operation against the oracle, at every length of row, and a few results computed by hand."""

import math

import numpy as np
import pytest

import reference
import smoothxent as sx
import ulp
from cases import for_each
from problems import CLASS_COUNTS, FLOATS, one_hot, problem, random_probabilities
from ulp import assert_same_bits, assert_within

every_length = pytest.mark.parametrize("classes", CLASS_COUNTS)
every_float = pytest.mark.parametrize("dtype", FLOATS)

# A float64 sum of terms >= 0, each with a relative error of 2 ulp of its own dtype: the relative error
# does not grow in the sum.
SUM_OF_LOSSES = 3


def logsumexp_scale(logits):
    top = np.abs(logits.max(-1))
    return np.maximum(top, reference.shifted(logits).log_total[..., 0])


@every_length
@every_float
class TestActivations:
    def test_softmax(self, classes, dtype):
        z = problem(classes, dtype).logits
        p = sx.softmax(z)
        assert p.dtype == dtype
        assert_within(ulp.SOFTMAX, p, reference.softmax(z))

    def test_log_softmax(self, classes, dtype):
        z = problem(classes, dtype).logits
        log_p = sx.log_softmax(z)
        assert log_p.dtype == dtype
        assert_within(ulp.LOG_SOFTMAX, log_p, reference.log_softmax(z))

    def test_logsumexp(self, classes, dtype):
        z = problem(classes, dtype).logits
        lse = sx.logsumexp(z)
        assert lse.dtype == dtype
        assert_within(ulp.LOGSUMEXP, lse, reference.logsumexp(z), at=logsumexp_scale(z))


@every_length
@every_float
@for_each("label_smoothing", [0.0, 0.1, 0.75, 1.0])
@for_each("prior_kind", ["uniform", "random"])
class TestLoss:
    """Labels and dense probabilities, the loss and the gradient."""

    def options(self, prior, label_smoothing, prior_kind):
        return {
            "label_smoothing": label_smoothing,
            "prior": prior if prior_kind == "random" else None,
        }

    def check(self, z, targets, options):
        q = reference.target_of(z, targets, **options)
        loss, grad = sx.cross_entropy_value_and_grad(z, targets, reduction="none", **options)
        assert loss.dtype == z.dtype
        assert grad.dtype == z.dtype
        # In float64, the scalars of a row are not combined in a wider type.
        bound = ulp.LOSS if z.dtype == np.float32 else ulp.LOSS_OF_ANY
        assert_within(bound, loss, reference.cross_entropy(z, targets, **options))
        scale = np.maximum(reference.softmax(z), q)
        assert_within(ulp.GRADIENT, grad, reference.gradient(z, targets, **options), at=scale)
        assert_same_bits(sx.cross_entropy(z, targets, reduction="none", **options), loss)

    def test_labels(self, classes, dtype, label_smoothing, prior_kind):
        z, labels, prior = problem(classes, dtype)
        self.check(z, labels, self.options(prior, label_smoothing, prior_kind))

    def test_probabilities(self, classes, dtype, label_smoothing, prior_kind):
        z, _, prior = problem(classes, dtype)
        q = random_probabilities(np.random.default_rng(classes), *z.shape, dtype)
        self.check(z, q, self.options(prior, label_smoothing, prior_kind))


class TestByHand:
    """z = log(1, 2, 5), so that p = (1, 2, 5) / 8."""

    z = np.log(np.array([[1.0, 2.0, 5.0]]))

    def test_activations(self):
        np.testing.assert_allclose(sx.softmax(self.z), [[0.125, 0.25, 0.625]], rtol=1e-15)
        np.testing.assert_allclose(
            sx.log_softmax(self.z), np.log([[0.125, 0.25, 0.625]]), rtol=1e-15
        )
        np.testing.assert_allclose(sx.logsumexp(self.z), [math.log(8)], rtol=1e-15)

    def test_loss_is_minus_log_p_of_the_label(self):
        assert sx.cross_entropy(self.z, [2]) == pytest.approx(-math.log(0.625), rel=1e-15)

    def test_smoothed_loss(self):
        uniform = -(math.log(0.125) + math.log(0.25) + math.log(0.625)) / 3
        expected = 0.7 * -math.log(0.25) + 0.3 * uniform
        assert sx.cross_entropy(self.z, [1], label_smoothing=0.3) == pytest.approx(
            expected, rel=1e-15
        )

    def test_gradient_is_p_minus_smoothed_q(self):
        _, grad = sx.cross_entropy_value_and_grad(self.z, [1], label_smoothing=0.3)
        np.testing.assert_allclose(grad, [[0.125 - 0.1, 0.25 - 0.8, 0.625 - 0.1]], rtol=1e-14)

    def test_prior(self):
        prior = [0.5, 0.25, 0.25]
        expected = 0.5 * -math.log(0.625) + 0.5 * -(
            0.5 * math.log(0.125) + 0.25 * math.log(0.25 * 0.625)
        )
        assert sx.cross_entropy(self.z, [2], label_smoothing=0.5, prior=prior) == pytest.approx(
            expected, rel=1e-15
        )

    @every_float
    @pytest.mark.parametrize("classes", [2, 10, 1000])
    @pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
    def test_equal_logits_cost_log_k(self, classes, dtype, label_smoothing):
        z = np.full((4, classes), 3.5, dtype)
        loss = sx.cross_entropy(
            z, [0, 1, 0, classes - 1], label_smoothing=label_smoothing, reduction="none"
        )
        assert_within(1, loss, np.full(4, np.log(np.longdouble(classes))))


@every_float
class TestReductions:
    labels = np.array([3, -100, 0, 9, -100, 5, 2])

    def rows(self, dtype):
        z = problem(10, dtype).logits
        return z, sx.cross_entropy(z, self.labels, label_smoothing=0.1, reduction="none").astype(
            np.float64
        )

    def test_none_is_the_loss_of_every_row(self, dtype):
        z, rows = self.rows(dtype)
        assert rows.shape == (7,)
        assert_within(ulp.LOSS, rows.astype(dtype), reference.cross_entropy(z, self.labels, 0.1))

    def test_sum_and_mean(self, dtype):
        z, _ = self.rows(dtype)
        exact = reference.cross_entropy(z, self.labels, 0.1).sum()
        for reduction, divisor in (("sum", 1), ("mean", 5)):
            value = sx.cross_entropy(z, self.labels, label_smoothing=0.1, reduction=reduction)
            assert type(value) is float
            assert_within(SUM_OF_LOSSES, dtype(value), exact / divisor)

    def test_mean_is_the_default(self, dtype):
        z, _ = self.rows(dtype)
        assert sx.cross_entropy(z, self.labels) == sx.cross_entropy(
            z, self.labels, reduction="mean"
        )

    def test_mean_of_probabilities_divides_by_their_mass(self, dtype):
        z, _ = self.rows(dtype)
        rng = np.random.default_rng(3)
        q = (rng.uniform(0, 2, z.shape) * (rng.random(z.shape) < 0.3)).astype(dtype)
        mass = q.astype(np.longdouble).sum()
        options = {"label_smoothing": 0.2}
        value, grad = sx.cross_entropy_value_and_grad(z, q, **options)
        assert_within(
            SUM_OF_LOSSES, dtype(value), reference.cross_entropy(z, q, **options).sum() / mass
        )
        q_smooth = reference.smoothed(q, 10, **options)
        scale = np.maximum(reference.softmax(z) * q_smooth.sum(-1, keepdims=True), q_smooth) / mass
        assert_within(ulp.GRADIENT + 1, grad, reference.gradient(z, q, **options) / mass, at=scale)

    def test_scalar_out_is_written_and_the_float_returned(self, dtype):
        z, _ = self.rows(dtype)
        for out_dtype in FLOATS:
            out = np.zeros((), out_dtype)
            value = sx.cross_entropy(z, self.labels, reduction="sum", out=out)
            assert type(value) is float
            assert out[()] == out_dtype(value)
            out[...] = 0
            value, _ = sx.cross_entropy_value_and_grad(z, self.labels, reduction="mean", out=out)
            assert out[()] == out_dtype(value)

    def test_sum_over_many_rows_keeps_its_digits(self, dtype):
        z = np.tile(problem(10, dtype).logits, (15000, 1))
        labels = np.tile(np.arange(7), 15000)
        exact = reference.cross_entropy(z[:7], labels[:7]).sum() * 15000
        value = sx.cross_entropy(z, labels, reduction="sum")
        # 105000 roundings of a float64 sum: at most sqrt-like growth in any fixed tree; in float32
        # it would be thousands.
        assert abs(value - exact) < exact * (
            2 * np.finfo(dtype).eps if dtype == np.float32 else 2.0**-46
        )


@every_float
class TestShapes:
    def test_one_row_without_a_batch_axis(self, dtype):
        z = np.array([1.0, 2.0, -1.0], dtype)
        assert sx.softmax(z).shape == (3,)
        assert np.shape(sx.logsumexp(z)) == ()
        label = np.int64(1)
        expected = sx.cross_entropy(z[None], [1], reduction="none")[0]
        for scalar in (1, label, np.array(1)):
            loss, grad = sx.cross_entropy_value_and_grad(z, scalar, reduction="none")
            assert np.shape(loss) == ()
            assert loss.dtype == dtype
            assert loss == expected
            assert grad.shape == (3,)

    def test_batch_of_several_axes(self, dtype):
        z = problem(11, dtype, rows=24).logits
        labels = np.arange(24) % 11
        flat, flat_grad = sx.cross_entropy_value_and_grad(
            z, labels, label_smoothing=0.1, reduction="none"
        )
        for batch in ((4, 6), (2, 3, 4), (1, 24), (24, 1, 1)):
            loss, grad = sx.cross_entropy_value_and_grad(
                z.reshape(*batch, 11), labels.reshape(batch), label_smoothing=0.1, reduction="none"
            )
            assert_same_bits(loss, flat.reshape(batch))
            assert_same_bits(grad, flat_grad.reshape(*batch, 11))

    def test_logsumexp_keepdims(self, dtype):
        z = problem(11, dtype, rows=12).logits.reshape(3, 4, 11)
        for axis in (0, 1, 2, -1):
            flat = sx.logsumexp(z, axis=axis)
            kept = sx.logsumexp(z, axis=axis, keepdims=True)
            assert_same_bits(kept, np.expand_dims(flat, axis))

    def test_prior_of_each_row(self, dtype):
        z, labels, _ = problem(9, dtype, rows=6)
        prior = np.random.default_rng(5).dirichlet(np.ones(9), 6)
        options = {"label_smoothing": 0.3, "reduction": "none"}
        loss, grad = sx.cross_entropy_value_and_grad(z, labels, prior=prior, **options)
        for row in range(6):
            one = sx.cross_entropy_value_and_grad(
                z[row : row + 1], labels[row : row + 1], prior=prior[row], **options
            )
            assert_same_bits(loss[row : row + 1], one[0])
            assert_same_bits(grad[row : row + 1], one[1])

    def test_one_dimensional_prior_is_along_the_class_axis_whatever_it_is(self, dtype):
        z, labels, prior = problem(5, dtype, rows=5)
        options = {"label_smoothing": 0.3, "reduction": "none", "prior": prior}
        assert_same_bits(
            sx.cross_entropy(z.T, labels, axis=0, **options), sx.cross_entropy(z, labels, **options)
        )


@every_float
class TestTerms:
    """(nll, prior_cross_entropy, prior_kl, prior_entropy, logsumexp)"""

    labels = np.array([3, 0, 9, 5])

    def test_against_the_oracle(self, dtype):
        z, _, prior = problem(10, dtype, rows=4)
        u = prior.astype(np.longdouble)
        terms = sx.cross_entropy_terms(z, self.labels, prior=prior)
        assert terms._fields == (
            "nll",
            "prior_cross_entropy",
            "prior_kl",
            "prior_entropy",
            "logsumexp",
        )
        assert all(term.shape == (4,) and term.dtype == dtype for term in terms)
        entropy = -(u * np.log(u)).sum()
        cross = reference.cross_entropy(z, self.labels, 1.0, prior)
        assert_within(ulp.LOSS, terms.nll, reference.cross_entropy(z, self.labels))
        assert_within(ulp.LOSS, terms.prior_cross_entropy, cross)
        assert_within(ulp.LOSS, terms.prior_entropy, np.full(4, entropy))
        assert_within(ulp.LOSS, terms.prior_kl, cross - entropy, at=cross)
        assert_within(ulp.LOGSUMEXP, terms.logsumexp, reference.logsumexp(z), at=logsumexp_scale(z))

    def test_without_a_prior_it_is_uniform(self, dtype):
        z = problem(10, dtype, rows=4).logits
        terms = sx.cross_entropy_terms(z, self.labels)
        assert_within(
            ulp.LOSS, terms.prior_cross_entropy, reference.cross_entropy(z, self.labels, 1.0)
        )
        assert_within(ulp.LOSS, terms.prior_entropy, np.full(4, np.log(np.longdouble(10))))

    def test_bits_of_the_functions_they_split(self, dtype):
        z, _, prior = problem(10, dtype, rows=4)
        terms = sx.cross_entropy_terms(z, self.labels, prior=prior)
        options = {"prior": prior, "reduction": "none"}
        assert_same_bits(terms.nll, sx.cross_entropy(z, self.labels, reduction="none"))
        assert_same_bits(
            terms.prior_cross_entropy,
            sx.cross_entropy(z, self.labels, label_smoothing=1.0, **options),
        )
        assert_same_bits(terms.logsumexp, sx.logsumexp(z))

    def test_probability_targets_and_axis(self, dtype):
        z = problem(10, dtype, rows=4).logits
        by_label = sx.cross_entropy_terms(z, self.labels)
        by_probability = sx.cross_entropy_terms(z.T, one_hot(self.labels, 10).T, axis=0)
        for one, other in zip(by_label, by_probability):
            assert_same_bits(one, other)

    def test_ignored_row_is_zero(self, dtype):
        z = problem(10, dtype, rows=4).logits.copy()
        z[2] = np.nan
        for term in sx.cross_entropy_terms(z, [3, 0, -100, 5]):
            assert term[2] == 0
            assert np.isfinite(term).all()
