"""The objectives of boosters as functions of arrays: values, bits, layouts, labels and errors.

tests/frameworks/test_boosters.py trains with them.
"""

import doctest
import inspect
import pickle
import subprocess
import sys

import numpy as np
import pytest

import smoothxent as sx
import ulp
from options_reference import Problem
from problems import FLOATS, MIDDLE_ROWS, SHORT_ROWS, problem
from smoothxent import objectives
from smoothxent.objectives import lightgbm_objective, xgboost_objective
from ulp import assert_same_bits, assert_within

BOTH = (lightgbm_objective, xgboost_objective)
every_objective = pytest.mark.parametrize("objective", BOTH)
every_float = pytest.mark.parametrize("dtype", FLOATS)

MASKED = "labels is a masked array with masked values; decide what they mean"
LEAST_HESSIAN_OF_XGBOOST = np.float32(1e-16)


def options(rng, classes):
    """Without options, smoothed, and with all of them."""
    return (
        {},
        {"label_smoothing": 0.1},
        {
            "label_smoothing": 0.3,
            "prior": rng.dirichlet(np.ones(classes)),
            "class_weight": rng.uniform(0.2, 3, classes).astype(np.float32),
        },
    )


def factor(objective, classes):
    return 2 if objective is xgboost_objective else np.longdouble(classes) / (classes - 1)


def assert_hessian(got, exact):
    """If s Q p(k) is below the normal numbers, p(k) counts as 0, whatever factor follows."""
    is_tiny = exact < 4 * np.finfo(got.dtype).smallest_normal
    assert (got[is_tiny] <= exact[is_tiny] * 1.1).all()
    assert_within(ulp.HESSIAN, np.where(is_tiny, 0, got), np.where(is_tiny, 0, exact))


class DataSet:
    """The data set of the native interfaces: a Dataset of LightGBM or a DMatrix of XGBoost."""

    def __init__(self, labels, weights=None):
        self.get_label = lambda: labels
        self.get_weight = lambda: weights


@every_objective
@every_float
@pytest.mark.parametrize("classes", [n for n in (*SHORT_ROWS, *MIDDLE_ROWS, 16384) if n > 1])
def test_gradient_and_hessian(objective, dtype, classes):
    rng = np.random.default_rng(classes)
    for scale in (1.0, 20.0):
        z, labels, _ = problem(classes, dtype, scale=scale, rows=7 if classes < 10000 else 2)
        weights = rng.uniform(0, 2, len(z)).astype(np.float32)
        for given in options(rng, classes):
            gradient, hessian = objective(**given)(labels.astype(np.float32), z, weights)
            _, expected = sx.cross_entropy_value_and_grad(
                z, labels, sample_weight=weights, reduction="sum", **given
            )
            assert_same_bits(gradient, expected)
            exact = (
                factor(objective, classes)
                * Problem(z, labels, sample_weight=weights, **given).hessian()
            )
            if objective is xgboost_objective:
                exact = np.maximum(exact, LEAST_HESSIAN_OF_XGBOOST)
            assert_hessian(hessian, exact)


@every_float
@pytest.mark.parametrize("classes", [10, 100])
@pytest.mark.parametrize("margin", [5, 17, 30, 60])
def test_hessian_of_confident_rows(dtype, classes, margin):
    """1 - p(k) keeps its digits where p(k) rounds to 1."""
    z = np.zeros((3, classes), dtype)
    z[:, 4] = margin
    _, hessian = lightgbm_objective()(np.array([4.0, 0.0, 4.0]), z)
    assert_within(
        ulp.HESSIAN, hessian, factor(lightgbm_objective, classes) * Problem(z, [4, 0, 4]).hessian()
    )
    assert hessian[0, 4] > 0


@every_objective
@every_float
@pytest.mark.parametrize("classes", [2, 10, 64, 65, 300])
def test_bits_do_not_depend_on_the_layout(objective, dtype, classes):
    z, labels, prior = problem(classes, dtype, rows=37)
    function = objective(label_smoothing=0.1, prior=prior)
    expected = function(labels, z)
    assert all(result.flags.c_contiguous for result in expected)
    for laid in (
        np.asfortranarray(z),
        np.repeat(z, 2, axis=1)[:, ::2],
        np.repeat(z, 2, axis=0)[::2],
    ):
        for result, bits in zip(function(labels, laid), expected):
            assert_same_bits(result, bits)
    assert all(result.flags.f_contiguous for result in function(labels, np.asfortranarray(z)))
    # Nor on the other rows.
    for result, bits in zip(function(labels[5:6], z[5:6]), expected):
        assert_same_bits(result, bits[5:6])


