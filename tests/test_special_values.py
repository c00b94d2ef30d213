"""The table of edge cases, row by row: the docstring of a test is the text of its row.

Each row of the table is tested with logits of every type and the three forms of a target: labels, the
same one-hot, and probabilities; the loss alone, the loss with its gradient, and the gradient.
test_levels.py runs this file on every instruction set.
"""

import itertools

import ml_dtypes
import numpy as np
import pytest

import reference
import smoothxent as sx
import ulp
from cases import for_each
from options_reference import Problem
from problems import STORED, one_hot, problem
from ulp import assert_same_bits, assert_within

every_dtype = for_each("dtype", STORED)
every_target = for_each("form", ["labels", "one-hot", "probabilities"])
INF, NAN = np.inf, np.nan
REDUCTIONS = ("none", "sum", "mean", "sum_by_nonzero_weights")
# The values that make a row nan, and only that row.
UNDEFINED = (NAN, -NAN, INF)


def target(form, labels, classes, dtype):
    """The same target in three forms; as probabilities it is 0.5 on the label and 0.5 on the next."""
    labels = np.asarray(labels)
    if form == "labels":
        return labels
    q = one_hot(labels, classes, dtype)
    return q if form == "one-hot" else (q + one_hot((labels + 1) % classes, classes, dtype)) / 2


def loss_and_grad(z, targets, reduction="none", **options):
    """Both; checks that the loss has the same bits as without the gradient."""
    options["reduction"] = reduction
    loss, grad = sx.cross_entropy_value_and_grad(z, targets, **options)
    assert_same_bits(sx.cross_entropy(z, targets, **options), loss)
    return loss, grad


def checked(z, targets, **options):
    """The loss and the gradient of each row, from the oracle."""
    loss, grad = loss_and_grad(z, targets, **options)
    exact = Problem(z, targets, **options)
    assert_within(ulp.LOSS, loss, exact.losses())
    bound = ulp.stored(ulp.GRADIENT, grad.dtype)
    assert_within(bound, grad, exact.gradient(), at=exact.gradient_size())
    return loss, grad


def assert_same_results(got, expected):
    for one, other in zip(got, expected, strict=True):
        assert_same_bits(one, other)


# How rows are left out: by their label, or by a weight of 0. Probabilities have no ignore_index.
left_out = pytest.mark.parametrize(
    "form, way",
    [
        ("labels", "ignored"),
        ("labels", "weight zero"),
        ("one-hot", "weight zero"),
        ("probabilities", "weight zero"),
    ],
)


def leave_out(rows, way, targets):
    """The targets and the options of a call in which those rows do not count."""
    if way == "ignored":
        return np.where(rows, -100, targets), {}
    return targets, {"sample_weight": np.where(rows, 0.0, 1.0)}


@every_dtype
class TestIgnoredRows:
    @left_out
    @pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
    def test_all_rows_ignored(self, dtype, form, way, label_smoothing):
        """all rows ignored / all weights zero: "mean": nan; "sum", "sum_by_nonzero_weights", or with
        `normalizer`: 0; gradient exactly 0 always
        """
        z, labels, _ = problem(10, dtype)
        z = np.full_like(z, NAN)
        targets, options = leave_out(np.full(7, True), way, target(form, labels, 10, dtype))
        options["label_smoothing"] = label_smoothing
        for extra, expected in (
            ({"reduction": "mean"}, NAN),
            ({"reduction": "sum"}, 0.0),
            ({"reduction": "sum_by_nonzero_weights"}, 0.0),
            ({"reduction": "mean", "normalizer": 3.0}, 0.0),
            ({"reduction": "sum_by_nonzero_weights", "normalizer": 3.0}, 0.0),
        ):
            value, grad = loss_and_grad(z, targets, **options, **extra)
            assert value == expected or np.isnan([value, expected]).all()
            assert (grad == 0).all()
        loss, grad = loss_and_grad(z, targets, **options)
        assert (loss == 0).all()
        assert (grad == 0).all()

    @left_out
    @pytest.mark.parametrize("classes", [1, 2, 10, 33, 1000, 16385])
    def test_ignored_row_is_never_read(self, dtype, form, way, classes):
        """NaN/inf in padding cannot leak; its loss and gradient are exactly 0; it leaves every divisor"""
        z, labels, u = problem(classes, dtype, rows=6)
        padding = np.array([False, True, False, True, True, False])
        dirty = z.copy()
        dirty[padding] = np.array([[NAN], [INF], [-INF]])
        whole = target(form, labels, classes, dtype)
        targets, left = leave_out(padding, way, whole)
        for (label_smoothing, prior), reduction in itertools.product(
            ((0.0, None), (0.1, None), (0.1, u), (1.0, u)), REDUCTIONS
        ):
            options = {"label_smoothing": label_smoothing, "prior": prior, "reduction": reduction}
            value, grad = loss_and_grad(dirty, targets, **options, **left)
            kept = loss_and_grad(z[~padding], whole[~padding], **options)
            seen = value[~padding] if reduction == "none" else value
            assert_same_results((seen, grad[~padding]), kept)
            assert (grad[padding] == 0).all()
            assert reduction != "none" or (value[padding] == 0).all()


