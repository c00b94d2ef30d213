"""The edge cases of the contract: a test bears the words of its row in the table of special values.

Forward and gradient, and the three forms of a target: labels, the same one-hot, and probabilities.
"""

import itertools

import numpy as np
import pytest

import reference
import smoothxent as sx
import ulp
from problems import FLOATS, SHORT_ROWS, one_hot, problem, random_prior
from ulp import assert_same_bits, assert_within

every_float = pytest.mark.parametrize("dtype", FLOATS)
every_target = pytest.mark.parametrize("form", ["labels", "one-hot", "probabilities"])
INF, NAN = np.inf, np.nan


def target(form, labels, classes, dtype):
    """The same target in three forms; as probabilities it is 0.5 on the label and 0.5 on label 1."""
    if form == "labels":
        return np.asarray(labels)
    q = one_hot(labels, classes, dtype)
    return q if form == "one-hot" else (q + one_hot(np.ones_like(labels), classes, dtype)) / 2


def loss_and_grad(z, targets, **options):
    return sx.cross_entropy_value_and_grad(z, targets, **({"reduction": "none"} | options))


@every_float
class TestIgnoredRows:
    @pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
    def test_all_rows_ignored(self, dtype, label_smoothing):
        """ "mean": nan; "sum": 0; gradient exactly 0 always"""
        z = problem(10, dtype).logits
        labels = np.full(7, -100)
        for reduction, expected in (("mean", NAN), ("sum", 0.0)):
            value, grad = loss_and_grad(
                z, labels, label_smoothing=label_smoothing, reduction=reduction
            )
            assert_same_bits(np.isnan(value), np.isnan(expected))
            assert np.isnan(expected) or value == expected
            assert (grad == 0).all()
        loss, grad = loss_and_grad(z, labels, label_smoothing=label_smoothing)
        assert (loss == 0).all()
        assert (grad == 0).all()

    def test_all_probabilities_zero(self, dtype):
        """A target with no mass is a row that weighs nothing."""
        z = problem(10, dtype).logits
        q = np.zeros_like(z)
        mean, grad = loss_and_grad(z, q, reduction="mean")
        assert np.isnan(mean)
        assert (grad == 0).all()
        total, grad = loss_and_grad(z, q, reduction="sum")
        assert total == 0
        assert (grad == 0).all()

    @pytest.mark.parametrize("poison", [NAN, INF, -INF])
    @pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
    @pytest.mark.parametrize("classes", [1, 2, 10, 33, 1000, 16385])
    def test_ignored_row_is_never_read(self, dtype, poison, label_smoothing, classes):
        """NaN/inf in padding cannot leak; its loss and gradient are exactly 0; it leaves every divisor"""
        z, labels, u = problem(classes, dtype, rows=6)
        padding = np.array([False, True, False, True, False, False])
        labels[padding] = -100
        dirty = np.where(padding[:, None], dtype(poison), z)
        for prior, reduction in itertools.product((None, u), ("none", "sum", "mean")):
            options = {"label_smoothing": label_smoothing, "prior": prior, "reduction": reduction}
            value, grad = loss_and_grad(dirty, labels, **options)
            kept_value, kept_grad = loss_and_grad(z[~padding], labels[~padding], **options)
            assert_same_bits(value[~padding] if reduction == "none" else value, kept_value)
            assert_same_bits(grad[~padding], kept_grad)
            assert (grad[padding] == 0).all()
            assert reduction != "none" or (value[padding] == 0).all()

    def test_ignore_index_may_be_a_class(self, dtype):
        z = problem(10, dtype).logits
        labels = np.array([3, 0, 9, 5, 0, 1, 2])
        loss, grad = loss_and_grad(z, labels, ignore_index=0)
        assert ((loss == 0) == (labels == 0)).all()
        assert ((grad == 0).all(-1) == (labels == 0)).all()

    def test_ignore_index_is_not_for_probabilities(self, dtype):
        """A one-hot row of the class with the number ignore_index counts."""
        z = problem(10, dtype).logits
        labels = np.array([3, 0, 9, 5, 0, 1, 2])
        loss, _ = loss_and_grad(z, one_hot(labels, 10, dtype), ignore_index=0)
        assert_same_bits(loss, loss_and_grad(z, labels)[0])

    def test_no_label_is_ignored_with_none(self, dtype):
        z = problem(10, dtype).logits
        with pytest.raises(sx.LabelError):
            sx.cross_entropy(z, [0, 1, -100, 2, 3, 4, 5], ignore_index=None)


