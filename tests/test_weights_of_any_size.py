"""Weights may be any finite numbers >= 0; a result that overflows is infinite, never nan."""

import numpy as np
import pytest

import reference
import smoothxent as sx
import ulp
from options_reference import Problem
from problems import FLOATS, one_hot, problem
from reference import Real
from ulp import assert_same_bits, assert_within

SIZES = [1e-300, 1e-60, 1e-30, 1e30, 1e60, 1e300]
every_float = pytest.mark.parametrize("dtype", FLOATS)


def value_and_grad(*arguments, **options):
    with np.errstate(over="ignore"):
        return sx.cross_entropy_value_and_grad(*arguments, **options)


@every_float
@pytest.mark.parametrize("form", ["labels", "probabilities"])
@pytest.mark.parametrize("classes", [3, 70])
@pytest.mark.parametrize("size", SIZES)
def test_class_weights_of_one_size_cancel_in_a_mean(dtype, form, classes, size):
    z, labels, _ = problem(classes, dtype, rows=20)
    targets = (
        labels if form == "labels" else 0.5 * one_hot(labels, classes, np.float64) + 0.5 / classes
    )
    options = {"label_smoothing": 0.1}
    weights = np.full(classes, size)
    value, grad = value_and_grad(z, targets, class_weight=weights, **options)
    exact = reference.cross_entropy(z, targets, 0.1).mean()
    assert value == pytest.approx(float(exact), rel=1e-6 if dtype == np.float32 else 1e-14)
    _, plain = value_and_grad(z, targets, **options)
    np.testing.assert_allclose(grad, plain, rtol=1e-4 if dtype == np.float32 else 1e-12, atol=1e-8)


@every_float
@pytest.mark.parametrize("size", [5e-324, *SIZES, 1e308])
def test_sample_weights_of_one_size_cancel_in_a_mean(dtype, size):
    z, labels, _ = problem(10, dtype, rows=20)
    weights = np.full(20, size)
    value, grad = value_and_grad(z, labels, sample_weight=weights)
    expected, expected_grad = value_and_grad(z, labels)
    assert_within(1, np.float64(value), np.asarray(expected, Real))
    np.testing.assert_allclose(grad, expected_grad, rtol=1e-6, atol=0)
    by_count, _ = value_and_grad(
        z, labels, sample_weight=weights, reduction="sum_by_nonzero_weights"
    )
    assert_within(2, np.float64(by_count), np.asarray(expected, Real) * Real(size))


@every_float
@pytest.mark.parametrize("size", [5e-324, 1e-310, 1e-300, 1e-30, 1e30, 1e300])
def test_sample_weights_and_the_normalizer_of_one_size_cancel(dtype, size):
    z, labels, _ = problem(10, dtype, rows=20)
    expected, expected_grad = value_and_grad(z, labels, normalizer=4.0)
    value, grad = value_and_grad(
        z, labels, sample_weight=np.full(20, size), normalizer=np.float64(size) * 4.0
    )
    assert_within(1, np.float64(value), np.asarray(expected, Real))
    np.testing.assert_allclose(grad, expected_grad, rtol=1e-6, atol=0)


@every_float
@pytest.mark.parametrize("size", [5e-324, 1e-300, 1e-50, 1e50, 1e300])
def test_z_loss_has_no_class_weights(dtype, size):
    z, labels, _ = problem(10, dtype, rows=20)
    options = {"label_smoothing": 0.1, "z_loss": size / 16, "class_weight": np.full(10, size)}
    value, grad = value_and_grad(z, labels, **options)
    ones = {"label_smoothing": 0.1, "z_loss": 1 / 16} if size > 1e-320 else {"label_smoothing": 0.1}
    expected, expected_grad = value_and_grad(z, labels, **ones)
    assert value == pytest.approx(expected, rel=1e-6 if dtype == np.float32 else 1e-14)
    np.testing.assert_allclose(grad, expected_grad, rtol=1e-4, atol=1e-8)
    rows = value_and_grad(np.zeros((1, 5)), [0], z_loss=1.0, class_weight=np.full(5, 1e20))
    assert rows[0] == pytest.approx(np.log(5.0))


