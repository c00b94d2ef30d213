"""The identities of section 7 of the paper, between public functions only."""

import itertools

import numpy as np
import pytest

import smoothxent as sx
import ulp
from problems import FLOATS, LONG_ROWS, MIDDLE_ROWS, SHORT_ROWS, one_hot, problem, random_prior
from ulp import assert_same_bits, assert_within

every_float = pytest.mark.parametrize("dtype", FLOATS)
some_lengths = pytest.mark.parametrize("classes", [1, 2, 3, 16, 33, 257, 1000, 16385])
assert {1, 2, 3, 16, 33, 257, 1000, 16385} <= set(SHORT_ROWS + MIDDLE_ROWS + LONG_ROWS)

# Two results that are each within 2 ulp, and a sum or a scaling of them in float64, whose error is
# small in comparison with that of float32.
TWO_RESULTS = 4
# The same for two probabilities or gradients, each within 3.5 ulp.
TWO_PROBABILITIES = ulp.SOFTMAX + ulp.GRADIENT
# The same in float64, where the identity itself is computed with a few roundings.
TWO_RESULTS_F64 = 8


def bound(dtype):
    return TWO_RESULTS if dtype == np.float32 else TWO_RESULTS_F64


def rows_loss(z, targets, **options):
    return sx.cross_entropy(z, targets, reduction="none", **options).astype(np.longdouble)


@some_lengths
@every_float
@pytest.mark.parametrize("eps", [0.1, 0.5, 0.9])
class TestMixture:
    def test_smoothed_loss_mixes_the_losses_of_label_and_prior(self, classes, dtype, eps):
        """H(q', p) = (1 - eps) H(q, p) + eps H(u, p)"""
        z, labels, u = problem(classes, dtype)
        for prior in (None, u):
            mixed = sx.cross_entropy(z, labels, label_smoothing=eps, prior=prior, reduction="none")
            of_label = rows_loss(z, labels, label_smoothing=0.0, prior=prior)
            of_prior = rows_loss(z, labels, label_smoothing=1.0, prior=prior)
            assert_within(bound(dtype), mixed, (1 - np.longdouble(eps)) * of_label + eps * of_prior)

    def test_kl_form(self, classes, dtype, eps):
        """H(u, p) = D_KL(u || p) + H(u), so the loss is (1 - eps) H(q, p) + eps (D_KL(u || p) + H(u))"""
        z, labels, u = problem(classes, dtype)
        mixed = sx.cross_entropy(z, labels, label_smoothing=eps, prior=u, reduction="none")
        terms = sx.CrossEntropyTerms(
            *(t.astype(np.longdouble) for t in sx.cross_entropy_terms(z, labels, prior=u))
        )
        by_terms = (1 - np.longdouble(eps)) * terms.nll + eps * (
            terms.prior_kl + terms.prior_entropy
        )
        # The divergence is a difference: it is within 2 ulp of the cross-entropy.
        assert_within(2 * bound(dtype), mixed, by_terms)

    def test_loss_of_smoothed_labels(self, classes, dtype, eps):
        """H(smooth_labels(y), p) is the smoothed loss of y"""
        z, labels, u = problem(classes, dtype)
        q = sx.smooth_labels(labels, classes, label_smoothing=eps, prior=u, dtype=dtype)
        # q is rounded to dtype, half an ulp of every term.
        assert_within(bound(dtype) + 1, sx.cross_entropy(z, q, reduction="none"),
                      rows_loss(z, labels, label_smoothing=eps, prior=u))  # fmt: skip

    def test_tensorflow_form(self, classes, dtype, eps):
        """onehot * (1 - label_smoothing) + label_smoothing / num_classes"""
        z, labels, _ = problem(classes, dtype)
        q = (one_hot(labels, classes, np.float64) * (1 - eps) + eps / classes).astype(dtype)
        smoothed, grad = sx.cross_entropy_value_and_grad(
            z, labels, label_smoothing=eps, reduction="none"
        )
        assert_within(bound(dtype) + 1, smoothed, rows_loss(z, q))
        _, grad_q = sx.cross_entropy_value_and_grad(z, q, reduction="none")
        scale = np.maximum(sx.softmax(z), q)
        assert_within(bound(dtype) + 2, grad, grad_q.astype(np.longdouble), at=scale)