@every_float
class TestMinusInfinity:
    z = np.array([[1.0, 2.0, -INF, 0.5]])

    @every_target
    @pytest.mark.parametrize(
        "label_smoothing, prior", [(0.0, None), (0.3, [0.5, 0.25, 0, 0.25]), (0.0, [0.25] * 4)]
    )
    def test_off_the_label_where_u_is_zero_or_eps_is_zero(
        self, dtype, form, label_smoothing, prior
    ):
        """finite, gradient 0 there; integer, one-hot and probability targets agree (0 log 0 = 0)"""
        z = self.z.astype(dtype)
        q = target(form, [0], 4, dtype)
        options = {"label_smoothing": label_smoothing, "prior": prior}
        loss, grad = loss_and_grad(z, q, **options)
        assert_within(ulp.LOSS, loss, reference.cross_entropy(z, q, **options))
        assert np.isfinite(loss).all()
        assert grad[0, 2] == 0
        assert_within(
            ulp.GRADIENT, grad, reference.gradient(z, q, **options), at=np.full((1, 4), 0.25)
        )
        if form != "probabilities":
            by_label = loss_and_grad(z, [0], **options)
            assert_same_bits(loss, by_label[0])
            assert_same_bits(grad, by_label[1])
        # The class might as well not be there.
        fewer = np.delete(q, 2, axis=1) if q.ndim == 2 else q
        prior = None if prior is None else np.delete(prior, 2)
        loss_of_fewer, grad_of_fewer = loss_and_grad(np.delete(z, 2, axis=1), fewer, label_smoothing=label_smoothing,
                                                     prior=prior)  # fmt: skip
        assert_within(2 * ulp.LOSS, loss, loss_of_fewer)
        assert_within(
            2 * ulp.GRADIENT, np.delete(grad, 2, axis=1), grad_of_fewer, at=np.full((1, 3), 0.25)
        )

    @every_target
    @pytest.mark.parametrize(
        "label_smoothing, prior", [(0.1, None), (1.0, None), (0.1, [0.5, 0.25, 0.1, 0.15])]
    )
    def test_off_the_label_with_eps_and_u_positive(self, dtype, form, label_smoothing, prior):
        """loss +inf, gradient p - q' finite"""
        z = self.z.astype(dtype)
        q = target(form, [0], 4, dtype)
        options = {"label_smoothing": label_smoothing, "prior": prior}
        loss, grad = loss_and_grad(z, q, **options)
        assert loss[0] == INF
        q_smooth = reference.smoothed(q, 4, **options)
        scale = np.maximum(reference.softmax(z), q_smooth)
        assert_within(ulp.GRADIENT, grad, reference.softmax(z) - q_smooth, at=scale)

    @every_target
    @pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
    def test_at_the_label(self, dtype, form, label_smoothing):
        """loss +inf, gradient finite"""
        z = self.z.astype(dtype)
        q = target(form, [2], 4, dtype)
        loss, grad = loss_and_grad(z, q, label_smoothing=label_smoothing)
        assert loss[0] == INF
        q_smooth = reference.smoothed(q, 4, label_smoothing)
        scale = np.maximum(reference.softmax(z), q_smooth)
        assert_within(ulp.GRADIENT, grad, reference.softmax(z) - q_smooth, at=scale)
        for reduction in ("sum", "mean"):
            assert (
                sx.cross_entropy(z, q, label_smoothing=label_smoothing, reduction=reduction) == INF
            )

    @every_target
    def test_eps_one_skips_the_label_term(self, dtype, form):
        """eps = 1: H(u, p), the label term is skipped (no 0 inf)"""
        z = self.z.astype(dtype)
        options = {"label_smoothing": 1.0, "prior": [0.5, 0.25, 0, 0.25]}
        loss, grad = loss_and_grad(z, target(form, [2], 4, dtype), **options)
        other_loss, other_grad = loss_and_grad(z, [3], **options)
        assert np.isfinite(loss).all()
        assert_same_bits(loss, other_loss)
        assert_same_bits(grad, other_grad)

    def test_activations(self, dtype):
        z = self.z.astype(dtype)
        assert sx.softmax(z)[0, 2] == 0
        assert sx.log_softmax(z)[0, 2] == -INF
        assert_within(ulp.SOFTMAX, sx.softmax(z), reference.softmax(z))
        assert_within(ulp.LOGSUMEXP, sx.logsumexp(z), reference.logsumexp(z))

    @every_target
    @pytest.mark.parametrize("classes", [2, 3, 10, 33, 1000])
    def test_whole_row(self, dtype, form, classes):
        """softmax/log_softmax/loss nan in that row only, logsumexp -inf"""
        clean, labels, _ = problem(classes, dtype, rows=5)
        z = clean.copy()
        z[2] = -INF
        targets = target(form, labels, classes, dtype)
        for label_smoothing in (0.0, 0.1, 1.0):
            check_only_row_is_nan(2, z, clean, targets, label_smoothing)
        lse = sx.logsumexp(z)
        assert lse[2] == -INF
        assert_same_bits(np.delete(lse, 2), np.delete(sx.logsumexp(clean), 2))