@every_float
@pytest.mark.parametrize(
    "options", [{"z_loss": 1.7e308}, {"z_loss": 1e20, "class_weight": [1e-300] * 2}]
)
def test_any_z_loss_of_rows_whose_logsumexp_is_0(dtype, options):
    """0 times a factor beyond float64 is 0."""
    z = np.array([[0, -np.inf], [-np.inf, 0]], dtype)
    value, grad = value_and_grad(z, [0, 1], reduction="sum", **options)
    assert value == 0
    assert not grad.any()


@every_float
@pytest.mark.parametrize("classes", [10, 300])
def test_light_rows_in_large_outputs(dtype, classes):
    """Their gradients are computed in units of a power of two; the output is written by streaming stores."""
    rows, few = 2**25 // (classes * dtype().itemsize), 50
    z, labels, _ = problem(classes, dtype, rows=rows)
    weights = np.where(np.arange(rows) % 7, 1, 1e-20)
    out = np.empty_like(z)
    value_and_grad(z, labels, sample_weight=weights, reduction="sum", grad_out=out)
    for part in (slice(few), slice(-few, None)):
        options = {"sample_weight": weights[part], "reduction": "sum"}
        assert_same_bits(out[part], value_and_grad(z[part], labels[part], **options)[1])


@every_float
@pytest.mark.parametrize("classes", [3, 70, 20000])
def test_a_large_z_loss_and_a_class_of_probability_0(dtype, classes):
    """Its gradient, -q', keeps its digits beside others that are 10^45 times larger."""
    z = np.zeros((1, classes), dtype)
    z[:, -1] = -1e4
    _, grad = value_and_grad(z, [0], z_loss=1e45, label_smoothing=0.3, reduction="sum")
    assert_within(1, grad[:, -1], -Real(0.3) / np.full(1, classes))


def test_any_weights_of_rows_whose_loss_is_0():
    """The units of the weights are multiplied, and 0 times infinity would be nan."""
    options = {"class_weight": [1e300] * 2, "sample_weight": [1e300], "normalizer": 1.0}
    assert sx.cross_entropy([[2000.0, 0.0]], [0], **options) == 0


@every_float
@pytest.mark.parametrize(
    "class_size, sample_size, normalizer",
    [(1e160, 1e160, 1e300), (1e30, 1e300, 1e308), (1e-160, 1e-165, 1e-300)],
)
def test_the_product_of_weights_is_out_of_range_but_not_the_quotient(
    dtype, class_size, sample_size, normalizer
):
    z, labels, _ = problem(3, dtype, rows=1)
    options = {"class_weight": [class_size] * 3, "sample_weight": [sample_size]}
    loss, grad = value_and_grad(z, labels, normalizer=normalizer, **options)
    alone, grad_alone = value_and_grad(z, labels, reduction="sum")
    factor = Real(class_size) * Real(sample_size) / Real(normalizer)
    assert_within(8, loss, factor * alone)
    assert_within(8, grad, factor * grad_alone)


def test_mean_over_no_weight():
    """With z_loss it is x/0."""
    options = {"class_weight": [0.0, 1.0], "z_loss": 1.0}
    value, grad = value_and_grad(np.ones((2, 2)), [0, 0], **options)
    assert np.isnan(value)
    assert not grad.any()


@pytest.mark.parametrize("classes", [2, 10, 100, 1000, 20000])
def test_rows_of_a_mean_over_no_weight_are_not_read(classes):
    z, weights = np.ones((20, classes), np.float32), np.ones(classes)
    z[3, -1], z[9, 0] = np.nan, np.inf
    weights[0] = 0
    for targets, options in (
        (np.zeros(20, int), {"class_weight": weights, "label_smoothing": 0.1}),
        (np.zeros_like(z), {}),
        (np.zeros_like(z), {"class_weight": weights}),
    ):
        value, grad = value_and_grad(z, targets, **options)
        assert np.isnan(value)
        assert not grad.any()