@every_dtype
@every_target
class TestMinusInfinity:
    z = np.array([[1.0, 2.0, -INF, 0.5]])

    @pytest.mark.parametrize(
        "label_smoothing, prior", [(0.0, None), (0.3, [0.5, 0.25, 0, 0.25]), (0.0, [0.25] * 4)]
    )
    def test_off_the_label_where_u_is_zero_or_eps_is_zero(
        self, dtype, form, label_smoothing, prior
    ):
        """finite, gradient 0 there; integer, one-hot and probability targets agree (0 log 0 = 0)"""
        z, q = self.z.astype(dtype), target(form, [0], 4, dtype)
        options = {"label_smoothing": label_smoothing, "prior": prior}
        loss, grad = checked(z, q, **options)
        assert np.isfinite(loss).all()
        assert grad[0, 2] == 0
        if form == "one-hot":
            assert_same_results((loss, grad), loss_and_grad(z, [0], **options))
        # The same as without the class.
        fewer = np.delete(q, 2, axis=1) if q.ndim == 2 else q
        prior = None if prior is None else np.delete(prior, 2)
        loss_of_fewer, grad_of_fewer = checked(
            np.delete(z, 2, axis=1), fewer, label_smoothing=label_smoothing, prior=prior
        )
        assert_within(2 * ulp.LOSS, loss, loss_of_fewer)
        assert_within(
            2 * ulp.stored(ulp.GRADIENT, dtype),
            np.delete(grad, 2, axis=1),
            grad_of_fewer,
            at=np.full((1, 3), 0.25),
        )

    @pytest.mark.parametrize(
        "label_smoothing, prior", [(0.1, None), (1.0, None), (0.1, [0.5, 0.25, 0.1, 0.15])]
    )
    def test_off_the_label_with_eps_and_u_positive(self, dtype, form, label_smoothing, prior):
        """loss +inf, gradient p - q' finite; users who mean "class absent" pass `where=`"""
        z, q = self.z.astype(dtype), target(form, [0], 4, dtype)
        options = {"label_smoothing": label_smoothing, "prior": prior}
        loss, grad = checked(z, q, **options)
        assert loss[0] == INF
        assert np.isfinite(grad).all()
        loss, grad = checked(z, q, where=z > -INF, **options)
        assert np.isfinite(loss).all()
        assert grad[0, 2] == 0

    @pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
    def test_at_the_label(self, dtype, form, label_smoothing):
        """loss +inf, gradient finite"""
        z, q = self.z.astype(dtype), target(form, [2], 4, dtype)
        loss, grad = checked(z, q, label_smoothing=label_smoothing)
        assert loss[0] == INF
        assert np.isfinite(grad).all()
        for reduction in REDUCTIONS[1:]:
            value, _ = loss_and_grad(z, q, label_smoothing=label_smoothing, reduction=reduction)
            assert value == INF

    @pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
    def test_label_masked_by_where(self, dtype, form, label_smoothing):
        """loss +inf, gradient finite (0 on masked classes)"""
        z = np.array([[1.0, 2.0, 3.0, 0.5], [0.5, -1.0, 2.0, 1.0]], dtype)
        where = np.array([[True, True, False, True], [True, True, True, True]])
        q = target(form, [2, 2], 4, dtype)
        loss, grad = checked(z, q, where=where, label_smoothing=label_smoothing)
        assert loss[0] == INF
        assert np.isfinite(loss[1])
        assert np.isfinite(grad).all()
        assert grad[0, 2] == 0

    @pytest.mark.parametrize("classes", [2, 3, 10, 33, 1000])
    def test_whole_row(self, dtype, form, classes):
        """whole row -inf: softmax/log_softmax/loss nan in that row only, logsumexp -inf"""
        clean, labels, _ = problem(classes, dtype, rows=5)
        z = clean.copy()
        z[2] = -INF
        targets = target(form, labels, classes, dtype)
        assert_only_rows_are_nan([2], z, targets, results_of_rows(clean, targets))
        lse = sx.logsumexp(z)
        assert lse[2] == -INF
        assert_same_bits(np.delete(lse, 2), np.delete(sx.logsumexp(clean), 2))

    @pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
    def test_whole_row_where_false(self, dtype, form, label_smoothing):
        """softmax 0, log_softmax -inf, logsumexp -inf, loss 0 and the row leaves the divisor"""
        z, labels, _ = problem(5, dtype, rows=3)
        z[1] = NAN
        where = np.array([[True], [False], [True]])
        assert (sx.softmax(z, where=where)[1] == 0).all()
        assert (sx.log_softmax(z, where=where)[1] == -INF).all()
        assert sx.logsumexp(z, where=where)[1] == -INF
        q, rows = target(form, labels, 5, dtype), [0, 2]
        for reduction in REDUCTIONS:
            options = {"label_smoothing": label_smoothing, "reduction": reduction}
            value, grad = loss_and_grad(z, q, where=where, **options)
            alone = loss_and_grad(z[rows], q[rows], where=True, **options)
            assert_same_results((value[rows] if reduction == "none" else value, grad[rows]), alone)
            assert (grad[1] == 0).all()
            assert reduction != "none" or value[1] == 0
        terms = sx.cross_entropy_terms(z, q, where=where)
        assert [float(term[1]) for term in terms] == [0, 0, 0, 0, -INF]