def check_only_row_is_nan(row, z, clean, targets, label_smoothing=0.1):
    """Every operation gives nan throughout that row, and the clean bits in the others."""
    dirty = (
        sx.softmax(z),
        sx.log_softmax(z),
        *loss_and_grad(z, targets, label_smoothing=label_smoothing),
    )
    right = (
        sx.softmax(clean),
        sx.log_softmax(clean),
        *loss_and_grad(clean, targets, label_smoothing=label_smoothing),
    )
    for got, expected in zip(dirty, right):
        assert np.isnan(got[row]).all()
        assert_same_bits(np.delete(got, row, axis=0), np.delete(expected, row, axis=0))


@every_float
class TestPlusInfinityAndNan:
    """one +inf logit; any NaN: nan in that row only (logsumexp +inf for +inf alone);
    SIMD max must not lose a NaN
    """

    @pytest.mark.parametrize("special, total", [(INF, INF), (NAN, NAN), (-NAN, NAN)])
    @pytest.mark.parametrize("classes", SHORT_ROWS)
    def test_at_every_place_of_the_row(self, dtype, special, total, classes):
        """Each row of the batch has it at another class, and between them are clean rows."""
        clean = problem(classes, dtype, rows=2 * classes).logits
        labels = np.arange(2 * classes) % classes
        z = clean.copy()
        place = np.arange(classes)
        z[2 * place, place] = special
        for got, right in zip(
            (sx.softmax(z), sx.log_softmax(z), *loss_and_grad(z, labels, label_smoothing=0.1)),
            (
                sx.softmax(clean),
                sx.log_softmax(clean),
                *loss_and_grad(clean, labels, label_smoothing=0.1),
            ),
        ):
            assert np.isnan(got[::2]).all()
            assert_same_bits(got[1::2], right[1::2])
        lse = sx.logsumexp(z)
        assert_same_bits(np.isnan(lse[::2]), np.full(classes, np.isnan(total)))
        assert np.isnan(total) or (lse[::2] == total).all()
        assert_same_bits(lse[1::2], sx.logsumexp(clean)[1::2])

    @pytest.mark.parametrize("classes", [1000, 1025, 16385])
    def test_in_long_rows(self, dtype, classes):
        clean, labels, _ = problem(classes, dtype, rows=3)
        for special, place in itertools.product(
            (INF, NAN), (0, 1, classes // 2, classes - 2, classes - 1)
        ):
            z = clean.copy()
            z[1, place] = special
            check_only_row_is_nan(1, z, clean, labels)
            assert np.isnan(sx.logsumexp(z)[1]) == np.isnan(special)

    def test_every_row_of_up_to_four_special_values(self, dtype):
        """All rows over {nan, inf, -inf, -1, 0, 2}: the table, row by row."""
        values = np.array([NAN, INF, -INF, -1, 0, 2], dtype)
        for classes in (2, 3, 4):
            z = np.array(list(itertools.product(values, repeat=classes)), dtype)
            undefined = np.isnan(z).any(-1) | (z == INF).any(-1) | (z == -INF).all(-1)
            p, log_p, lse = sx.softmax(z), sx.log_softmax(z), sx.logsumexp(z)
            assert (np.isnan(p) == undefined[:, None]).all()
            assert (np.isnan(log_p) == undefined[:, None]).all()
            assert (np.isnan(lse) == np.isnan(z).any(-1)).all()
            with np.errstate(invalid="ignore"):
                infinite = ~np.isnan(z).any(-1) & np.isinf(z.max(-1))
            assert_same_bits(lse[infinite], z.max(-1)[infinite])
            defined = z[~undefined]
            assert_within(ulp.SOFTMAX, p[~undefined], reference.softmax(defined))
            assert_within(ulp.LOG_SOFTMAX, log_p[~undefined], reference.log_softmax(defined))
            for label in range(classes):
                labels = np.full(len(z), label)
                loss, grad = loss_and_grad(z, labels)
                assert (np.isnan(loss) == undefined).all()
                assert (np.isnan(grad) == undefined[:, None]).all()
                exact = reference.cross_entropy(defined, labels[~undefined])
                assert_within(ulp.LOSS, loss[~undefined], exact)

    def test_nan_reaches_the_reductions(self, dtype):
        z, labels, _ = problem(10, dtype)
        z = z.copy()
        z[3, 4] = NAN
        for reduction in ("sum", "mean"):
            assert np.isnan(sx.cross_entropy(z, labels, reduction=reduction))


@every_float
class TestFewRowsOrClasses:
    @pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
    @pytest.mark.parametrize("logit", [0.0, -3.5, 1e30, -1e30])
    def test_one_class(self, dtype, label_smoothing, logit):
        """K = 1: loss 0, gradient 0, any eps"""
        z = np.full((3, 1), logit, dtype)
        for targets in (np.zeros(3, int), np.ones((3, 1), dtype)):
            loss, grad = loss_and_grad(z, targets, label_smoothing=label_smoothing, prior=[1.0])
            assert_same_bits(loss, np.zeros(3, dtype))
            assert (grad == 0).all()
        assert (sx.softmax(z) == 1).all()
        assert (sx.log_softmax(z) == 0).all()
        assert_same_bits(sx.logsumexp(z), z[:, 0])

    @pytest.mark.parametrize("shape, axis", [((3, 0), 1), ((0, 3), 0), ((2, 0, 4), 1)])
    def test_no_classes(self, dtype, shape, axis):
        """K = 0 with N > 0: ValueError"""
        z = np.zeros(shape, dtype)
        labels = np.zeros(tuple(np.delete(shape, axis)), int)
        for call in (sx.softmax, sx.log_softmax, sx.logsumexp):
            with pytest.raises(ValueError, match=f"^logits has 0 classes along axis {axis}$"):
                call(z, axis=axis)
        for call in (sx.cross_entropy, sx.cross_entropy_value_and_grad, sx.cross_entropy_terms):
            with pytest.raises(ValueError, match=f"^logits has 0 classes along axis {axis}$"):
                call(z, labels, axis=axis)

    @pytest.mark.parametrize("shape", [(0, 5), (0, 1), (3, 0, 5), (0, 0)])
    def test_no_rows(self, dtype, shape):
        """N = 0: "mean" nan, "sum" 0, empty arrays"""
        z = np.zeros(shape, dtype)
        for targets in (np.zeros(shape[:-1], int), z):
            for reduction in ("none", "sum", "mean"):
                value, grad = loss_and_grad(z, targets, label_smoothing=0.1, reduction=reduction)
                assert_same_bits(grad, z)
                if reduction == "none":
                    assert_same_bits(value, np.zeros(shape[:-1], dtype))
                else:
                    assert type(value) is float
                    assert value == 0 if reduction == "sum" else np.isnan(value)
        assert_same_bits(sx.softmax(z), z)
        assert_same_bits(sx.log_softmax(z), z)
        assert_same_bits(sx.logsumexp(z), np.zeros(shape[:-1], dtype))
        assert_same_bits(sx.logsumexp(z, keepdims=True), np.zeros((*shape[:-1], 1), dtype))


@every_float
class TestSmoothingEnds:
    @pytest.mark.parametrize("classes", [2, 10, 33, 1000, 16385])
    def test_eps_zero(self, dtype, classes):
        """bit-identical to no smoothing; the prior is not read"""
        z, labels, _ = problem(classes, dtype)
        loss, grad = loss_and_grad(z, labels)
        for prior in (None, random_prior(np.random.default_rng(1), classes), np.full(classes, NAN)):
            for zero in (0.0, -0.0, 0, np.float32(0)):
                other_loss, other_grad = loss_and_grad(z, labels, label_smoothing=zero, prior=prior)
                assert_same_bits(other_loss, loss)
                assert_same_bits(other_grad, grad)

    @pytest.mark.parametrize("classes", [2, 10, 33, 1000, 16385])
    def test_eps_one(self, dtype, classes):
        """H(u, p) whatever the label"""
        z, labels, u = problem(classes, dtype)
        for prior in (None, u):
            options = {"label_smoothing": 1.0, "prior": prior}
            loss, grad = loss_and_grad(z, labels, **options)
            other_loss, other_grad = loss_and_grad(z, labels[::-1], **options)
            assert_same_bits(other_loss, loss)
            assert_same_bits(other_grad, grad)
            assert_within(ulp.LOSS, loss, reference.cross_entropy(z, labels, **options))

    def test_smallest_smoothing(self, dtype):
        z, labels, u = problem(10, dtype)
        for eps in (5e-324, 1e-300, np.nextafter(1, 0)):
            loss, grad = loss_and_grad(z, labels, label_smoothing=eps, prior=u)
            exact = reference.cross_entropy(z, labels, eps, u)
            assert_within(ulp.LOSS, loss, exact)
            assert np.isfinite(grad).all()