@pytest.mark.parametrize("classes", [3, 70, 20000])
def test_a_row_of_tiny_weight_beside_a_heavy_one_counts(classes):
    """In units of the largest weight its own would be 0."""
    z, weights = np.zeros((2, classes)), [1e200, 1e-200]
    options = {"sample_weight": weights, "reduction": "sum_by_nonzero_weights"}
    value, _ = value_and_grad(z, [0, 0], **options)
    assert_within(2, value, Real(1e200) * np.log(Real(classes)) / 2)
    z[1, -1] = np.nan
    for reduction in ("mean", "sum_by_nonzero_weights"):
        value, grad = value_and_grad(z, [0, 0], sample_weight=weights, reduction=reduction)
        assert np.isnan(value)
        assert np.isnan(grad[1]).all()


@every_float
def test_one_class_weighs_more_than_all_others(dtype):
    z, labels, _ = problem(3, dtype, rows=20)
    weights = np.array([1.0, 1.0, 1e39])
    for label_smoothing in (0.0, 0.1):
        options = {"label_smoothing": label_smoothing, "class_weight": weights}
        value, grad = value_and_grad(z, labels, **options)
        assert np.isfinite(value)
        assert np.isfinite(grad).all()
        q = reference.smoothed(labels, 3, label_smoothing) * weights
        losses = -(q * reference.log_softmax(z)).sum(-1)
        rows, _ = value_and_grad(z, labels, reduction="none", **options)
        assert_within(ulp.LOSS_OF_ANY, rows, losses)


# Their sizes, the same for all rows or classes; and the reduction.
HUGE = {
    "z_loss": ({"z_loss": 1e300}, "sum"),
    "sample weights near the largest float32": ({"sample_weight": 1e38}, "none"),
    "sample weights": ({"sample_weight": 1e50}, "none"),
    "sample weights near the largest float64": ({"sample_weight": 5e307}, "none"),
    "sample weights and class weights": ({"sample_weight": 1e300, "class_weight": 1e300}, "sum"),
    "normalizer": ({"normalizer": 5e-324}, "mean"),
}
# There the factor of loss or gradient is beyond float64: the largest number is taken instead.
LIMITED = ("sample weights and class weights", "normalizer")


def huge_results(dtype, classes, name):
    """Loss and gradient, each with the exact one, rounded."""
    z, labels, _ = problem(classes, dtype, rows=3)
    sizes, reduction = HUGE[name]
    options = {"label_smoothing": 0.1} | sizes
    for weights, count in (("sample_weight", 3), ("class_weight", classes)):
        if weights in sizes:
            options[weights] = np.full(count, sizes[weights])
    value, grad = value_and_grad(z, labels, reduction=reduction, **options)
    divisor = Real(options.pop("normalizer", 1))
    exact = Problem(z, labels, **options)
    with np.errstate(over="ignore"):
        losses = exact.losses()
        loss = (losses if reduction == "none" else losses.sum()) / divisor
        slope = exact.gradient() / divisor
        return (value, loss.astype(np.asarray(value).dtype)), (grad, slope.astype(dtype))


@every_float
@pytest.mark.parametrize("classes", [3, 70, 20000])
@pytest.mark.parametrize("name", HUGE)
def test_what_is_within_the_type_is_finite(dtype, classes, name):
    for got, exact in huge_results(dtype, classes, name):
        assert not np.isnan(got).any()
        assert (np.isfinite(got) | (got == exact)).all()
        assert (np.sign(got) == np.sign(exact)).all()


@every_float
@pytest.mark.parametrize("classes", [3, 70, 20000])
@pytest.mark.parametrize("name", HUGE)
def test_what_is_beyond_the_type_is_infinite(dtype, classes, name):
    for got, exact in huge_results(dtype, classes, name):
        is_beyond = np.isinf(exact)
        if dtype == np.float64 and name in LIMITED:
            assert (np.abs(got) > 1e290)[is_beyond].all()  # p and q may be near
        else:
            assert (got == exact)[is_beyond].all()


@every_float
def test_a_class_at_minus_infinity_beside_a_gradient_that_overflows(dtype):
    z = np.array([[1.0, 2.0, -np.inf]], dtype)
    _, grad = value_and_grad(z, [0], sample_weight=[1e300], reduction="none")
    assert grad[0, 2] == 0
    assert not np.isnan(grad).any()


