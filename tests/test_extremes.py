"""Logits up to the largest numbers and offsets 1e4 to 1e30: finite and accurate, never an overflow.

The exact result may itself be too large for its dtype; then it is the infinity that rounding gives.
"""

import numpy as np
import pytest

import reference
import smoothxent as sx
import ulp
from options_reference import Problem
from problems import FLOATS, problem
from ulp import assert_same_bits, assert_within

every_float = pytest.mark.parametrize("dtype", FLOATS)


def check(z, labels, *, label_smoothing=0.0):
    loss, grad = sx.cross_entropy_value_and_grad(
        z, labels, label_smoothing=label_smoothing, reduction="none"
    )
    assert_within(ulp.LOSS, loss, reference.cross_entropy(z, labels, label_smoothing))
    p = reference.softmax(z)
    scale = np.maximum(p, reference.smoothed(labels, z.shape[-1], label_smoothing))
    assert_within(ulp.GRADIENT, grad, reference.gradient(z, labels, label_smoothing), at=scale)
    assert_within(ulp.SOFTMAX, sx.softmax(z), p)
    assert_within(ulp.LOG_SOFTMAX, sx.log_softmax(z), reference.log_softmax(z))
    assert_within(ulp.LOGSUMEXP, sx.logsumexp(z), reference.logsumexp(z), at=np.abs(z).max(-1))


@every_float
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("offset", [1e4, -1e4, 1e6, -1e6, 1e7, 1e15, -1e15, 1e30, -1e30])
@pytest.mark.parametrize("classes", [3, 33, 1000, 16385])
def test_offsets(dtype, label_smoothing, offset, classes):
    """The differences that remain after the logits were rounded are computed accurately."""
    z, labels, _ = problem(classes, dtype)
    check((z + dtype(offset)).astype(dtype), labels, label_smoothing=label_smoothing)


@every_float
@pytest.mark.parametrize("classes", [3, 17, 33, 1000])
def test_wide_spreads(dtype, classes):
    for scale in (100, 1e3, 1e6, 1e9, 1e20, 1e35):
        z = problem(classes, dtype, scale=scale).logits
        for label_smoothing in (0.0, 0.1):
            check(z, problem(classes).labels, label_smoothing=label_smoothing)


@pytest.mark.parametrize("classes", [64, 65, 20000])
def test_quotients_by_the_temperature_beyond_the_range(classes):
    """M/T overflows; results that are 0 or relative to M do not."""
    z = np.zeros((1, classes))
    z[:, 0] = 1e300
    log_p = sx.log_softmax(z, temperature=1e-30)
    assert log_p[0, 0] == 0
    assert (log_p[0, 1:] == -np.inf).all()
    assert sx.logsumexp(z, temperature=1e-30) == np.inf
    for label, loss in ((0, 0), (1, np.inf)):
        got, grad = sx.cross_entropy_value_and_grad(z, [label], temperature=1e-30)
        assert got == loss
        expected = np.zeros(classes)
        if label == 1:
            expected[:2] = 1e30, -1e30
        assert_within(2, grad[0], expected.astype(np.longdouble))


@every_float
@pytest.mark.parametrize("power", [-90, 90])
@pytest.mark.parametrize("classes", [3, 65, 20000])
def test_losses_of_temperatures_far_from_one(dtype, power, classes):
    """A power of two, by which the logits are multiplied, too."""
    z, labels, _ = problem(classes, dtype)
    scaled = {"temperature": 2.0**power, "reduction": "none"}
    loss, grad = sx.cross_entropy_value_and_grad(np.ldexp(z, power), labels, **scaled)
    assert_within(ulp.LOSS, loss, reference.cross_entropy(z, labels))
    p, smoothed = reference.softmax(z), reference.smoothed(labels, classes)
    exact = np.ldexp(p - smoothed, -power)
    assert_within(ulp.GRADIENT, grad, exact, at=np.ldexp(np.maximum(p, smoothed), -power))


@pytest.mark.parametrize("first", [0, 16000, 19000])
def test_maximum_behind_another_quotient_beyond_the_range(first):
    """The logits are scaled before they are compared, and 1e25 overflows, too."""
    z = np.zeros((1, 20000), np.float32)
    z[0, first], z[0, -2:] = 1e25, 1e30
    log_p = sx.log_softmax(z, temperature=1e-20)
    assert_within(ulp.LOG_SOFTMAX, log_p[0, -2:], -np.log(np.full(2, 2, np.longdouble)))
    assert (log_p[0, :-2] == -np.inf).all()
    assert sx.cross_entropy(z, [19999], temperature=1e-20) == pytest.approx(np.log(2))


@pytest.mark.parametrize("classes", [3, 65, 20000])
def test_differences_beyond_the_range_that_the_temperature_brings_back(classes):
    z = np.zeros((1, classes))
    z[:, :2] = np.finfo(float).max, -np.finfo(float).max
    log_p = sx.log_softmax(z, temperature=4.0)
    assert_same_bits(log_p, z / 4 - z.max() / 4)
    assert_same_bits(sx.log_softmax_at(z, [[1]], temperature=4.0), log_p[:, 1:2])