@every_objective
def test_both_interfaces(objective):
    z, labels, _ = problem(5, np.float32)
    weights = np.linspace(0, 2, len(z))
    function = objective(label_smoothing=0.1)
    for given in (weights, None):
        expected = function(labels, z, given)
        for result, bits in zip(function(z, DataSet(labels.astype(np.float32), given)), expected):
            assert_same_bits(result, bits)
    without = np.zeros(0, np.float32)  # XGBoost passes this for no weights
    for result, bits in zip(function(z, DataSet(labels, without)), expected):
        assert_same_bits(result, bits)
    # The names that the libraries look for.
    assert list(inspect.signature(function).parameters)[2:] == ["sample_weight"]


@every_objective
@every_float
def test_one_score_is_the_logit_of_the_second_class(objective, dtype):
    z = np.linspace(-30, 30, 41).astype(dtype)
    labels, weights = (np.arange(41) % 2).astype(np.float32), np.linspace(0, 1, 41)
    given = {"label_smoothing": 0.2, "prior": [0.7, 0.3], "class_weight": [1.0, 2.5]}
    gradient, hessian = objective(**given)(labels, z, weights)
    both = np.stack([np.zeros_like(z), z], axis=1)
    exact = Problem(both, labels.astype(int), sample_weight=weights, **given)
    assert_within(
        ulp.GRADIENT + 1, gradient, exact.gradient()[:, 1], at=exact.gradient_size()[:, 1]
    )
    least = LEAST_HESSIAN_OF_XGBOOST if objective is xgboost_objective else 0
    assert_within(ulp.HESSIAN, hessian, np.maximum(exact.hessian()[:, 1], least))
    assert gradient.shape == hessian.shape == z.shape


@pytest.mark.parametrize("classes", [3, 100])
def test_special_rows(classes):
    """The same as for the gradient: NaN only in its own row; a row of weight 0 is not read."""
    z, labels, _ = problem(classes, np.float32, rows=6)
    z[1, 0] = np.nan
    z[2, 1] = np.inf
    z[3] = np.nan
    z[4, 1] = -np.inf
    labels[4] = 0
    weights = np.array([1, 1, 1, 0, 1, 1.0])
    _, hessian = lightgbm_objective()(labels, z, weights)
    assert np.isnan(hessian[1:3]).all()
    assert (hessian[3] == 0).all()
    assert hessian[4, 1] == 0
    assert np.isfinite(hessian[[0, 4, 5]]).all()
    huge = np.array([[3e38, 0, -3e38], [3e38, 3e38, 0]], np.float32)
    _, hessian = lightgbm_objective()([0, 1], huge)
    np.testing.assert_array_equal(hessian, np.array([[0, 0, 0], [0.375, 0.375, 0]], np.float32))


@pytest.mark.parametrize("weight", [1e-30, 1e-14, 1e33])
@pytest.mark.parametrize("classes", [3, 100])
def test_weights_far_from_one(weight, classes):
    z, labels, _ = problem(classes, np.float32)
    weights = np.full(len(z), weight)
    _, hessian = lightgbm_objective()(labels, z, weights)
    exact = (
        factor(lightgbm_objective, classes) * Problem(z, labels, sample_weight=weights).hessian()
    )
    assert_within(ulp.HESSIAN, hessian, exact)


@pytest.mark.parametrize("classes", [3, 100])
def test_numbers_below_the_smallest_normal_one_are_zero(classes):
    """Also where the probability is in range, and only its product with the weight is not."""
    z = np.full((2, classes), -20, np.float32)
    z[:, 0] = 0
    for result in lightgbm_objective()(np.zeros(2), z, np.array([1e-20, 1e-30])):
        assert (abs(result[0, 1:]) > 1e-30).all()
        assert (result[1, 1:] == 0).all()


@every_objective
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "u4", "i8", "?"])
def test_labels_of_any_type(objective, dtype):
    z, _, _ = problem(2, np.float64)
    labels = (np.arange(len(z)) % 2).astype(dtype)
    for result, bits in zip(objective()(labels, z), objective()(labels.astype(np.int64), z)):
        assert_same_bits(result, bits)


