"""Errors of weights, masks, temperature, z_loss and normalizer: their texts, and nothing written."""

import re
from functools import partial

import numpy as np
import pytest

import smoothxent as sx
from problems import problem

Z = problem(10, np.float32, rows=8).logits  # (8, 10)
Y = np.arange(8)
BAD_WEIGHT = "but weights must be finite and non-negative"
NO_MASS = "has no mass on the classes that where keeps"


def with_entry(array, place, value):
    array = np.array(array, float)
    array[place] = value
    return array


def loss(logits=Z, targets=Y, **options):
    return partial(sx.cross_entropy, logits, targets, **options)


def one_prior(k):
    return with_entry(np.zeros(10), k, 1.0)


def keeps(*classes):
    return np.isin(np.arange(10), classes)


MASK_OF_ROW_3 = np.where(np.arange(8)[:, None] == 3, keeps(4, 5), True)

# name: (call, exception, text)
CASES = {
    "class_weight too short": (loss(class_weight=np.ones(9)), ValueError,
        "class_weight must have shape (10,), got (9,)"),
    "class_weight of the rows": (loss(class_weight=np.ones((8, 10))), ValueError,
        "class_weight must have shape (10,), got (8, 10)"),
    "class_weight a number": (loss(class_weight=1.0), ValueError, "class_weight must have shape (10,), got ()"),
    "class_weight negative": (loss(class_weight=with_entry(np.ones(10), 3, -0.25)), ValueError,
        f"class_weight[3] is -0.25, {BAD_WEIGHT}"),
    "class_weight nan": (loss(class_weight=with_entry(np.ones(10), 9, np.nan)), ValueError,
        f"class_weight[9] is nan, {BAD_WEIGHT}"),
    "class_weight infinite": (loss(class_weight=with_entry(np.ones(10), 0, np.inf)), ValueError,
        f"class_weight[0] is inf, {BAD_WEIGHT}"),
    "class_weight of strings": (loss(class_weight=["a"] * 10), TypeError,
        "class_weight has dtype <U1 (converted from list), expected float16, bfloat16, float32 or float64 "
        "(integers and bools are converted to float64)"),
    "sample_weight too long": (loss(sample_weight=np.ones(9)), ValueError,
        "sample_weight must be broadcastable to the rows, of shape (8,), got (9,)"),
    "sample_weight of the logits": (loss(sample_weight=np.ones((8, 10))), ValueError,
        "sample_weight must be broadcastable to the rows, of shape (8,), got (8, 10)"),
    "sample_weight negative": (loss(sample_weight=with_entry(np.ones(8), 5, -1)), ValueError,
        f"sample_weight[5] is -1.0, {BAD_WEIGHT}"),
    "sample_weight of an ignored row": (
        loss(targets=np.where(Y == 5, -100, Y), sample_weight=with_entry(np.ones(8), 5, np.nan)), ValueError,
        f"sample_weight[5] is nan, {BAD_WEIGHT}"),
    "sample_weight a number": (loss(sample_weight=-2), ValueError, f"sample_weight is -2.0, {BAD_WEIGHT}"),
    "sample_weight broadcast": (
        loss(Z.reshape(2, 4, 10), Y.reshape(2, 4), sample_weight=[[1.0], [np.inf]]), ValueError,
        f"sample_weight[1, 0] is inf, {BAD_WEIGHT}"),
    "sample_weight of the last axis": (
        loss(Z.reshape(2, 4, 10), Y.reshape(2, 4), sample_weight=[1, 1, -1, 1]), ValueError,
        f"sample_weight[2] is -1.0, {BAD_WEIGHT}"),
    "where of integers": (loss(where=np.ones(10, int)), TypeError, "where has dtype int64, expected bool"),
    "where of floats": (partial(sx.softmax, Z, where=np.ones(10, np.float32)), TypeError,
        "where has dtype float32, expected bool"),
    "where a list of integers": (partial(sx.logsumexp, Z, where=[1] * 10), TypeError,
        "where has dtype int64 (converted from list), expected bool"),
    "where of another shape": (loss(where=np.ones(7, bool)), ValueError,
        "where must be broadcastable to logits of shape (8, 10), got (7,)"),
    "where of too many axes": (partial(sx.log_softmax, Z, where=np.ones((1, 8, 10), bool)), ValueError,
        "where must be broadcastable to logits of shape (8, 10), got (1, 8, 10)"),
    "where leaves nothing of the prior": (
        loss(label_smoothing=0.1, prior=one_prior(2), where=MASK_OF_ROW_3), ValueError, f"the prior of row [3] {NO_MASS}"),
    "where leaves nothing of the prior, in two dimensions": (
        loss(Z.reshape(2, 4, 10), Y.reshape(2, 4), label_smoothing=0.1, prior=one_prior(2),
             where=MASK_OF_ROW_3.reshape(2, 4, 10)), ValueError, f"the prior of row [0, 3] {NO_MASS}"),
    "where leaves nothing of the prior, one row": (
        loss(Z[0], 4, label_smoothing=0.1, prior=one_prior(2), where=keeps(4)), ValueError, f"the prior {NO_MASS}"),
    "where leaves nothing of the prior of the terms": (
        partial(sx.cross_entropy_terms, Z, Y, prior=one_prior(2), where=MASK_OF_ROW_3), ValueError,
        f"the prior of row [3] {NO_MASS}"),
    "where leaves nothing of the prior of labels": (
        partial(sx.smooth_labels, Y, 10, label_smoothing=0.1, prior=one_prior(2), where=MASK_OF_ROW_3), ValueError,
        f"the prior of row [3] {NO_MASS}"),
    "where of labels, of another shape": (
        partial(sx.smooth_labels, Y, 10, label_smoothing=0.1, where=np.ones(7, bool)), ValueError,
        "where must be broadcastable to smoothed labels of shape (8, 10), got (7,)"),
    "temperature zero": (loss(temperature=0), ValueError, "temperature must be a positive finite number, got 0.0"),
    "temperature negative": (partial(sx.softmax, Z, temperature=-1.5), ValueError,
        "temperature must be a positive finite number, got -1.5"),
    "temperature nan": (partial(sx.logsumexp, Z, temperature=np.nan), ValueError,
        "temperature must be a positive finite number, got nan"),
    "temperature infinite": (partial(sx.log_softmax, Z, temperature=np.inf), ValueError,
        "temperature must be a positive finite number, got inf"),
    "temperature too small": (loss(temperature=1e-31), ValueError,
        "temperature must be between 1e-30 and 1e+30, got 1e-31"),
    "temperature too large": (loss(temperature=1e31), ValueError,
        "temperature must be between 1e-30 and 1e+30, got 1e+31"),
    "temperature a string": (loss(temperature="1"), TypeError, "temperature must be a real number, got str"),
    "temperature None": (partial(sx.softmax, Z, temperature=None), TypeError,
        "temperature must be a real number, got NoneType"),
    "z_loss negative": (loss(z_loss=-1e-4), ValueError, "z_loss must be finite and non-negative, got -0.0001"),
    "z_loss nan": (loss(z_loss=np.nan), ValueError, "z_loss must be finite and non-negative, got nan"),
    "z_loss infinite": (loss(z_loss=np.inf), ValueError, "z_loss must be finite and non-negative, got inf"),
    "z_loss a bool": (loss(z_loss=True), TypeError, "z_loss must be a real number, got bool"),
    "normalizer zero": (loss(normalizer=0), ValueError, "normalizer must be a positive finite number, got 0.0"),
    "normalizer negative": (loss(normalizer=-8.0), ValueError,
        "normalizer must be a positive finite number, got -8.0"),
    "normalizer nan": (loss(normalizer=np.nan), ValueError, "normalizer must be a positive finite number, got nan"),
    "normalizer a list": (loss(normalizer=[8]), TypeError, "normalizer must be a real number, got list"),
    "normalizer of a sum": (loss(reduction="sum", normalizer=8), ValueError,
        'normalizer is the divisor of reduction "mean" or "sum_by_nonzero_weights", got reduction "sum"'),
    "normalizer of no reduction": (loss(reduction="none", normalizer=8), ValueError,
        'normalizer is the divisor of reduction "mean" or "sum_by_nonzero_weights", got reduction "none"'),
    "dtype int32": (partial(sx.softmax, Z, dtype=np.int32), TypeError,
        "dtype must be float16, bfloat16, float32 or float64, got int32"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_text(name):
    call, exception, text = CASES[name]
    with pytest.raises(exception) as caught:
        call()
    assert str(caught.value) == text
    assert type(caught.value) is exception


@pytest.mark.parametrize(
    "name", [name for name, (call, *_) in CASES.items() if call.func is sx.cross_entropy]
)
def test_nothing_is_written(name):
    """The same arguments to cross_entropy_value_and_grad give the same error, and fill no output."""
    call, exception, text = CASES[name]
    shape = np.shape(call.args[0])
    out, grad_out = np.full(shape[:-1], 7, np.float32), np.full(shape, 7, np.float32)
    options = {"reduction": "none"} | call.keywords
    if "normalizer" in options and "reduction" not in call.keywords:
        options["reduction"], out = "mean", np.full((), 7, np.float32)
    with pytest.raises(exception, match=f"^{re.escape(text)}$"):
        sx.cross_entropy_value_and_grad(
            *call.args,
            out=out if options["reduction"] != "sum" else None,
            grad_out=grad_out,
            **options,
        )
    assert (out == 7).all()
    assert (grad_out == 7).all()


def test_masked_rows_do_not_need_a_prior():
    """A prior without mass is an error only where it would be used."""
    options = {"prior": one_prior(2), "where": MASK_OF_ROW_3, "reduction": "none"}
    ignored = np.where(Y == 3, -100, Y)
    assert sx.cross_entropy(Z, ignored, label_smoothing=0.1, **options)[3] == 0
    weight = (Y != 3).astype(float)
    assert sx.cross_entropy(Z, Y, label_smoothing=0.1, sample_weight=weight, **options)[3] == 0
    assert sx.cross_entropy(Z, Y, label_smoothing=0.0, **options)[3] == np.inf


def test_label_is_checked_in_rows_that_do_not_count():
    bad = np.where(Y == 3, 10, Y)
    for options in ({"sample_weight": (Y != 3).astype(float)}, {"where": (Y != 3)[:, None]}):
        with pytest.raises(sx.LabelError, match=r"^targets\[3\] is 10, "):
            sx.cross_entropy(Z, bad, **options)