def results_of_rows(z, targets):
    losses = (loss_and_grad(z, targets, label_smoothing=eps) for eps in (0.0, 0.1, 1.0))
    return [sx.softmax(z), sx.log_softmax(z), *itertools.chain.from_iterable(losses)]


def assert_only_rows_are_nan(rows, z, targets, clean):
    """Every operation gives nan in the whole of those rows, and in the others the bits of clean logits."""
    for got, expected in zip(results_of_rows(z, targets), clean, strict=True):
        assert np.isnan(got[rows]).all()
        assert_same_bits(np.delete(got, rows, axis=0), np.delete(expected, rows, axis=0))
    for reduction in REDUCTIONS[1:]:
        assert np.isnan(loss_and_grad(z, targets, reduction=reduction)[0])


@every_dtype
@every_target
@pytest.mark.parametrize("classes", [1, 2, 3, 17, 33, 65, 130])
def test_one_plus_infinity_or_any_nan(dtype, form, classes):
    """one +inf logit; any NaN: nan in that row only (logsumexp +inf for +inf alone);
    SIMD max must not lose a NaN

    Each special row of the batch has it at another class, with clean rows in between.
    """
    clean = problem(classes, dtype, rows=2 * classes).logits
    targets = target(form, np.arange(2 * classes) % classes, classes, dtype)
    rows = 2 * np.arange(classes)
    expected, expected_lse = results_of_rows(clean, targets), sx.logsumexp(clean)
    for special in UNDEFINED:
        z = clean.copy()
        z[rows, np.arange(classes)] = special
        assert_only_rows_are_nan(rows, z, targets, expected)
        lse = sx.logsumexp(z)
        assert (np.isnan(lse[rows]) if np.isnan(special) else lse[rows] == INF).all()
        assert_same_bits(lse[1::2], expected_lse[1::2])


@every_dtype
@every_target
class TestFewRowsOrClasses:
    @pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
    @pytest.mark.parametrize("logit", [0.0, -3.5, 3e4, -3e4, "largest"])
    def test_one_class(self, dtype, form, label_smoothing, logit):
        """K = 1: loss 0, gradient 0, any eps"""
        logit = ml_dtypes.finfo(dtype).max if logit == "largest" else logit
        z = np.full((3, 1), logit, dtype)
        loss, grad = loss_and_grad(
            z, target(form, [0, 0, 0], 1, dtype), label_smoothing=label_smoothing, prior=[1.0]
        )
        assert (loss == 0).all()
        assert (grad == 0).all()
        assert (sx.softmax(z) == 1).all()
        assert (sx.log_softmax(z) == 0).all()
        assert_same_bits(sx.logsumexp(z), z[:, 0])

    @pytest.mark.parametrize("shape, axis", [((3, 0), 1), ((0, 3), 0), ((2, 0, 4), 1)])
    def test_no_classes(self, dtype, form, shape, axis):
        """K = 0 with N > 0: ValueError, but for logsumexp: -inf"""
        z = np.zeros(shape, dtype)
        targets = np.zeros(np.delete(shape, axis), int) if form == "labels" else z
        for call in (sx.softmax, sx.log_softmax):
            with pytest.raises(
                ValueError, match=f"^logits has 0 classes along axis {axis}, expected at least 1$"
            ):
                call(z, axis=axis)
        for call in (sx.cross_entropy, sx.cross_entropy_value_and_grad, sx.cross_entropy_terms):
            with pytest.raises(
                ValueError, match=f"^logits has 0 classes along axis {axis}, expected at least 1$"
            ):
                call(z, targets, axis=axis)
        assert (sx.logsumexp(z, axis=axis) == -np.inf).all()

    @pytest.mark.parametrize("shape", [(0, 5), (0, 1), (3, 0, 5), (0, 0)])
    def test_no_rows(self, dtype, form, shape):
        """N = 0: "mean" nan, "sum" 0, empty arrays"""
        z = np.zeros(shape, dtype)
        targets = np.zeros(shape[:-1], int) if form == "labels" else z
        for reduction, expected in zip(REDUCTIONS, (None, 0.0, NAN, 0.0), strict=True):
            value, grad = loss_and_grad(z, targets, label_smoothing=0.1, reduction=reduction)
            assert_same_bits(grad, z)
            if reduction == "none":
                assert_same_bits(value, np.zeros(shape[:-1], np.promote_types(dtype, np.float32)))
            else:
                assert type(value) is float
                assert value == expected or np.isnan([value, expected]).all()
        assert_same_bits(sx.softmax(z), z)
        assert_same_bits(sx.log_softmax(z), z)
        assert_same_bits(sx.logsumexp(z), np.zeros(shape[:-1], dtype))
        assert_same_bits(sx.logsumexp(z, keepdims=True), np.zeros((*shape[:-1], 1), dtype))


