"""The rows of the table of edge cases that end in an error, and the targets that do not.

As in test_special_values.py, with logits of every type and every form of target, for the loss alone
and with its gradient. The texts of all errors are in error_texts.txt.
"""

import re

import numpy as np
import pytest

import reference
import smoothxent as sx
import ulp
from problems import FLOATS, STORED, problem
from test_special_values import checked, every_dtype, every_target, target
from ulp import assert_within

INF, NAN = np.inf, np.nan
CLASSES = 10
BAD_SMOOTHING = "label_smoothing must be in [0, 1], got"
BAD_PRIOR = "but a prior must be finite and non-negative"
BAD_WEIGHT = "but weights must be finite and non-negative"
BAD_TEMPERATURE = "temperature must be a positive finite number, got"
BAD_PROBABILITY = "but probabilities must be finite and non-negative"


def but(array, place, value):
    array = array.copy()
    array[place] = value
    return array


EVEN, ONES = np.full(CLASSES, 0.1), np.ones(CLASSES)

# (options, the whole message)
BAD_ARGUMENTS = [
    ({"label_smoothing": -0.1}, f"{BAD_SMOOTHING} -0.1"),
    ({"label_smoothing": 1.5}, f"{BAD_SMOOTHING} 1.5"),
    ({"label_smoothing": NAN}, f"{BAD_SMOOTHING} nan"),
    ({"label_smoothing": 0.1, "prior": but(EVEN, 3, -0.1)}, f"prior[3] is -0.1, {BAD_PRIOR}"),
    ({"label_smoothing": 0.1, "prior": but(EVEN, 9, NAN)}, f"prior[9] is nan, {BAD_PRIOR}"),
    ({"class_weight": but(ONES, 3, -0.25)}, f"class_weight[3] is -0.25, {BAD_WEIGHT}"),
    ({"class_weight": but(ONES, 0, INF)}, f"class_weight[0] is inf, {BAD_WEIGHT}"),
    ({"sample_weight": but(ONES[:7], 5, -1)}, f"sample_weight[5] is -1.0, {BAD_WEIGHT}"),
    ({"sample_weight": NAN}, f"sample_weight is nan, {BAD_WEIGHT}"),
    ({"temperature": 0}, f"{BAD_TEMPERATURE} 0.0"),
    ({"temperature": -1.5}, f"{BAD_TEMPERATURE} -1.5"),
    ({"temperature": NAN}, f"{BAD_TEMPERATURE} nan"),
]


def assert_refused(z, targets, error, message, **options):
    """Check that the loss, with and without the gradient, raises this and writes no output."""
    out, grad_out = np.full(z.shape[:-1], 7, np.float32), np.full(z.shape, 7, z.dtype)
    options |= {"reduction": "none", "out": out}
    message = f"^{re.escape(message)}$"
    with pytest.raises(error, match=message):
        sx.cross_entropy(z, targets, **options)
    with pytest.raises(error, match=message):
        sx.cross_entropy_value_and_grad(z, targets, grad_out=grad_out, **options)
    assert (out == 7).all()
    assert (grad_out == 7).all()


@every_dtype
@every_target
@pytest.mark.parametrize("options, message", BAD_ARGUMENTS)
def test_bad_arguments(dtype, form, options, message):
    """eps outside [0, 1] or nan; bad prior/weight/temperature: ValueError naming argument, value
    (and index)
    """
    z, labels, _ = problem(CLASSES, dtype)
    assert_refused(z, target(form, labels, CLASSES, dtype), ValueError, message, **options)


@every_dtype
@every_target
def test_prior_that_does_not_sum_to_one(dtype, form):
    z, labels, _ = problem(CLASSES, dtype)
    message = (
        "prior sums to 0.9, expected 1 within 3.162277660168379e-06 (it is used as given: "
        "divide counts by their sum, or count labels with class_prior)"
    )
    targets = target(form, labels, CLASSES, dtype)
    assert_refused(z, targets, ValueError, message, label_smoothing=0.1, prior=but(EVEN, 2, 0.0))


@every_dtype
@pytest.mark.parametrize("label", [-1, -99, CLASSES, 1003, 2**40])
@pytest.mark.parametrize("ignore_index", [-100, None])
def test_label_outside(dtype, label, ignore_index):
    """label outside [0, K) and not ignore_index: LabelError(ValueError, IndexError), always the
    lowest bad row; no negative wrap-around
    """
    z, labels, _ = problem(CLASSES, dtype)
    labels[[2, 5]] = label, CLASSES + 7
    message = f"targets[2] is {label}, but there are 10 classes (ignore_index is {ignore_index})"
    for error in (sx.LabelError, ValueError, IndexError):
        assert_refused(z, labels, error, message, ignore_index=ignore_index)


@pytest.mark.parametrize("first", [70_000, 4_500_000])
def test_the_first_bad_label_of_millions(first):
    """Labels are read in parts, at most 64 of them at a time."""
    labels = np.zeros(5_000_000, np.uint8)
    labels[first] = labels[first + 200_000] = 2
    z = np.broadcast_to(np.float32(0), (len(labels), 2))
    with pytest.raises(sx.LabelError, match=rf"^targets\[{first}\] is 2"):
        sx.cross_entropy(z, labels)


@every_dtype
@pytest.mark.parametrize("value", [-0.25, NAN, INF])
@pytest.mark.parametrize("form", ["one-hot", "probabilities"])
def test_probability_negative_or_nan(dtype, form, value):
    """probability target negative or NaN: ValueError"""
    z, labels, _ = problem(CLASSES, dtype)
    for targets_dtype in STORED:
        q = but(target(form, labels, CLASSES, targets_dtype), (3, 4), value)
        message = f"targets[3, 4] is {value}, {BAD_PROBABILITY}"
        assert_refused(z, q, ValueError, message)


@pytest.mark.parametrize("layout", ["C", "F"])
@pytest.mark.parametrize("targets_dtype", FLOATS)
@pytest.mark.parametrize("classes", [65, 128, 1000, 70_000])
def test_the_first_bad_probability_of_many_classes(classes, targets_dtype, layout):
    z = np.zeros((3, classes), np.float32)
    q = np.full((3, classes), 0.25, targets_dtype, order=layout)
    q[2, 0] = -1
    for index in [(1, 64), (1, 63), (0, classes - 1), (0, 0)]:
        q[index] = NAN
        message = f"targets[{index[0]}, {index[1]}] is nan, {BAD_PROBABILITY}"
        assert_refused(z, q, ValueError, message)


@every_dtype
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("form", ["one-hot", "probabilities"])
def test_probabilities_that_do_not_sum_to_one(dtype, form, label_smoothing):
    """not summing to 1 is accepted as given: loss = sum q lse - q z, gradient (sum q') p - q'"""
    z, labels, _ = problem(CLASSES, dtype)
    mass = np.array([0.25, 0.5, 1, 1.5, 2, 3, 4], np.float32).astype(dtype)[:, None]
    q = target(form, labels, CLASSES, dtype) * mass
    loss, grad = checked(z, q, label_smoothing=label_smoothing)
    q_smooth = reference.smoothed(q, CLASSES, label_smoothing)
    total = q_smooth.sum(-1)
    wide = z.astype(reference.Real)
    assert_within(ulp.LOSS, loss, total * reference.logsumexp(z) - (q_smooth * wide).sum(-1))
    p = total[:, None] * reference.softmax(z)
    bound = ulp.stored(ulp.GRADIENT, dtype)
    assert_within(bound, grad, p - q_smooth, at=np.maximum(p, q_smooth))