class TestLabelDropout:
    """With probability eps the label is replaced by a draw from u; the expected loss is H(q', p)."""

    @every_float
    @pytest.mark.parametrize("eps", [0.1, 0.7])
    def test_expectation_over_every_replacement(self, dtype, eps):
        classes = 33
        z, labels, u = problem(classes, dtype)
        expected = (1 - np.longdouble(eps)) * rows_loss(z, labels)
        for k in range(classes):
            expected = expected + eps * np.longdouble(u[k]) * rows_loss(z, np.full(len(z), k))
        smoothed = sx.cross_entropy(z, labels, label_smoothing=eps, prior=u, reduction="none")
        assert_within(bound(dtype), smoothed, expected)

    @pytest.mark.parametrize("given", [False, True])
    def test_sampled(self, given):
        """The mean of n draws is within 5 standard errors; by chance not once in two million seeds."""
        classes, n, eps = 10, 200_000, 0.3
        z, _, u = problem(classes, np.float64, rows=3)
        z, label = z[1], 4
        prior = u if given else None
        drawn = sx.label_dropout(
            np.full(n, label), classes, rate=eps, prior=prior, rng=np.random.default_rng(7)
        )
        loss_of = sx.cross_entropy(np.tile(z, (classes, 1)), np.arange(classes), reduction="none")
        losses = loss_of[drawn]
        exact = sx.cross_entropy(z, label, label_smoothing=eps, prior=prior)
        assert abs(losses.mean() - exact) < 5 * losses.std() / np.sqrt(n)


@some_lengths
@every_float
class TestGradientIdentities:
    def test_gradient_sums_to_zero_over_the_classes(self, classes, dtype):
        z, labels, u = problem(classes, dtype)
        for eps, prior in itertools.product((0.0, 0.1, 1.0), (None, u)):
            _, grad = sx.cross_entropy_value_and_grad(
                z, labels, label_smoothing=eps, prior=prior, reduction="none"
            )
            # Each p_k and q'_k has an error of ulp.GRADIENT of itself, and they sum to 2; the prior itself
            # sums to 1 +- 1e-16 K.
            slack = 2 * ulp.GRADIENT * np.finfo(dtype).eps + 2e-16
            assert (np.abs(grad.astype(np.longdouble).sum(-1)) <= slack).all()

    def test_gradient_is_within_minus_one_and_one(self, classes, dtype):
        _, labels, u = problem(classes, dtype)
        for scale in (0.1, 3, 100, 1e6):
            z = problem(classes, dtype, scale=scale).logits
            for eps, prior in itertools.product((0.0, 0.1, 1.0), (None, u)):
                _, grad = sx.cross_entropy_value_and_grad(
                    z, labels, label_smoothing=eps, prior=prior, reduction="sum"
                )
                assert (np.abs(grad) <= 1).all()

    def test_gradient_is_softmax_minus_smoothed_labels(self, classes, dtype):
        z, labels, u = problem(classes, dtype)
        for eps, prior in itertools.product((0.1, 0.5), (None, u)):
            _, grad = sx.cross_entropy_value_and_grad(
                z, labels, label_smoothing=eps, prior=prior, reduction="sum"
            )
            p = sx.softmax(z).astype(np.longdouble)
            q = sx.smooth_labels(
                labels, classes, label_smoothing=eps, prior=prior, dtype=np.float64
            )
            assert_within(ulp.GRADIENT + ulp.SOFTMAX, grad, p - q, at=np.maximum(p, q))


