"""Weights, temperature, z_loss, reductions and normalizer: against the oracle, and what they mean."""

import itertools

import numpy as np
import pytest

import smoothxent as sx
import ulp
from cases import for_each
from options_reference import Problem, effective
from problems import FLOATS, one_hot, problem, random_probabilities
from reference import Real, log_softmax, logsumexp, softmax
from test_gradient import DIFFERENCE, differences
from ulp import assert_same_bits, assert_within

every_float = pytest.mark.parametrize("dtype", FLOATS)
INF, NAN = np.inf, np.nan
REDUCTIONS = ("none", "sum", "mean", "sum_by_nonzero_weights")

# The gradient is multiplied by s / T, which is rounded separately in float64, and with a z_loss it is a
# difference of three terms; otherwise it is within the promised ulp.
GRADIENT = ulp.GRADIENT + 1
# The sum of the rows is exact except for the rounding of each row, and is divided once.
SCALAR = ulp.LOSS_OF_ANY


def draw(rng, rows, classes):
    """One arbitrary value of each option."""
    where = rng.random((rows, classes)) < 0.7
    where[:, 0] = True
    where[rows // 2] = False  # a row without a class
    sample_weight = rng.uniform(0, 3, rows)
    sample_weight[1 % rows] = 0
    return {
        "class_weight": rng.uniform(0.1, 4, classes),
        "sample_weight": sample_weight,
        "where": where,
        "temperature": 2.7,
        "z_loss": 0.01,
    }


def targets_of(form, z, labels, rng):
    if form == "labels":
        return labels
    if form == "one-hot":
        return one_hot(labels, z.shape[1], z.dtype)
    return random_probabilities(rng, *z.shape, z.dtype)


def check(z, targets, **options):
    exact = Problem(z, targets, **options)
    loss, grad = sx.cross_entropy_value_and_grad(z, targets, reduction="none", **options)
    assert_within(ulp.LOSS_OF_ANY, loss, exact.losses())
    assert_within(GRADIENT, grad, exact.gradient(), at=exact.gradient_size())
    assert (grad[~exact.kept] == 0).all()
    assert_same_bits(sx.cross_entropy(z, targets, reduction="none", **options), loss)


@every_float
@pytest.mark.parametrize("classes", [1, 2, 3, 17, 65, 300, 2049])
@for_each("form", ["labels", "one-hot", "probabilities"])
@for_each("name", ["class_weight", "sample_weight", "where", "temperature", "z_loss"])
def test_each_option(dtype, classes, form, name):
    rng = np.random.default_rng([classes, 5])
    z, labels, u = problem(classes, dtype, rows=7)
    option = {name: draw(rng, *z.shape)[name]}
    targets = targets_of(form, z, labels, rng)
    for label_smoothing, prior in ((0.0, None), (0.1, None), (0.1, u), (1.0, u)):
        check(z, targets, label_smoothing=label_smoothing, prior=prior, **option)


@every_float
@pytest.mark.parametrize("form", ["labels", "one-hot", "probabilities"])
def test_every_combination(dtype, form):
    rng = np.random.default_rng(6)
    z, labels, u = problem(9, dtype, rows=8)
    labels[4] = -100
    targets = targets_of(form, z, np.where(labels < 0, 0, labels), rng)
    targets = labels if form == "labels" else targets
    rows_of_u = rng.dirichlet(np.ones(9), 8)
    drawn = draw(rng, 8, 9)
    for chosen in itertools.product((False, True), repeat=5):
        options = {name: drawn[name] for name, use in zip(drawn, chosen) if use}
        for label_smoothing, prior in ((0.0, None), (0.3, None), (0.3, u), (0.3, rows_of_u)):
            check(z, targets, label_smoothing=label_smoothing, prior=prior, **options)


@every_float
@pytest.mark.parametrize(
    "reduction, normalizer",
    [
        ("sum", None),
        ("mean", None),
        ("mean", 12.5),
        ("sum_by_nonzero_weights", None),
        ("sum_by_nonzero_weights", 12.5),
    ],
)
@pytest.mark.parametrize("form", ["labels", "probabilities"])
def test_reductions(dtype, reduction, normalizer, form):
    """The sum over its divisor, for loss and gradient alike; `normalizer` replaces any divisor."""
    rng = np.random.default_rng(7)
    z, labels, _ = problem(9, dtype, rows=8)
    labels[4] = -100
    targets = labels if form == "labels" else targets_of(form, z, labels, rng)
    for where in (None, draw(rng, 8, 9)["where"]):
        options = draw(rng, 8, 9) | {"where": where, "label_smoothing": 0.1}
        exact = Problem(z, targets, **options)
        divisor = exact.divisor(reduction) if normalizer is None else normalizer
        value, grad = sx.cross_entropy_value_and_grad(
            z, targets, reduction=reduction, normalizer=normalizer, **options
        )
        assert isinstance(value, float)
        assert_within(SCALAR, dtype(value), exact.losses().sum() / divisor)
        size = exact.gradient_size() / divisor
        assert_within(GRADIENT + 1, grad, exact.gradient() / divisor, at=size)


@every_float
@pytest.mark.parametrize("classes", [1, 2, 16, 33, 1000])
@for_each("temperature", [1e-30, 1e-3, 0.1, 0.9999, 1.5, 64.0, 1e4, 1e30])
def test_temperature_of_the_activations(dtype, classes, temperature):
    for scale in (3.0, 1e3, 1e12):
        z = problem(classes, dtype, scale=scale).logits
        exact, level = effective(z, None, temperature)
        p = softmax(exact)
        seen = p > 1e-30  # for smaller p the oracle has no more digits
        got = sx.softmax(z, temperature=temperature)
        assert_within(ulp.SOFTMAX, got[seen], p[seen])
        got = sx.log_softmax(z, temperature=temperature)
        assert_within(ulp.LOG_SOFTMAX, got[seen], log_softmax(exact)[seen])
        got = sx.logsumexp(z, temperature=temperature)
        excess = logsumexp(exact)
        assert_within(ulp.LOGSUMEXP, got, level + excess, at=np.maximum(np.abs(level), excess))


@every_float
def test_temperature_one_is_bit_for_bit_none(dtype):
    z, labels, u = problem(33, dtype)
    assert_same_bits(sx.softmax(z, temperature=1), sx.softmax(z))
    one = sx.cross_entropy(z, labels, prior=u, label_smoothing=0.1, temperature=1.0, z_loss=0.0)
    assert one == sx.cross_entropy(z, labels, prior=u, label_smoothing=0.1)


@every_float
@pytest.mark.parametrize("power", [0.25, 2.0, 8.0])
def test_temperature_divides_the_logits(dtype, power):
    """A power of two divides exactly: the loss is that of z / T, the gradient that over T."""
    z, labels, u = problem(65, dtype)
    options = {"prior": u, "label_smoothing": 0.1, "reduction": "none"}
    loss, grad = sx.cross_entropy_value_and_grad(z, labels, temperature=power, **options)
    scaled = z / dtype(power)
    exact = Problem(scaled, labels, prior=u, label_smoothing=0.1)
    assert_within(ulp.LOSS_OF_ANY, loss, exact.losses())
    assert_within(GRADIENT, grad, exact.gradient() / power, at=exact.gradient_size() / power)


class TestClassWeight:
    """PyTorch's meaning: (1 - eps) w_y (-log p_y) + eps sum_k w_k u_k (-log p_k), over sum w_y."""

    @every_float
    def test_formula(self, dtype):
        z, labels, u = problem(10, dtype)
        w = np.linspace(0.1, 2, 10)
        log_p = log_softmax(z)
        for label_smoothing in (0.0, 0.1, 1.0):
            hard = -(w * log_p)[np.arange(7), labels]
            soft = -(w * u * log_p).sum(-1)
            expected = (1 - label_smoothing) * hard + label_smoothing * soft
            options = {"class_weight": w, "prior": u, "label_smoothing": label_smoothing}
            got = sx.cross_entropy(z, labels, reduction="none", **options)
            assert_within(ulp.LOSS_OF_ANY, got, expected)
            mean = sx.cross_entropy(z, labels, **options)
            assert mean == pytest.approx(
                float(expected.sum() / w[labels].sum()), rel=float(4 * np.finfo(dtype).eps)
            )

    @every_float
    def test_ones_change_no_value(self, dtype):
        z, labels, _ = problem(33, dtype)
        for options in ({"class_weight": np.ones(33)}, {"sample_weight": 1.0}):
            for a, b in zip(
                sx.cross_entropy_value_and_grad(z, labels, reduction="none", **options),
                sx.cross_entropy_value_and_grad(z, labels, reduction="none"),
                strict=True,
            ):
                assert_same_bits(a, b)

    @every_float
    def test_weight_zero_and_a_label_of_minus_infinity(self, dtype):
        """0 log 0 = 0: a class without weight costs nothing."""
        z = np.array([[1.0, -INF, 2.0]], dtype)
        loss, grad = sx.cross_entropy_value_and_grad(z, [1], class_weight=[1.0, 0.0, 1.0])
        assert np.isnan(loss)  # the divisor is 0
        assert (grad == 0).all()
        assert sx.cross_entropy(z, [1], class_weight=[1.0, 0.0, 1.0], reduction="sum") == 0


class TestSampleWeight:
    @every_float
    def test_scales_a_row(self, dtype):
        z, labels, u = problem(17, dtype)
        options = {"prior": u, "label_smoothing": 0.1, "reduction": "none"}
        loss, grad = sx.cross_entropy_value_and_grad(z, labels, **options)
        twice = sx.cross_entropy_value_and_grad(z, labels, sample_weight=2.0, **options)
        assert_same_bits(twice[0], 2 * loss)
        assert_same_bits(twice[1], 2 * grad)

    def test_broadcasts_to_the_rows(self):
        z = np.random.default_rng(1).standard_normal((2, 3, 4))
        y = np.zeros((2, 3), int)
        by_row = sx.cross_entropy(z, y, sample_weight=[[1.0], [2.0]], reduction="none")
        full = np.broadcast_to([[1.0], [2.0]], (2, 3))
        assert_same_bits(by_row, sx.cross_entropy(z, y, sample_weight=full, reduction="none"))
        moved = sx.cross_entropy(
            np.moveaxis(z, -1, 0), y, axis=0, sample_weight=full, reduction="none"
        )
        assert_same_bits(moved, by_row)


@every_float
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_no_classes_left_in_any_row(dtype, label_smoothing):
    """As if all rows were ignored: "mean" nan, the other sums 0, and so is any with `normalizer`."""
    z = np.full((2, 3), NAN, dtype)
    for extra, expected in (
        ({"reduction": "mean"}, NAN),
        ({"reduction": "sum"}, 0.0),
        ({"reduction": "sum_by_nonzero_weights"}, 0.0),
        ({"reduction": "mean", "normalizer": 3.0}, 0.0),
        ({"reduction": "sum_by_nonzero_weights", "normalizer": 3.0}, 0.0),
    ):
        value, grad = sx.cross_entropy_value_and_grad(
            z, [0, 1], label_smoothing=label_smoothing, where=False, **extra
        )
        assert value == expected or np.isnan([value, expected]).all()
        assert (grad == 0).all()
    assert (sx.cross_entropy(z, [0, 1], reduction="none", where=False) == 0).all()


@every_float
@pytest.mark.parametrize("classes", [2, 33, 300, 1000])
def test_one_hot_is_the_label_bit_for_bit(dtype, classes):
    rng = np.random.default_rng(8)
    z, labels, u = problem(classes, dtype)
    options = draw(rng, *z.shape) | {"label_smoothing": 0.1, "prior": u}
    for reduction in REDUCTIONS:
        one = sx.cross_entropy_value_and_grad(z, labels, reduction=reduction, **options)
        other = sx.cross_entropy_value_and_grad(
            z, one_hot(labels, classes, dtype), reduction=reduction, **options
        )
        for a, b in zip(one, other, strict=True):
            assert_same_bits(a, b)


@every_float
def test_batch_slicing_changes_no_bit(dtype):
    rng = np.random.default_rng(9)
    z, labels, u = problem(65, dtype, rows=9)
    options = draw(rng, *z.shape)
    per_row = ("sample_weight", "where")
    fixed = {"label_smoothing": 0.1, "prior": u, "reduction": "none"}
    loss, grad = sx.cross_entropy_value_and_grad(z, labels, **options, **fixed)
    for part in (slice(0, 1), slice(3, 7), slice(None, None, -2)):
        own = {name: v[part] if name in per_row else v for name, v in options.items()}
        got = sx.cross_entropy_value_and_grad(z[part], labels[part], **own, **fixed)
        assert_same_bits(got[0], loss[part])
        assert_same_bits(got[1], grad[part])


def test_normalizer_over_micro_batches():
    """Two halves with one count of tokens add up to the whole."""
    z, labels, _ = problem(10, np.float64, rows=8)
    labels[5] = -100
    whole, grad = sx.cross_entropy_value_and_grad(z, labels)
    halves = [
        sx.cross_entropy_value_and_grad(z[part], labels[part], normalizer=7)
        for part in (slice(4), slice(4, None))
    ]
    assert sum(value for value, _ in halves) == pytest.approx(whole, rel=1e-15)
    assert_same_bits(np.concatenate([g for _, g in halves]), grad)


@every_float
@pytest.mark.parametrize("level", [0.0, 1e4, -1e4])
def test_z_loss_at_any_level(dtype, level):
    """lse^2 of large and of negative lse, where the gradient of z_loss is negative."""
    z, labels, _ = problem(17, dtype)
    z = (z + level).astype(dtype)
    check(z, labels, z_loss=0.25)
    check(z[:, :1], np.zeros(7, int), z_loss=0.25)


@every_float
@pytest.mark.parametrize("temperature", [1.0, 2.7])
def test_z_loss_where_the_logsumexp_is_near_0(dtype, temperature):
    """Its term has the error of lse, which is at most that of `ulp.LOGSUMEXP_OF_ANY`."""
    z, labels, _ = problem(1000, dtype)
    lse = sx.logsumexp(z, temperature=temperature).astype(np.float64) * temperature
    z = (z - lse[:, None] + 1e-3).astype(dtype)
    options = {"temperature": temperature, "z_loss": 1e4}
    exact = Problem(z, labels, **options)
    loss, grad = sx.cross_entropy_value_and_grad(z, labels, reduction="none", **options)
    level = z.max(-1).astype(Real) / Real(temperature)
    size = np.maximum(np.abs(level), exact.lse - level)
    gap = ulp.LOGSUMEXP_OF_ANY * ulp.ulp(size, dtype)
    of_term = 1e4 * (2 * np.abs(exact.lse) + gap) * gap
    of_rest = ulp.LOSS_OF_ANY * ulp.ulp(exact.losses(), dtype)
    assert (np.abs(loss - exact.losses()) <= of_term + of_rest).all()
    of_term = (2e4 * gap / temperature)[:, None] * exact.p
    of_rest = GRADIENT * ulp.ulp(exact.gradient_size(), dtype)
    assert (np.abs(grad - exact.gradient()) <= of_term + of_rest).all()


@pytest.mark.parametrize("form", ["labels", "probabilities"])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_gradient_is_the_slope_of_the_loss(form, label_smoothing, reduction):
    """With each option alone and with all of them; the label of each row is kept."""
    rng = np.random.default_rng(10)
    z = 2 * rng.standard_normal((4, 5))
    where = rng.random((4, 5)) < 0.7
    labels = np.array([1, 3, -100, 0])
    where[np.arange(4), np.maximum(labels, 0)] = True
    q = rng.uniform(0, 1, (4, 5)) * where
    drawn = draw(rng, 4, 5) | {"where": where}
    for chosen in (*([name] for name in drawn), drawn):
        options = {name: drawn[name] for name in chosen} | {"label_smoothing": label_smoothing}
        options |= {"reduction": reduction, "prior": rng.dirichlet(np.ones(5))}
        targets = labels if form == "labels" else q
        _, grad = sx.cross_entropy_value_and_grad(z, targets, **options)
        slope = differences(lambda x: np.sum(sx.cross_entropy(x, targets, **options)), z)  # noqa: B023
        np.testing.assert_allclose(grad, slope, rtol=0, atol=10 * DIFFERENCE)


@pytest.mark.parametrize("power", [-900, -960, -1000])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_weight_near_the_smallest_number(power, label_smoothing):
    """A power of two, and results that are normal numbers: the bits of the gradient, scaled."""
    z, labels, _ = problem(5, np.float64, scale=1.0)
    options = {"label_smoothing": label_smoothing, "reduction": "none"}
    _, grad = sx.cross_entropy_value_and_grad(z, labels, **options)
    _, scaled = sx.cross_entropy_value_and_grad(z, labels, sample_weight=2.0**power, **options)
    assert_same_bits(scaled, grad * 2.0**power)