@every_objective
@pytest.mark.parametrize(
    "wrong, shown",
    [(1.5, "1.5"), (-1.0, "-1.0"), (3.0, "3.0"), (np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf"), (3e9, "3000000000.0"), (2.0**70, "1.1805916207174113e+21")],
)  # fmt: skip
def test_labels_that_are_no_classes(objective, wrong, shown):
    labels = np.array([0, 1, wrong, 2, wrong], np.float32)
    with pytest.raises(sx.LabelError) as error:
        objective()(labels, np.zeros((5, 3)))
    assert str(error.value) == f"labels[2] is {shown}, expected a whole number from 0 to 2"
    assert error.value.index == (2,)
    assert error.value.value == (int(labels[2]) if float(labels[2]).is_integer() else None)


@every_objective
def test_the_first_wrong_label_of_many(objective):
    labels = np.zeros(600_000, np.float32)
    labels[[400_000, 590_000]] = 5
    with pytest.raises(sx.LabelError, match=r"^labels\[400000\] is 5\.0, expected"):
        objective()(labels, np.zeros((600_000, 2)))


@every_objective
@pytest.mark.parametrize(
    "wrong", [np.int8(-1), np.int64(2**53 + 1), np.uint64(2**64 - 1), np.float64(7)]
)
def test_a_wrong_label_is_named_as_it_was_given(objective, wrong):
    """Not as the nearest float64."""
    with pytest.raises(sx.LabelError) as error:
        objective()(np.array([0, wrong], wrong.dtype), np.zeros((2, 3)))
    assert str(error.value) == f"labels[1] is {wrong}, expected a whole number from 0 to 2"
    assert error.value.value == int(wrong)


@every_objective
def test_missing_labels_are_not_advised_to_be_class_0(objective):
    with pytest.raises(TypeError) as error:
        objective()(np.ma.array([0, 1], mask=[0, 1]), np.zeros((2, 3)))
    assert str(error.value) == MASKED


@every_objective
def test_arguments_that_are_refused(objective):
    z = np.zeros((4, 3), np.float32)
    labels = np.zeros(4)
    for given, kind, text in (
        ({"label_smoothing": 1.5}, ValueError, "label_smoothing must be in [0, 1], got 1.5"),
        ({"label_smoothing": "0.1"}, TypeError, "label_smoothing must be a real number, got str"),
        (
            {"prior": [0.5, 0.5]},
            TypeError,
            "prior is given without label_smoothing; pass how much goes to it, for example "
            "label_smoothing=0.1",
        ),
        (
            {"label_smoothing": 0.1, "prior": [0.5, 0.6]},
            ValueError,
            "prior sums to 1.1, expected 1 within 1.4142135623730952e-06 (it is used as given: divide counts by "
            "their sum, or count labels with class_prior)",
        ),
        (
            {"label_smoothing": 0.1, "prior": np.ones((4, 1))},
            ValueError,
            "prior must have one axis, that of the classes, got shape (4, 1)",
        ),
        (
            {"class_weight": 2.0},
            ValueError,
            "class_weight must have one axis, that of the classes, got shape ()",
        ),
        (
            {"class_weight": [1, -1]},
            ValueError,
            "class_weight[1] is -1.0, but weights must be finite and non-negative",
        ),
        (
            {"class_weight": [np.nan, 1]},
            ValueError,
            "class_weight[0] is nan, but weights must be finite and non-negative",
        ),
        (
            {"class_weight": [1, 1, np.inf]},
            ValueError,
            "class_weight[2] is inf, but weights must be finite and non-negative",
        ),
    ):
        with pytest.raises(kind) as error:
            objective(**given)
        assert str(error.value) == text
    for given, arguments, text in (
        ({"label_smoothing": 0.1, "prior": [0.5, 0.5]}, (labels, z), "prior must have shape (3,), got (2,)"),
        ({"class_weight": [1.0, 1.0]}, (labels, z), "class_weight must have shape (3,), got (2,)"),
        ({}, (labels[:3], z), "labels must have shape (4,), got (3,)"),
        ({}, (labels, z[:, :1]), "scores must have shape (N,) or (N, K) with at least 2 classes, got (4, 1)"),
        ({}, (labels, z[None]), "scores must have shape (N,) or (N, K) with at least 2 classes, got (1, 4, 3)"),
        ({}, ([0.0], np.zeros((1, 16385))), "scores has 16385 classes, expected at most 16384"),
    ):  # fmt: skip
        with pytest.raises(ValueError) as error:  # noqa: PT011
            objective(**given)(*arguments)
        assert str(error.value) == text
    with pytest.raises(ValueError, match=r"^sample_weight\[2\] is nan"):
        objective()(labels, z, [1, 1, np.nan, 1])


@every_objective
def test_options_are_kept(objective):
    """Even if the given arrays change later, and in another process."""
    z, labels, prior = problem(4, np.float64)
    function = objective(label_smoothing=0.1, prior=prior, class_weight=[1, 2, 3, 4])
    expected = function(labels, z)
    prior[:] = 0
    for same in (function, pickle.loads(pickle.dumps(function))):
        for result, bits in zip(same(labels, z), expected):
            assert_same_bits(result, bits)


def test_no_booster_is_imported():
    script = "import sys, smoothxent.objectives; print(*sorted({'lightgbm', 'xgboost'} & set(sys.modules)))"
    process = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == ""


@pytest.mark.parametrize("name", objectives.__all__)
def test_docstring_examples(name):
    (found,) = doctest.DocTestFinder(recurse=False).find(getattr(objectives, name), name, globs={})
    assert found.examples
    report = []
    results = doctest.DocTestRunner().run(found, out=report.append)
    assert results.failed == 0, "".join(report)