@pytest.mark.parametrize("classes", [2, 70, 2**19])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.5])
def test_a_weight_brings_a_loss_beyond_the_type_back(classes, label_smoothing):
    z = np.full((2, classes), -1.7e308)
    z[:, 0] = 1.7e308
    z[1] = 0.0
    weights = np.array([1e-20, 1.0])
    losses, _ = value_and_grad(
        z,
        [1, 1],
        label_smoothing=label_smoothing,
        prior=(np.arange(classes) == 1).astype(float),
        sample_weight=weights,
        reduction="none",
    )
    assert_within(1, losses, np.array([2 * Real(1.7e308) * Real(1e-20), np.log(Real(classes))]))
    mean = sx.cross_entropy(z, [1, 1], sample_weight=weights)
    assert mean == pytest.approx(3.4e288, rel=1e-15)


@every_float
@pytest.mark.parametrize("size", [1e-200, 1e-50, 1e-44, 1e39, 1e200])
@pytest.mark.parametrize("name", ["sample_weight", "class_weight"])
def test_weights_beyond_the_type_of_the_rows_in_a_score(dtype, size, name):
    z, labels, _ = problem(10, dtype, rows=20)
    options = {"label_smoothing": 0.1, name: np.full(20 if name == "sample_weight" else 10, size)}
    grad = np.empty_like(z)
    score = sx.score(z, labels, **options)
    assert score.loss == pytest.approx(sx.cross_entropy(z, labels, **options), rel=1e-6)
    assert sx.score(z, labels, grad_out=grad, **options) == score


def test_a_divisor_beyond_float64_in_a_score():
    """Row 0 has nearly all of the weight, and loss 1e-304."""
    z, labels = np.array([[700.0, 0.0], [0.0, 1.0]]), np.array([0, 1])
    weights = np.array([1e300, 1.0])
    for rows in (slice(2), slice(1)):
        options = {"class_weight": weights, "sample_weight": weights[rows]}
        assert sx.score(z[rows], labels[rows], **options).loss == 0.0


@pytest.mark.parametrize("size", [1e-38, 1e-25, 1e19, 1e30])
@pytest.mark.parametrize("classes", [2, 70])
def test_probabilities_of_any_size_are_read_alike_in_any_layout(classes, size):
    z = np.zeros((2, classes), np.float32)
    z[:, 1] = -3000
    q = np.zeros((2, classes), np.float32)
    q[:, :2] = size, max(size * 1e-46, 1e-44)
    expected = sx.cross_entropy_value_and_grad(z, q, reduction="none")
    for same in (np.asfortranarray(q), q[::-1][::-1], q.astype(np.float64)):
        loss, grad = sx.cross_entropy_value_and_grad(z, same, reduction="none")
        assert_same_bits(loss, expected[0])
        assert_same_bits(grad, expected[1])


@every_float
@pytest.mark.parametrize("classes", [3, 70, 20000])
@pytest.mark.parametrize("form", ["labels", "probabilities"])
@pytest.mark.parametrize("size", [1e-6, 1e-8, 1e-12, 1e-15, 1e-17, 1e-20])
def test_small_class_weights_and_a_large_factor(dtype, classes, form, size):
    """Their product is near 1e30, within float32, but the factor is not."""
    z, labels, _ = problem(classes, dtype, rows=3)
    targets = labels if form == "labels" else np.full(z.shape, 1 / classes, dtype)
    options = {"label_smoothing": 0.1, "class_weight": np.full(classes, size)}
    factor = 1e30 / size
    _, by_weight = value_and_grad(
        z, targets, sample_weight=np.full(3, factor), reduction="sum", **options
    )
    _, by_normalizer = value_and_grad(z, targets, normalizer=1 / factor, **options)
    _, plain = value_and_grad(z, targets, label_smoothing=0.1, reduction="sum")
    for grad in (by_weight, by_normalizer):
        np.testing.assert_allclose(grad, plain * 1e30, rtol=1e-5, atol=1e22)


