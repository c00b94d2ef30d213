"""Special values at every place of a row, in rows of every length, and all short rows of them.

The table of edge cases itself is in test_special_values.py.
"""

import itertools

import numpy as np
import pytest

import reference
import smoothxent as sx
import ulp
from problems import FLOATS, SHORT_ROWS, one_hot, problem
from ulp import assert_same_bits, assert_within

every_float = pytest.mark.parametrize("dtype", FLOATS)
INF, NAN = np.inf, np.nan


def loss_and_grad(z, targets, **options):
    return sx.cross_entropy_value_and_grad(z, targets, **({"reduction": "none"} | options))


@every_float
class TestIgnoredRows:
    def test_all_probabilities_zero(self, dtype):
        """A target with no mass is a row of weight 0."""
        z = problem(10, dtype).logits
        q = np.zeros_like(z)
        mean, grad = loss_and_grad(z, q, reduction="mean")
        assert np.isnan(mean)
        assert (grad == 0).all()
        total, grad = loss_and_grad(z, q, reduction="sum")
        assert total == 0
        assert (grad == 0).all()

    def test_ignore_index_may_be_a_class(self, dtype):
        z = problem(10, dtype).logits
        labels = np.array([3, 0, 9, 5, 0, 1, 2])
        loss, grad = loss_and_grad(z, labels, ignore_index=0)
        assert ((loss == 0) == (labels == 0)).all()
        assert ((grad == 0).all(-1) == (labels == 0)).all()

    def test_ignore_index_is_not_for_probabilities(self, dtype):
        """A one-hot row of the class whose number is ignore_index counts."""
        z = problem(10, dtype).logits
        labels = np.array([3, 0, 9, 5, 0, 1, 2])
        loss, _ = loss_and_grad(z, one_hot(labels, 10, dtype), ignore_index=0)
        assert_same_bits(loss, loss_and_grad(z, labels)[0])

    def test_no_label_is_ignored_with_none(self, dtype):
        z = problem(10, dtype).logits
        with pytest.raises(sx.LabelError):
            sx.cross_entropy(z, [0, 1, -100, 2, 3, 4, 5], ignore_index=None)


@every_float
def test_minus_infinity_in_the_activations(dtype):
    z = np.array([[1.0, 2.0, -INF, 0.5]], dtype)
    assert sx.softmax(z)[0, 2] == 0
    assert sx.log_softmax(z)[0, 2] == -INF
    assert_within(ulp.SOFTMAX, sx.softmax(z), reference.softmax(z))
    assert_within(ulp.LOGSUMEXP, sx.logsumexp(z), reference.logsumexp(z))


@every_float
@pytest.mark.parametrize("classes", [1, 3, 10, 64, 65])
def test_among_many_rows(dtype, classes):
    """Every fifth row is special, each in another way: it has the same bits as in a call of its own."""
    rng = np.random.default_rng(classes)
    z = rng.normal(0, 3, (100, classes)).astype(dtype)
    for row, value in zip(range(0, 100, 5), itertools.cycle([NAN, INF, -INF, 1e8])):
        z[row, row % classes] = value
    z[95] = -INF
    z[96] *= 1e30
    labels = rng.integers(0, classes, len(z))
    calls = [
        lambda z, y: [sx.softmax(z), sx.log_softmax(z), sx.logsumexp(z)],
        lambda z, y: loss_and_grad(z, y, label_smoothing=0.1),
    ]
    for call in calls:
        alone = [call(z[row : row + 1], labels[row : row + 1]) for row in range(len(z))]
        for got, *rows in zip(call(z, labels), *alone):
            assert_same_bits(got, np.concatenate(rows))


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
        """Each special row of the batch has it at another class, with clean rows in between."""
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
            z[1, 7] = NAN
            assert np.isnan(sx.logsumexp(z)[1])

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


@every_float
def test_smallest_smoothing(dtype):
    z, labels, u = problem(10, dtype)
    for eps in (5e-324, 1e-300, np.nextafter(1, 0)):
        loss, grad = loss_and_grad(z, labels, label_smoothing=eps, prior=u)
        exact = reference.cross_entropy(z, labels, eps, u)
        assert_within(ulp.LOSS, loss, exact)
        assert np.isfinite(grad).all()
