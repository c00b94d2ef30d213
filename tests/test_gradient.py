"""The gradient is that of the returned value, for every combination of options.

Here it is checked against differences of the loss itself; test_values.py checks it against the
formula.
"""

import itertools

import numpy as np
import pytest

import reference
import smoothxent as sx
import ulp
from problems import FLOATS, one_hot, problem, random_prior, random_probabilities
from ulp import assert_same_bits, assert_within

every_float = pytest.mark.parametrize("dtype", FLOATS)

# A central difference with step h has errors of h^2/6 times the third derivative, below 1 here, and of
# the rounding of the losses, 2^-53 of a sum near 20, over h: 2e-11 and 2e-10 with this step.
STEP = 1e-5
DIFFERENCE = 1e-9

# "mean" divides once more than the gradient of the sum rounds: 2.9 was measured.
MEAN_GRADIENT = ulp.GRADIENT + 1

ROWS, CLASSES = 4, 5


def differences(loss, logits):
    """d loss / d logits by central differences."""
    slope = np.zeros_like(logits)
    for place in np.ndindex(logits.shape):
        up, down = logits.copy(), logits.copy()
        up[place] += STEP
        down[place] -= STEP
        slope[place] = (loss(up) - loss(down)) / (up[place] - down[place])
    return slope


def targets_of(kind, rng):
    labels = np.array([1, -100, 4, 0])
    if kind == "labels":
        return np.array([1, 3, 4, 0]), {}
    if kind == "labels, one ignored":
        return labels, {}
    if kind == "labels, another ignore_index":
        return np.array([1, 3, 4, 3]), {"ignore_index": 3}
    if kind == "labels, nothing ignored":
        return np.array([1, 3, 4, 0]), {"ignore_index": None}
    if kind == "one-hot":
        return one_hot([1, 3, 4, 0], CLASSES, np.float64), {}
    if kind == "probabilities":
        return random_probabilities(rng, ROWS, CLASSES, np.float64), {}
    if kind == "probabilities that do not sum to 1":
        return rng.uniform(0, 2, (ROWS, CLASSES)), {}
    raise AssertionError(kind)


TARGET_KINDS = (
    "labels",
    "labels, one ignored",
    "labels, another ignore_index",
    "labels, nothing ignored",
    "one-hot",
    "probabilities",
    "probabilities that do not sum to 1",
)


@pytest.mark.parametrize("kind", TARGET_KINDS)
@pytest.mark.parametrize("prior_kind", ["uniform", "one", "one of each row", "with zeros"])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_gradient_is_the_slope_of_the_loss(kind, prior_kind, label_smoothing, reduction):
    rng = np.random.default_rng(4)
    z = 2 * rng.standard_normal((ROWS, CLASSES))
    targets, options = targets_of(kind, rng)
    prior = {
        "uniform": None,
        "one": random_prior(rng, CLASSES),
        "one of each row": rng.dirichlet(np.ones(CLASSES), ROWS),
        "with zeros": np.array([0.5, 0, 0.25, 0.25, 0]),
    }[prior_kind]
    options |= {"prior": prior, "label_smoothing": label_smoothing, "reduction": reduction}
    for axis in (1, 0):
        turn = np.transpose if axis == 0 else np.asarray
        turned = dict(options, axis=axis)
        if prior is not None and prior.ndim == 2:
            turned["prior"] = turn(prior)
        q = turn(targets) if targets.ndim == 2 else targets
        _, grad = sx.cross_entropy_value_and_grad(turn(z), q, **turned)
        slope = differences(lambda x: np.sum(sx.cross_entropy(turn(x), q, **turned)), z)  # noqa: B023
        np.testing.assert_allclose(turn(grad), slope, rtol=0, atol=DIFFERENCE)