@every_dtype
@every_target
class TestSmoothingEnds:
    @pytest.mark.parametrize("classes", [2, 10, 33, 1000, 16385])
    def test_eps_zero(self, dtype, form, classes):
        """bit-identical to no smoothing; the prior is not read"""
        z, labels, u = problem(classes, dtype)
        targets = target(form, labels, classes, dtype)
        expected = loss_and_grad(z, targets)
        for prior, zero in itertools.product(
            (None, u, np.full(classes, NAN)), (0.0, -0.0, 0, np.float32(0))
        ):
            got = loss_and_grad(z, targets, label_smoothing=zero, prior=prior)
            assert_same_results(got, expected)

    @pytest.mark.parametrize("classes", [2, 10, 33, 1000, 16385])
    def test_eps_one(self, dtype, form, classes):
        """H(u, p), whatever the target"""
        z, labels, u = problem(classes, dtype)
        for prior in (None, u):
            options = {"label_smoothing": 1.0, "prior": prior}
            got = checked(z, target(form, labels, classes, dtype), **options)
            assert_same_results(got, loss_and_grad(z, labels[::-1], **options))

    def test_eps_one_skips_the_label_term(self, dtype, form):
        """the label term is skipped (no 0 inf)"""
        z = np.array([[1.0, 2.0, -INF, 0.5]], dtype)
        options = {"label_smoothing": 1.0, "prior": [0.5, 0.25, 0, 0.25]}
        got = checked(z, target(form, [2], 4, dtype), **options)
        assert np.isfinite(got[0]).all()
        assert_same_results(got, loss_and_grad(z, [3], **options))


@every_dtype
@every_target
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
class TestLargeLogits:
    """logits up to ±FLT_MAX, offsets 1e4..1e30: finite and accurate; never overflow"""

    def test_largest(self, dtype, form, label_smoothing):
        big = float(ml_dtypes.finfo(dtype).max)
        z = np.array([[big, big, 0], [-big, -big, -big], [big, big, big], [0, 0, -1.0]], dtype)
        targets = target(form, [0, 1, 2, 1], 3, dtype)
        loss, grad = checked(z, targets, label_smoothing=label_smoothing)
        assert np.isfinite(loss).all()
        assert np.isfinite(grad).all()
        for activation in (sx.softmax, sx.log_softmax, sx.logsumexp):
            assert np.isfinite(activation(z)).all()

    @pytest.mark.parametrize("offset", [1e4, -1e4, 1e15, -1e15, 1e30, -1e30])
    def test_offsets(self, dtype, form, label_smoothing, offset):
        """The differences that remain after the logits were rounded are computed accurately."""
        if abs(offset) > float(ml_dtypes.finfo(dtype).max):
            offset = np.copysign(3e4, offset)
        z, labels, _ = problem(33, np.float64)
        z = (z + offset).astype(dtype)
        loss, grad = checked(z, target(form, labels, 33, dtype), label_smoothing=label_smoothing)
        assert np.isfinite(loss).all()
        assert np.isfinite(grad).all()
        assert_within(ulp.stored(ulp.SOFTMAX, dtype), sx.softmax(z), reference.softmax(z))