@pytest.mark.parametrize("classes", [3, 65, 20000])
def test_z_loss_of_the_largest_logits(classes):
    """2 z_loss lse p is infinite where it overflows and 0 where p is 0: never nan."""
    z = np.zeros((1, classes))
    z[:, 0] = 1e305
    for z_loss, first in ((1e3, np.inf), (1e-4, 2e301)):
        for target in ([1], np.eye(1, classes, 1)):
            _, grad = sx.cross_entropy_value_and_grad(z, target, z_loss=z_loss, reduction="none")
            assert_within(2, grad[0, :1], np.array([first], np.longdouble))
            assert grad[0, 1] == -1
            assert (grad[0, 2:] == 0).all()
            _, grad = sx.cross_entropy_value_and_grad(
                z, target, z_loss=z_loss, label_smoothing=0.5, reduction="none"
            )
            smoothed = reference.smoothed(np.array([1]), classes, 0.5)
            assert_within(ulp.GRADIENT, grad[0, 1:], -smoothed[0, 1:])


@pytest.mark.parametrize("classes", [3, 65, 20000])
@pytest.mark.parametrize("sign", [1, -1])
def test_z_loss_where_lse_overflows(classes, sign):
    """The gradient is infinite at the maximum, and has no nan where p is 0."""
    z = np.full((1, classes), 0.0 if sign > 0 else -2e300)
    z[:, 0] = sign * 1e300
    for target in ([1], np.eye(1, classes, 1)):
        loss, grad = sx.cross_entropy_value_and_grad(z, target, z_loss=1.0, temperature=1e-30)
        assert loss == np.inf
        assert grad[0, 0] == sign * np.inf
        assert_within(2, grad[0, 1:2], np.array([-1e30], np.longdouble))
        assert (grad[0, 2:] == 0).all()


@pytest.mark.parametrize("classes", [3, 65, 20000])
def test_z_loss_that_overflows_until_it_is_weighted(classes):
    z = np.zeros((1, classes))
    z[:, :2] = 1.5e308, -1.5e308
    options = {"z_loss": 1e-300, "sample_weight": [1e-10], "reduction": "none"}
    loss = sx.cross_entropy(z, [1], **options)
    exact = np.longdouble(1.5e308) * 1e-10 * (2 + np.longdouble(1e-300) * 1.5e308)
    assert_within(ulp.LOSS, loss, np.array([exact]))


@pytest.mark.parametrize("classes", [3, 65, 20000])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_gradient_of_z_loss_that_overflows_everywhere(classes, label_smoothing):
    """It is infinite at the label too, and never nan."""
    z = np.full((1, classes), 1e5)
    options = {"z_loss": 1.7e308, "sample_weight": [1e258], "reduction": "none"}
    _, grad = sx.cross_entropy_value_and_grad(z, [0], label_smoothing=label_smoothing, **options)
    assert (grad == np.inf).all()


@pytest.mark.parametrize("classes", [3, 65, 20000])
def test_z_loss_that_overflows_until_it_is_divided(classes):
    """2 z_loss lse overflows; its quotient by the sum of the targets, the divisor of the mean, does not."""
    z, q = np.full((1, classes), -1.7e308), np.zeros((1, classes))
    q[0, :2] = 1e299, 1e300
    mass = q.sum(dtype=np.longdouble)
    for label_smoothing in (0.0, 0.1):
        _, grad = sx.cross_entropy_value_and_grad(z, q, z_loss=1.0, label_smoothing=label_smoothing)
        share = (1 - np.longdouble(label_smoothing)) * q / mass
        exact = (share.sum() - 2 * np.longdouble(1.7e308) / mass) / classes - share
        assert_within(ulp.GRADIENT, grad, exact)


@every_float
def test_largest_numbers(dtype):
    big = np.finfo(dtype).max
    z = np.array(
        [[big, big, 0], [big, 0, 0], [0, -big, -big], [-big, -big, -big], [1, -big, 2]], dtype
    )
    for label in (0, 2):
        check(z, np.full(5, label))


def test_difference_of_the_largest_numbers():
    """M - z_k = 2 FLT_MAX overflows in float32, but the tenth of it in the smoothed loss does not."""
    big = np.finfo(np.float32).max
    z = np.array([[big, -big], [big, -big]], np.float32)
    for label_smoothing in (0.0, 0.1):
        check(z, np.array([0, 0]), label_smoothing=label_smoothing)
    loss, grad = sx.cross_entropy_value_and_grad(z, [0, 1], reduction="none")
    assert loss[0] == 0
    assert loss[1] == np.inf  # the exact loss, 6.8e38, rounds to it
    assert np.isfinite(grad).all()


@every_float
def test_denormal_logits_are_numbers_near_zero(dtype):
    tiny = np.finfo(dtype).smallest_subnormal
    check(np.array([[tiny, -tiny, 0, 3 * tiny]], dtype), np.array([1]))


@every_float
@pytest.mark.parametrize("classes", [2, 16, 33, 1000, 2049])
def test_ties_for_the_maximum(dtype, classes):
    """L = log c + log1p(S_o / c) for c classes at the maximum."""
    z = problem(classes, dtype).logits.copy()
    for row, count in enumerate((1, 2, 2, classes // 2, classes - 1, classes, classes)):
        z[row, :count] = 12.5 + row
        if row % 2:
            z[row, count:] -= 60
    for label in (0, classes - 1):
        check(z, np.full(7, label))
        check(z, np.full(7, label), label_smoothing=0.1)


@every_float
@pytest.mark.parametrize("classes", [3, 100, 20000])
def test_large_z_loss_of_tiny_weights(dtype, classes):
    """The factor of the label's exponential, which holds a power of two, would overflow."""
    z = np.zeros((2, classes), dtype)
    z[0, 0] = 1
    options = {"z_loss": 1e300, "sample_weight": [1e-300, 1e-300]}
    _, grad = sx.cross_entropy_value_and_grad(z, [0, 1], reduction="none", **options)
    exact = Problem(z, np.array([0, 1]), **options)
    assert_within(8, grad, exact.gradient(), at=exact.gradient_size())