@every_float
def test_a_prior_that_is_small_where_it_is_not_masked_and_a_small_temperature(dtype):
    """In units of the temperature, the gradient is that of a prior of any other size."""
    kept = np.array([True, True, True, False])
    z = np.array([[0.0, 1.0, 2.0, 5.0]], dtype)
    prior = np.array([0.2e-10, 0.3e-10, 0.5e-10, 1 - 1e-10])
    options = {"label_smoothing": 0.5, "where": kept, "reduction": "sum"}
    cold = z * dtype(2.0**-99)
    _, grad = value_and_grad(cold, [1], prior=prior, temperature=2.0**-99, **options)
    _, expected = value_and_grad(z, [1], prior=[0.2, 0.3, 0.5, 0], **options)
    np.testing.assert_allclose(grad * dtype(2.0**-99), expected, rtol=1e-5)


@every_float
@pytest.mark.parametrize("classes", [4, 70, 20000])
@pytest.mark.parametrize("factor", [1e9, 1e14, 1e20])
def test_subnormal_class_weights_beside_an_ordinary_one_and_a_large_factor(dtype, classes, factor):
    """Only the last class has an ordinary weight, and no row has probability there."""
    z, _, _ = problem(classes, dtype, rows=3)
    few = [0.2, 0.3, 0.5]
    q = np.array([few + [0] * (classes - 3)] * 3, dtype)
    options = {"prior": q[0].astype(np.float64), "label_smoothing": 0.1, "reduction": "sum"}
    weights = np.full(classes, 1e-39)
    weights[-1] = 1
    _, grad = value_and_grad(
        z, q, class_weight=weights, sample_weight=np.full(3, factor), **options
    )
    _, plain = value_and_grad(z, q, sample_weight=np.full(3, factor * 1e-39), **options)
    np.testing.assert_allclose(grad, plain, rtol=1e-4, atol=abs(plain).max() * 1e-4)


@every_float
@pytest.mark.parametrize("classes", [4, 70, 20000])
def test_rows_whose_classes_have_no_weight_beside_others(dtype, classes):
    """With a small eps, 1/eps times the smallest normal number is beyond float64."""
    z, _, _ = problem(classes, dtype, rows=3)
    q = np.zeros((3, classes), dtype)
    q[0, 0] = q[2, -1] = 1
    weights = np.ones(classes)
    weights[:2] = 0
    prior = q.astype(np.float64)
    prior[1] = 1 / classes
    q[1] = 1 / classes
    options = {"prior": prior, "label_smoothing": 0.01, "class_weight": weights}
    loss, grad = value_and_grad(z, q, sample_weight=np.full(3, 1e9), reduction="none", **options)
    assert loss[0] == 0
    assert not grad[0].any()
    assert np.isfinite(grad).all()


@every_float
@pytest.mark.parametrize("classes", [3, 70, 20000])
def test_a_heavy_row_and_a_large_normalizer_leave_the_other_rows_alone(dtype, classes):
    z, labels, _ = problem(classes, dtype, rows=2)
    options = {"reduction": "sum_by_nonzero_weights", "normalizer": 1e20}
    _, both = value_and_grad(z, labels, sample_weight=[1, 1e300], **options)
    _, alone = value_and_grad(z[:1], labels[:1], sample_weight=[1], **options)
    assert_same_bits(both[:1], alone)
    assert alone.any()


@pytest.mark.parametrize("eps", [0.0, 0.1, 0.5])
def test_what_overflows_is_infinite(eps):
    z, q = np.array([[0.0, 1, 2]]), np.array([[1e307, 0, 0]])
    options = {"label_smoothing": eps, "reduction": "none"}
    assert sx.cross_entropy(z, q, class_weight=[50.0, 1, 1], **options) == np.inf
    loss, grad = value_and_grad(z, q[:, ::-1] / 1e7, sample_weight=[1e300], **options)
    assert loss == np.inf
    assert (grad == [[np.inf, np.inf, -np.inf]]).all()
    prior = [0.25, 0.25, 0.5] if eps else None
    loss, grad = value_and_grad(z, q + 1, class_weight=[50.0, 1, 1], prior=prior, **options)
    assert loss == np.inf
    assert (grad[:, 1:] == np.inf).all()