@some_lengths
@every_float
class TestSymmetries:
    def test_adding_a_constant_to_a_row_changes_nothing(self, classes, dtype):
        """The logits are multiples of 1/64, so that their sum with the constant is exact."""
        z, labels, u = problem(classes, dtype)
        z = np.round(z * 64) / 64
        for constant in (-1000.0, 64.0, 8192.0):
            moved = z + dtype(constant)
            assert ((moved - dtype(constant)) == z).all()
            options = {"label_smoothing": 0.1, "prior": u, "reduction": "none"}
            loss, grad = sx.cross_entropy_value_and_grad(z, labels, **options)
            moved_loss, moved_grad = sx.cross_entropy_value_and_grad(moved, labels, **options)
            p = sx.softmax(z).astype(np.longdouble)
            assert_within(TWO_RESULTS, moved_loss, loss)
            assert_within(TWO_PROBABILITIES, sx.softmax(moved), p)
            assert_within(TWO_RESULTS, sx.log_softmax(moved), sx.log_softmax(z))
            scale = np.maximum(p, 0.1 * u + 0.9 * one_hot(labels, classes))
            assert_within(TWO_PROBABILITIES, moved_grad, grad, at=scale)

    def test_permuting_the_classes_permutes_the_results(self, classes, dtype):
        z, labels, u = problem(classes, dtype)
        order = np.random.default_rng(9).permutation(classes)
        place = np.argsort(order)  # where each class went
        options = {"label_smoothing": 0.1, "reduction": "none"}
        loss, grad = sx.cross_entropy_value_and_grad(z, labels, prior=u, **options)
        other_loss, other_grad = sx.cross_entropy_value_and_grad(
            z[:, order], place[labels], prior=u[order], **options
        )
        p = sx.softmax(z).astype(np.longdouble)
        assert_within(TWO_RESULTS, other_loss, loss)
        assert_within(TWO_PROBABILITIES, sx.softmax(z[:, order]), p[:, order])
        scale = np.maximum(p, 0.1 * u + 0.9 * one_hot(labels, classes))
        assert_within(TWO_PROBABILITIES, other_grad, grad[:, order], at=scale[:, order])

    def test_one_hot_target_gives_the_bits_of_the_label(self, classes, dtype):
        z, labels, u = problem(classes, dtype)
        for eps, prior, q_dtype in itertools.product((0.0, 0.1, 1.0), (None, u), FLOATS):
            for reduction in ("none", "sum", "mean"):
                options = {"label_smoothing": eps, "prior": prior, "reduction": reduction}
                by_label = sx.cross_entropy_value_and_grad(z, labels, **options)
                by_target = sx.cross_entropy_value_and_grad(
                    z, one_hot(labels, classes, q_dtype), **options
                )
                assert_same_bits(by_target[0], by_label[0])
                assert_same_bits(by_target[1], by_label[1])

    def test_a_row_alone_gives_the_bits_it_gives_in_a_batch(self, classes, dtype):
        z, labels, u = problem(classes, dtype, rows=37 if classes < 1000 else 3)
        options = {"label_smoothing": 0.1, "prior": u, "reduction": "none"}
        loss, grad = sx.cross_entropy_value_and_grad(z, labels, **options)
        whole = (sx.softmax(z), sx.log_softmax(z), sx.logsumexp(z))
        for rows in (slice(0, 1), slice(1, 3), slice(5, 22), slice(len(z) - 1, len(z))):
            part_loss, part_grad = sx.cross_entropy_value_and_grad(z[rows], labels[rows], **options)
            assert_same_bits(part_loss, loss[rows])
            assert_same_bits(part_grad, grad[rows])
            part = (sx.softmax(z[rows]), sx.log_softmax(z[rows]), sx.logsumexp(z[rows]))
            for got, expected in zip(part, whole):
                assert_same_bits(got, expected[rows])

    def test_equal_priors_give_equal_bits(self, classes, dtype):
        """One prior for all rows, or the same repeated for each row; its dtype may round it."""
        z, labels, u = problem(classes, dtype)
        scale = np.maximum(sx.softmax(z), 0.1 * u + 0.9 * one_hot(labels, classes))
        options = {"label_smoothing": 0.1, "reduction": "none"}
        u = u.astype(np.float32)
        results = []
        for single in (u, u.astype(np.float64)):
            loss, grad = sx.cross_entropy_value_and_grad(z, labels, prior=single, **options)
            for prior in (np.tile(single, (len(z), 1)), single[None]):
                other = sx.cross_entropy_value_and_grad(z, labels, prior=prior, **options)
                assert_same_bits(other[0], loss)
                assert_same_bits(other[1], grad)
            results.append((loss, grad))
        assert_within(TWO_RESULTS, results[1][0], results[0][0])
        assert_within(TWO_PROBABILITIES, results[1][1], results[0][1], at=scale)


def test_random_priors_are_distributions():
    """The tests above rely on it: positive, all different, with sum 1."""
    u = random_prior(np.random.default_rng(0), 1000)
    assert (u > 0).all()
    assert len(set(u)) == 1000
    assert abs(u.sum() - 1) < 1e-12