@every_float
class TestReductions:
    def test_gradient_of_none_is_that_of_the_sum(self, dtype):
        z, labels, u = problem(100, dtype)
        options = {"label_smoothing": 0.1, "prior": u}
        none = sx.cross_entropy_value_and_grad(z, labels, reduction="none", **options)[1]
        assert_same_bits(
            sx.cross_entropy_value_and_grad(z, labels, reduction="sum", **options)[1], none
        )

    @pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
    def test_gradient_of_the_mean_is_divided_by_the_rows_that_count(self, dtype, label_smoothing):
        z, labels, _ = problem(100, dtype)
        labels[[1, 3]] = -100
        _, grad = sx.cross_entropy_value_and_grad(z, labels, label_smoothing=label_smoothing)
        exact = reference.gradient(z, labels, label_smoothing) / 5
        scale = (
            np.maximum(reference.softmax(z), reference.smoothed(labels, 100, label_smoothing)) / 5
        )
        assert_within(MEAN_GRADIENT, grad, exact, at=scale)

    def test_value_is_that_of_cross_entropy(self, dtype):
        for classes, reduction in itertools.product(
            (2, 10, 33, 1000, 16385), ("none", "sum", "mean")
        ):
            z, labels, u = problem(classes, dtype)
            for options in ({}, {"label_smoothing": 0.1}, {"label_smoothing": 0.1, "prior": u}):
                value, _ = sx.cross_entropy_value_and_grad(
                    z, labels, reduction=reduction, **options
                )
                assert_same_bits(value, sx.cross_entropy(z, labels, reduction=reduction, **options))


@every_float
class TestSmallSlopes:
    """Gradients that would be lost in a difference of two numbers near 1."""

    @pytest.mark.parametrize("margin", [10, 20, 30, 40, 80])
    def test_confident_label(self, dtype, margin):
        """p_y - 1 = -(the sum of the other probabilities), to the last digits."""
        z = np.zeros((1, 50), dtype)
        z[0, 7] = margin
        _, grad = sx.cross_entropy_value_and_grad(z, [7], reduction="sum")
        assert_within(ulp.GRADIENT, grad, reference.gradient(z, [7]))
        assert grad[0, 7] < 0

    def test_at_the_smoothed_optimum_the_gradient_vanishes(self, dtype):
        """For logits log q' the gradient is 0 up to the rounding of the logits."""
        q = reference.smoothed([7], 50, 0.1)
        _, grad = sx.cross_entropy_value_and_grad(
            np.log(q).astype(dtype), [7], label_smoothing=0.1, reduction="sum"
        )
        assert (np.abs(grad) <= 4 * np.finfo(dtype).eps * q).all()

    def test_sure_and_right_gives_zero(self, dtype):
        z = np.array([[0, 1000, 0, -1000]], dtype)
        loss, grad = sx.cross_entropy_value_and_grad(z, [1], reduction="none")
        assert loss[0] == 0
        assert (grad == 0).all()

    def test_sure_and_wrong_gives_one(self, dtype):
        z = np.array([[0, 1000, 0, -1000]], dtype)
        loss, grad = sx.cross_entropy_value_and_grad(z, [0], reduction="none")
        assert loss[0] == 1000
        assert_same_bits(np.abs(grad), np.array([[1, 1, 0, 0]], dtype))


def test_mass_of_the_prior_is_used_as_given():
    """If U = sum(u) is not exactly 1, the gradient is ((1 - eps) + eps U) p - q'."""
    z, labels, u = problem(16, np.float64)
    u = u * (1 + 9e-7)
    options = {"label_smoothing": 0.5, "prior": u}
    loss, grad = sx.cross_entropy_value_and_grad(z, labels, reduction="none", **options)
    assert_within(ulp.LOSS, loss, reference.cross_entropy(z, labels, **options))
    scale = np.maximum(reference.softmax(z), reference.smoothed(labels, 16, **options))
    assert_within(ulp.GRADIENT, grad, reference.gradient(z, labels, **options), at=scale)
    assert np.all(np.abs(grad.sum(-1)) < 1e-14)
